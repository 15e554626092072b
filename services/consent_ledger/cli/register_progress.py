"""`consent register progress`: how far a register load has been taken to everybody it concerns."""

import asyncio
from typing import Annotated, Final

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from consent_ledger.cli import found, register_files
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import AsJson, err, out, run, say_json
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import overview
from consent_ledger.store.overview import Sweep

_LOOK_SECONDS: Final = 0.1

Follow = Annotated[bool, typer.Option("--follow", help="Show how the answers are made anew, until all are.")]


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """The version in force, the one that answers rest on, and how many of all dossiers were looked at since."""

    version: int
    view_version: int
    swept: int
    total: int
    controllers: tuple[str, ...]
    scheduled: tuple[str, ...]


def progress(*, follow: Follow = False, data: Data = found.DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Show how far the register in force has been taken to everybody it concerns.

    Until then every answer that it may have changed is a no, REGISTER_CHANGED; events are taken in meanwhile.
    """
    settings = found.settings(data)
    if follow:
        run(follow_sweep(settings, quiet=as_json))
    said = run(_read(settings))
    if as_json:
        say_json(said)
        return
    if not said.version:
        out.print("No register was ever loaded: `consent register load FILE`.")
    elif said.controllers:
        out.print(f"Version {said.version}: {said.swept:,} of {said.total:,} dossiers looked at again")
    else:
        out.print(f"Version {said.version} is in force, and every answer rests on it.")
    for instant in said.scheduled:
        out.print(f"Another is scheduled for {instant}.")


async def _read(settings: Settings) -> Said:
    connection = await connect(settings.dsn, "consent_operator")
    try:
        current = await register_files.read_current(connection)
        sweep = await overview.sweep(connection)
    finally:
        await connection.close()
    return Said(
        version=current.version, view_version=sweep.version, swept=sweep.swept, total=sweep.total,
        controllers=sweep.controllers, scheduled=tuple(one.valid_from.isoformat() for one in current.scheduled),
    )  # fmt: skip


async def follow_sweep(settings: Settings, *, quiet: bool) -> None:
    """Return when every answer rests on the register in force, and show how that comes on."""
    connection = await connect(settings.dsn, "consent_operator")
    try:
        with bar("deciding again", quiet=quiet) as shown:
            task = shown.add_task("deciding again", total=None)
            while (sweep := await overview.sweep(connection)).controllers or await _is_behind(connection, sweep):
                shown.update(task, completed=sweep.swept, total=sweep.total)
                await asyncio.sleep(_LOOK_SECONDS)
    finally:
        await connection.close()


async def _is_behind(connection: Connection, sweep: Sweep) -> bool:
    return sweep.version < (await overview.progress(connection)).register_version


def bar(what: str, *, quiet: bool) -> Progress:
    """Make a progress bar that counts, on standard error where somebody watches it."""
    return Progress(
        SpinnerColumn(), TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=err, transient=True, disable=quiet or not err.is_terminal,
    )  # fmt: skip
