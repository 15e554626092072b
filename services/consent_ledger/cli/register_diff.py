"""`consent register diff`: what another register would change, in its fields and for people."""

import json
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import typer
from rich.text import Text

from consent_ledger.cli import found, register_files
from consent_ledger.cli.found import Data
from consent_ledger.cli.register_progress import bar
from consent_ledger.cli.terminal import NO, USAGE, AsJson, err, fail, out, run, say_json, table
from consent_ledger.domain import durations
from consent_ledger.domain import register as registers
from consent_ledger.domain.impact import Impact, Shift
from consent_ledger.domain.register_diff import Change, differences
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import impact as stored
from consent_ledger.store import overview
from consent_ledger.viewer.fold import FACTS_MAX

_SHOWN_MAX: Final = 60


class Shifted(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that would be others: `change` is gains, loses, or reason where yes stays yes or no stays no.

    `people` are dossiers: addresses that the controller knows to belong together. Both None: nobody is on record.
    """

    controller: str
    purpose: str
    channel: str
    change: str
    before: str
    after: str
    people: int | None = None
    addresses: int | None = None


class Effects(msgspec.Struct, kw_only=True):
    """What loading a register would change for people, as of one instant; `decided` of `dossiers` were looked at."""

    version: int
    at: str
    dossiers: int
    decided: int
    oversized: int
    people: list[Shifted]
    nobody: list[Shifted]


def diff(
    *,
    before: Annotated[str, typer.Argument(metavar="A", help="A file, or the number of a version.")],
    after: Annotated[str | None, typer.Argument(metavar="[B]", help="Another; else the register in force.")] = None,
    impact: Annotated[bool, typer.Option("--impact", help="Say for whom a load of the file changes what.")] = False,
    sample: Annotated[int | None, typer.Option(min=1, help="Look at so many people only, taken at random.")] = None,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Show what two registers differ in. Exit status 1: they do.

    A file alone is compared with what is in force as its load would change it; a version alone with the one in force.
    """
    settings = found.settings(data)
    if impact:
        if after is not None or not Path(before).is_file():
            fail("--impact takes one file: the register that may be loaded", USAGE)
        _show_effects(
            run(_effects(settings, register_files.read_one(Path(before)), sample, quiet=as_json)), as_json=as_json
        )
        return
    if sample is not None:
        fail("--sample goes with --impact", USAGE)
    changes = run(_compare(settings, _said(before), None if after is None else _said(after)))
    if as_json:
        say_json([one._asdict() for one in changes])
    else:
        for change in changes:
            out.print(_line(change), soft_wrap=True)
        if not changes:
            out.print("No difference.")
    if changes:
        raise typer.Exit(NO)


def _said(what: str) -> dict[str, Any] | int:
    """Take what was named: the document in a file, or the number of a version."""
    if Path(what).is_file():
        return register_files.read_one(Path(what))
    if not what.isdecimal():
        fail(f"there is no file {what}, and it is no version's number", USAGE)
    return int(what)


async def _compare(
    settings: Settings, before: dict[str, Any] | int, after: dict[str, Any] | int | None
) -> list[Change]:
    if after is not None:
        return list(differences(await _document(settings, before), await _document(settings, after)))
    in_force = (await register_files.current(settings)).document
    if isinstance(before, int):
        return list(differences(await _document(settings, before), in_force))
    return list(differences(in_force, _merged(in_force, before)))


async def _document(settings: Settings, what: dict[str, Any] | int) -> dict[str, Any]:
    if not isinstance(what, int):
        return what
    async with stored.reading(settings.dsn) as connection:
        if what not in {one.version for one in await overview.register_versions(connection)}:
            fail(f"there is no version {what} of the register", USAGE)
        return await overview.register_document(connection, what)


def _merged(in_force: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    try:
        return registers.merge(in_force, document)
    except registers.RegisterError as error:
        fail(f"the file cannot be loaded: {error}", NO)


def _line(change: Change) -> Text:
    name = f"{change.part} {change.name}"
    if change.what != "changed":
        style = "green" if change.what == "added" else "red"
        return Text.assemble((f"{change.what:8}", style), name)
    return Text.assemble(
        (f"{change.what:8}", "yellow"), f"{name}: {change.field} ", (_value(change.before), "red"), " → ",
        (_value(change.after), "green"),
    )  # fmt: skip


def _value(value: Any) -> str:
    return "-" if value is None else json.dumps(value, ensure_ascii=False)


class _Both(NamedTuple):
    before: registers.Register
    after: registers.Register

    def concerned(self) -> list[str]:
        return sorted({controller for controller, _ in registers.changed_purposes(self.before, self.after)})


async def _effects(settings: Settings, document: dict[str, Any], sample: int | None, *, quiet: bool) -> Effects:
    async with stored.reading(settings.dsn) as connection, stored.everything(connection) as everything:
        current = await register_files.read_current(connection)
        merged = _merged(current.document, document)
        try:
            registers.parse(merged)
        except registers.RegisterError as error:
            fail(f"the file cannot be loaded: {error}", NO)
        both = _Both(
            registers.compile(current.document, current.version), registers.compile(merged, current.version + 1)
        )
        total = await everything.count(both.concerned())
        found_ = Impact(*both, durations.instant(everything.now))
        decided = oversized = 0
        with bar("deciding under both", quiet=quiet) as shown:
            task = shown.add_task("", total=total if sample is None else min(sample, total))
            async for dossier in everything.dossiers(both.concerned(), sample):
                decided += 1
                if len(dossier.facts) > FACTS_MAX:
                    # It answers no to everything, under any register.
                    oversized += 1
                else:
                    found_.add(*dossier)
                shown.advance(task)
    people = [_shifted(one, number, found_.addresses[one]) for one, number in found_.dossiers.most_common()]
    return Effects(
        version=current.version, at=everything.now.isoformat(), dossiers=total, decided=decided, oversized=oversized,
        people=people, nobody=[_shifted(one) for one in found_.of_nobody()],
    )  # fmt: skip


def _shifted(shift: Shift, people: int | None = None, addresses: int | None = None) -> Shifted:
    change = "gains" if shift.gains else "loses" if shift.loses else "reason"
    return Shifted(
        controller=shift.controller, purpose=shift.purpose, channel=shift.channel, change=change,
        before=shift.before[1], after=shift.after[1], people=people, addresses=addresses,
    )  # fmt: skip


def _show_effects(effects: Effects, *, as_json: bool) -> None:
    changed = [one for one in (*effects.people, *effects.nobody) if one.change != "reason"]
    if as_json:
        say_json(effects)
    else:
        _show_people(effects)
        _show_nobody(effects)
    if changed:
        raise typer.Exit(NO)


def _show_people(effects: Effects) -> None:
    rows = [
        (
            one.controller,
            one.purpose,
            one.channel,
            _styled(one.change),
            one.people,
            one.addresses,
            one.before,
            one.after,
        )
        for one in effects.people
        if one.change != "reason"
    ]
    other = sum(one.addresses or 0 for one in effects.people if one.change == "reason")
    whom = f"{effects.decided:,} people on record"
    if effects.decided < effects.dossiers:
        whom += f", a sample of {effects.dossiers:,}"
    title = f"Compared with version {effects.version}, at {effects.at}: {whom}"
    if rows:
        columns = ("controller", "purpose", "channel", "", "people", "addresses", "reason before", "reason after")
        out.print(table(title, *columns, rows=rows[:_SHOWN_MAX], right=(4, 5)))
    else:
        out.print(f"{title}: nobody gains or loses permission.", soft_wrap=True)
    if len(rows) > _SHOWN_MAX:
        err.print(f"{len(rows) - _SHOWN_MAX:,} more rows: see them with --json")
    if other:
        out.print(f"{other:,} answers stay yes or no for another reason: see them with --json.")
    if effects.oversized:
        out.print(f"{effects.oversized:,} people have too much on record and are answered no under any register.")


def _show_nobody(effects: Effects) -> None:
    rows = [
        (one.controller, one.purpose, one.channel, _styled(one.change), one.before, one.after)
        for one in effects.nobody
        if one.change != "reason"
    ]
    if rows:
        columns = ("controller", "purpose", "channel", "", "reason before", "reason after")
        out.print(table("Everybody of whom nothing is on record", *columns, rows=rows[:_SHOWN_MAX]))


def _styled(change: str) -> Text:
    return Text(change, style="green" if change == "gains" else "bold red")
