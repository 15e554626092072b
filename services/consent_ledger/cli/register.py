"""`consent register`: checks, loads and shows the processing register."""

import asyncio
import json
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final

import asyncpg
import msgspec
import typer
from aiokafka.errors import MessageSizeTooLargeError
from rich.text import Text

from consent_ledger.cli import found, register_diff, register_files, register_progress
from consent_ledger.cli.found import Data
from consent_ledger.cli.register_files import Current
from consent_ledger.cli.register_progress import Follow
from consent_ledger.cli.terminal import NO, UNAVAILABLE, AsJson, err, fail, out, run, say_json, table
from consent_ledger.domain import register as registers
from consent_ledger.domain import register_schedule
from consent_ledger.domain.cloudevents import build, uuid7
from consent_ledger.domain.register_schedule import Ahead
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.publish import publishing
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import CONTROL
from consent_ledger.store import impact, operator
from consent_ledger.store.impact import WithoutController

app = typer.Typer(no_args_is_help=True, help="The processing register: who may do what, on which basis.")

app.command()(register_diff.diff)
app.command()(register_progress.progress)

Files = Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Register documents (JSON).")]

_SOURCE: Final = "consent-cli"
_LOAD_SECONDS: Final = 60.0
_ASK_SECONDS: Final = 0.02
# As in the source tree; an installed package has them within itself.
_TREE: Final = Path(__file__).parents[3] / "deploy" / "registers"


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """One load. `version` None: it is not in force, because of a `problem` or until the instant it is scheduled for.

    `unreached`: the refusals that new controllers are not reached by, where it added any.
    """

    name: str
    version: int | None = None
    scheduled_for: datetime | None = None
    problem: str | None = None
    warnings: tuple[str, ...] = ()
    unreached: WithoutController | None = None


