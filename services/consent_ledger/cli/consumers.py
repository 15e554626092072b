"""`consent consumers`: the tools that follow the suppressions topic, so that their silence is noticed."""

from collections.abc import Sequence
from typing import Annotated, Final

import typer
from aiokafka import AIOKafkaProducer

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, USAGE, AsJson, fail, out, run, say_json, table
from consent_ledger.domain import register as registers
from consent_ledger.domain.acks import INSTANCE, NAME, ack_key
from consent_ledger.domain.decision import ADDRESS_OF
from consent_ledger.domain.register import Register
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.topics import ACKS
from consent_ledger.store import consumers, ledger
from consent_ledger.store.consumers import Consumer, Instance

app = typer.Typer(no_args_is_help=True, help="The tools that follow the suppressions topic.")

Name = Annotated[str, typer.Argument(help="The tool's name, never a person's.")]
_ROLE: Final = "consent_operator"


@app.callback()
def group() -> None:
    """The tools that follow the suppressions topic."""


@app.command()
def add(
    *,
    name: Name,
    controller: Annotated[list[str], typer.Option(help="Whose refusals it must obey; repeat for more.")],
    purpose: Annotated[list[str] | None, typer.Option(help="What it is used for; all without.")] = None,
    channel: Annotated[list[str] | None, typer.Option(help="Over which channels; all without.")] = None,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Register a tool. From now on every refusal that may change an answer for its purposes and channels is its own.

    A refusal of everything is everybody's. `consent propagation` shows which of them it has not confirmed.
    """
    if NAME.fullmatch(name) is None:
        fail("a name has lower-case letters, digits, dot, hyphen and underscore, 63 at most", USAGE)
    wanted = [sorted(set(some or ())) for some in (controller, purpose, channel)]
    made = run(_add(found.settings(data), name, *wanted))
    if made is None:
        fail(f"a consumer {name} is registered already: remove it first", NO)
    if as_json:
        say_json(made._asdict())
    else:
        out.print(f"registered; its keys: consent keys export --consumer {name} --json")


async def _add(
    settings: Settings, name: str, controllers: list[str], purposes: list[str], channels: list[str]
) -> Consumer | None:
    connection = await connect(settings.dsn, _ROLE)
    try:
        version, document = await ledger.read_register(connection)
        if problem := _problem(registers.compile(document, version), controllers, purposes, channels):
            fail(problem, USAGE)
        return await consumers.add(connection, name, controllers=controllers, purposes=purposes, channels=channels)
    finally:
        await connection.close()


def _problem(
    register: Register, controllers: Sequence[str], purposes: Sequence[str], channels: Sequence[str]
) -> str | None:
    """Say what the register in force does not know: nobody would ever notice a refusal that never comes."""
    known = {purpose.id for controller in controllers for purpose in register.purposes_of(controller)}
    for what, named, there in (
        ("controller", controllers, set(register.controllers)),
        ("purpose of these controllers", purposes, known),
        ("channel", channels, set(ADDRESS_OF)),
    ):
        if strangers := sorted(set(named) - there):
            return f"there is no {what} {', '.join(strangers)}"
    return None


@app.command("list")
def list_(*, data: Data = found.DEFAULT_DATA, as_json: AsJson = False) -> None:
    """List the registered tools with each copy that has reported, and the instant up to which it knows everything."""
    settings = found.settings(data)
    registered, copies = run(_read(settings))
    if as_json:
        say_json([{**one._asdict(), "instances": [copy._asdict() for copy in _of(copies, one)]} for one in registered])
        return
    rows = [_row(one, copy) for one in registered for copy in (_of(copies, one) or (None,))]
    columns = ("name", "controllers", "purposes", "channels", "since (UTC)", "copy", "knows until (UTC)")
    out.print(table("Consumers", *columns, rows=rows))


def _row(one: Consumer, copy: Instance | None) -> tuple[str | None, ...]:
    knows = copy.instant if copy else None
    return (
        one.name, ", ".join(one.controllers), ", ".join(one.purposes) or "all", ", ".join(one.channels) or "all",
        f"{one.since:%Y-%m-%d %H:%M:%S}", copy.instance if copy else None,
        f"{knows:%Y-%m-%d %H:%M:%S}" if knows else None,
    )  # fmt: skip


def _of(copies: Sequence[Instance], consumer: Consumer) -> list[Instance]:
    return [copy for copy in copies if copy.consumer == consumer.name]


async def _read(settings: Settings) -> tuple[list[Consumer], list[Instance]]:
    connection = await connect(settings.dsn, _ROLE)
    try:
        return await consumers.registered(connection), await consumers.instances(connection, settings.partitions)
    finally:
        await connection.close()


@app.command()
def remove(*, name: Name, data: Data = found.DEFAULT_DATA) -> None:
    """Forget a tool that is no more used, with all that it reported. Its keys still work for whoever has them."""
    if not run(_remove(found.settings(data), name)):
        fail(f"there is no consumer {name}", NO)
    out.print("removed")


async def _remove(settings: Settings, name: str) -> bool:
    connection: Connection = await connect(settings.dsn, _ROLE)
    try:
        return await consumers.remove(connection, name)
    finally:
        await connection.close()


@app.command()
def retire(
    *,
    name: Name,
    instance: Annotated[str, typer.Argument(help="The copy that is no more, as the list names it.")],
    data: Data = found.DEFAULT_DATA,
) -> None:
    """Forget one copy of a tool, such as that of a machine that was switched off, so that nobody waits for it."""
    if NAME.fullmatch(name) is None or INSTANCE.fullmatch(instance) is None:
        fail("the list of consumers names no such copy", USAGE)
    run(_retire(found.settings(data), name, instance))
    out.print("retired; it comes back if it reports again")


async def _retire(settings: Settings, name: str, instance: str) -> None:
    producer = AIOKafkaProducer(**settings.kafka(), enable_idempotence=True)
    try:
        await producer.start()
        for q in range(settings.partitions):
            # Where it reported on the topic it is taken back, so that no reading from the beginning brings it back.
            await producer.send_and_wait(f"{settings.topic_prefix}{ACKS}", None, ack_key(name, instance, q))
    finally:
        await producer.stop()
