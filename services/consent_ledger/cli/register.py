"""`consent register`: checks, loads and shows the processing register."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from aiokafka.errors import MessageSizeTooLargeError
from rich.text import Text

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, UNAVAILABLE, USAGE, AsJson, err, fail, out, run, say_json, table
from consent_ledger.domain import register as registers
from consent_ledger.domain.cloudevents import build, uuid7
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.publish import publishing
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import CONTROL
from consent_ledger.store import operator, overview

app = typer.Typer(no_args_is_help=True, help="The processing register: who may do what, on which basis.")

Files = Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Register documents (JSON).")]

_SOURCE: Final = "consent-cli"
_LOAD_SECONDS: Final = 60.0
_ASK_SECONDS: Final = 0.02
# As in the source tree; an installed package has them within itself.
_TREE: Final = Path(__file__).parents[3] / "deploy" / "registers"


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """One load. `version` None and a `problem`: it is not in force."""

    name: str
    version: int | None = None
    problem: str | None = None
    warnings: tuple[str, ...] = ()


def shipped() -> dict[str, dict[str, Any]]:
    """Return the registers of the example companies, by name."""
    packaged = resources.files("consent_ledger") / "registers"
    directory = packaged if packaged.is_dir() else _TREE
    files = sorted((file for file in directory.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    return {file.name.removesuffix(".json"): json.loads(file.read_text(encoding="utf-8")) for file in files}


@app.command()
def check(*, files: Files, as_json: AsJson = False) -> None:
    """Look for what is wrong with register documents; no server is needed."""
    documents = _read(files)
    results = [_checked(name, document) for name, document in documents.items()]
    if as_json:
        say_json(results)
    else:
        for result in results:
            _say(result, "can be loaded")
    if any(result.problem for result in results):
        raise typer.Exit(NO)


def _checked(name: str, document: dict[str, Any]) -> Loaded:
    try:
        found_ = registers.parse(document)
    except registers.RegisterError as error:
        return Loaded(name=name, problem=str(error))
    return Loaded(name=name, warnings=found_.warnings)


@app.command()
def load(
    *,
    files: Files,
    wait: Annotated[bool, typer.Option(help="Return only when it is in force.")] = True,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Load register documents: each replaces the controllers, purposes and sources that it names."""
    results = run(load_all(found.settings(data), _read(files), wait=wait))
    if as_json:
        say_json(results)
    else:
        for result in results:
            _say(result, f"is in force as version {result.version}" if result.version else "is published")
    if any(result.problem for result in results):
        raise typer.Exit(NO)


@app.command()
def show(*, data: Data = found.DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Show the register in force and its versions."""
    versions, document = run(_read_register(found.settings(data)))
    if as_json:
        say_json({"version": versions[-1].version if versions else 0, "register": document, "versions": [
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
    title = f"Register version {newest.version}, in force since {newest.recorded_at:%Y-%m-%d %H:%M:%S} UTC"
    out.print(table(title, "controller", "purpose", "basis", "channels", rows=rows))


def _read(files: Sequence[Path]) -> dict[str, dict[str, Any]]:
    documents = {}
    for file in files:
        try:
            document = json.loads(file.read_bytes())
        except (ValueError, OSError) as error:
            fail(f"{file} cannot be read as JSON: {error}", USAGE)
        if not isinstance(document, dict):
            fail(f"{file} is no register: a JSON object is needed", USAGE)
        documents[file.name] = document
    return documents


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
    _, current = await _read_register(settings)
    return {name: document for name, document in documents.items() if _changes(current, document)}


def _changes(current: dict[str, Any], document: dict[str, Any]) -> bool:
    try:
        return registers.merge(current, document) != registers.merge(current, {})
    except registers.RegisterError:
        return True


async def load_all(settings: Settings, documents: dict[str, dict[str, Any]], *, wait: bool = True) -> list[Loaded]:
    """Publish each document as one event on the control topic, and wait until it is in force or refused."""
    connection = await connect(settings.dsn, "consent_operator")
    try:
        return [await _load(connection, settings, name, document, wait=wait) for name, document in documents.items()]
    finally:
        await connection.close()


async def _load(
    connection: Connection, settings: Settings, name: str, document: dict[str, Any], *, wait: bool
) -> Loaded:
    now = datetime.now(UTC)
    event_id = uuid7(now)
    value = build("register-loaded", _SOURCE, now, {"document": document}, event_id)
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
                if outcome.in_force:
                    return Loaded(name=name, version=outcome.version)
                await asyncio.sleep(_ASK_SECONDS)
    except TimeoutError:
        fail(f"{name} is published but not in force after {_LOAD_SECONDS:.0f} s: do the services run?", UNAVAILABLE)


async def _read_register(settings: Settings) -> tuple[list[overview.RegisterVersion], dict[str, Any]]:
    connection = await connect(settings.dsn, "consent_operator")
    try:
        versions = await overview.register_versions(connection)
        return versions, await overview.register_document(connection, versions[-1].version) if versions else {}
    finally:
        await connection.close()