def shipped() -> dict[str, dict[str, Any]]:
    """Return the registers of the example companies, by name."""
    packaged = resources.files("consent_ledger") / "registers"
    directory = packaged if packaged.is_dir() else _TREE
    files = sorted((file for file in directory.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    return {file.name.removesuffix(".json"): json.loads(file.read_text(encoding="utf-8")) for file in files}


@app.command()
def check(
    *,
    files: Files,
    against: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The register it will be loaded over.")
    ] = None,
    production: Annotated[bool, typer.Option("--production", help="Also refuse what production does.")] = False,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Look for what is wrong with register documents, each as if it were loaded next.

    They are checked over the register in force where there is one to be reached, with all that is scheduled; else by
    themselves.
    """
    settings = found.settings(data)
    documents = register_files.read(files)
    current = Current([], {}, [])
    if against is not None:
        current = Current([], register_files.read_one(against), [])
    elif settings.database_url is not None:
        current = run(_current_if_reached(settings)) or current
    strict = production or settings.production
    results = [_checked(name, document, current, production=strict) for name, document in documents.items()]
    if as_json:
        say_json(results)
    else:
        for result in results:
            _say(result, "can be loaded")
    if any(result.problem for result in results):
        raise typer.Exit(NO)


async def _current_if_reached(settings: Settings) -> Current | None:
    try:
        return await register_files.current(settings)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        err.print(f"checked by itself: the register in force cannot be read ({type(error).__name__})")
        return None


def _checked(name: str, document: dict[str, Any], current: Current, *, production: bool) -> Loaded:
    now = Ahead(datetime.now(UTC), document)
    try:
        register_schedule.fit(current.document, current.ahead(), now, production=production)
    except registers.RegisterError as error:
        return Loaded(name=name, problem=str(error))
    return Loaded(name=name, warnings=registers.compile(document, 0).warnings)


@app.command()
def load(
    *,
    files: Files,
    valid_from: Annotated[
        str | None, typer.Option(metavar="INSTANT", help="When it is to come into force, with its zone; else at once.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Return only when it is in force, or scheduled.")] = True,
    follow: Follow = False,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Load register documents: each replaces the controllers, purposes and sources that it names.

    It takes effect at once: until the answers that it may change are made anew, each of them is a no.
    """
    settings = found.settings(data)
    instant = register_files.instant(valid_from)
    results = run(load_all(settings, register_files.read(files), wait=wait, valid_from=instant))
    if follow:
        run(register_progress.follow_sweep(settings, quiet=as_json))
    if as_json:
        say_json(results)
    else:
        for result in results:
            _say(result, _effect(result))
    if any(result.problem for result in results):
        raise typer.Exit(NO)


@app.command()
def show(*, data: Data = found.DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Show the register in force and its versions."""
    current = run(register_files.current(found.settings(data)))
    versions, document = current.versions, current.document
    if as_json:
        scheduled = [{"valid_from": one.valid_from, "event_id": one.event_id} for one in current.scheduled]
        say_json({"version": current.version, "register": document, "scheduled": scheduled, "versions": [
            {**version._asdict(), "digest": version.digest.hex()} for version in versions]})  # fmt: skip
        return
    if not versions:
        out.print("No register was ever loaded: `consent register load FILE`.")
        return
    rows = [
        (purpose["controller"], purpose["id"], purpose["basis"], ", ".join(purpose["channels"]))
        for purpose in document["purposes"]
    ]
    newest = versions[-1]
    title = f"Register version {newest.version}, in force since {newest.in_force_since:%Y-%m-%d %H:%M:%S} UTC"
    out.print(table(title, "controller", "purpose", "basis", "channels", rows=rows))
    for one in current.scheduled:
        out.print(f"Another is scheduled for {one.valid_from:%Y-%m-%d %H:%M:%S} UTC.")


def _effect(result: Loaded) -> str:
    if result.scheduled_for is not None:
        return f"is scheduled: it comes into force at {result.scheduled_for.isoformat()}"
    if result.version is None:
        return "is published"
    effect = f"is in force as version {result.version}"
    if result.unreached is not None:
        none, these = result.unreached
        effect += (
            f"; its new controllers are not reached by older refusals: {none:,} that name no controller"
            f" and {these:,} that name them"
        )
    return effect


def _say(result: Loaded, good: str) -> None:
    for warning in result.warnings:
        err.print(Text(f"{result.name}: {warning}", style="yellow"), soft_wrap=True)
    if result.problem is None:
        out.print(Text.assemble((result.name, "bold"), f" {good}"), soft_wrap=True)
        return
    for problem in result.problem.split("; "):
        out.print(Text.assemble((result.name, "bold"), (f" {problem}", "red")), soft_wrap=True)


async def not_in_force(settings: Settings, documents: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the documents that would change the register in force."""
    current = (await register_files.current(settings)).document
    return {name: document for name, document in documents.items() if _changes(current, document)}


def _changes(current: dict[str, Any], document: dict[str, Any]) -> bool:
    try:
        return registers.merge(current, document) != registers.merge(current, {})
    except registers.RegisterError:
        return True


async def load_all(
    settings: Settings,
    documents: dict[str, dict[str, Any]],
    *,
    wait: bool = True,
    valid_from: datetime | None = None,
) -> list[Loaded]:
    """Publish each document as one event on the control topic, and wait until it is in force, scheduled or refused."""
    connection = await connect(settings.dsn, "consent_operator")
    try:
        known = set((await register_files.read_current(connection)).document.get("controllers", ()))
        loaded = []
        for name, document in documents.items():
            one = await _load(connection, settings, name, document, valid_from, wait=wait)
            added = [] if one.version is None else sorted(document.get("controllers", {}).keys() - known)
            if added:
                one = msgspec.structs.replace(one, unreached=await _unreached(settings, added))
            known.update(added)
            loaded.append(one)
        return loaded
    finally:
        await connection.close()


async def _unreached(settings: Settings, controllers: list[str]) -> WithoutController:
    """Count the refusals that the reach of which was fixed before these controllers were registered."""
    async with impact.reading(settings.dsn) as connection:
        return await impact.without_controller(connection, registers.REFUSALS, controllers)


async def _load(
    connection: Connection,
    settings: Settings,
    name: str,
    document: dict[str, Any],
    valid_from: datetime | None,
    *,
    wait: bool,
) -> Loaded:
    now = datetime.now(UTC)
    event_id = uuid7(now)
    said = {"document": document} | ({"valid_from": valid_from} if valid_from else {})
    value = build("register-loaded", _SOURCE, now, said, event_id)
    try:
        async with publishing(settings.kafka(), f"{settings.topic_prefix}{CONTROL}") as publisher:
            await publisher.send(None, value, partition=0)
    except MessageSizeTooLargeError:
        return Loaded(name=name, problem="larger than one Kafka message may be (1 MiB): split it by controller")
    if not wait:
        return Loaded(name=name)
    try:
        async with asyncio.timeout(_LOAD_SECONDS):
            while True:
                outcome = await operator.load_outcome(connection, event_id)
                if outcome.reason is not None:
                    return Loaded(name=name, problem=outcome.detail or outcome.reason)
                if outcome.scheduled_for is not None:
                    return Loaded(name=name, scheduled_for=outcome.scheduled_for)
                if outcome.in_force:
                    return Loaded(name=name, version=outcome.version)
                await asyncio.sleep(_ASK_SECONDS)
    except TimeoutError:
        fail(f"{name} is published but not in force after {_LOAD_SECONDS:.0f} s: do the services run?", UNAVAILABLE)
