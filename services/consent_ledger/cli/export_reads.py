"""`consent export reads`: the read log: who was shown whose data, when and why."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from consent_ledger.cli import exporting, found, voiding
from consent_ledger.cli.exporting import Wanted
from consent_ledger.cli.found import Data
from consent_ledger.cli.register_files import instant
from consent_ledger.cli.terminal import USAGE, fail, run
from consent_ledger.cli.voiding import Office
from consent_ledger.domain import reads as telling
from consent_ledger.domain.access import Place
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.domain.reads import Read, Reads
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import history, keys
from consent_ledger.store.history import Line

_AT_ONCE: Final = 1_000


def reads(
    *,
    controller: Annotated[str | None, typer.Option(help="Only looks at this controller's data.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only looks of this person or key, as they were named.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="From this instant on, with its zone.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this instant, with its zone.")] = None,
    subject: Annotated[
        bool, typer.Option("--subject", help="Only looks at one person; you are asked for the address.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="With --subject: why you look; it is recorded.")] = None,
    file: exporting.AddressFile = None,
    kind: exporting.Kind = None,
    viewer: exporting.As = None,
    output: exporting.Output = None,
    data: Data = found.DEFAULT_DATA,
) -> None:
    """Write the looks on record as JSON, for the officer. Whose data they were stands there as keyed hashes.

    What the person may know of looks at their data is in `consent export subject`.
    """
    if subject and (controller is None or reason is None):
        fail("--subject needs --controller and --reason", USAGE)
    if file is not None and not subject:
        fail("--file is for --subject", USAGE)
    who = exporting.wanted(controller, reason, viewer, file, kind, None) if subject and controller and reason else None
    asked = Reads(
        format=telling.FORMAT, made_at=datetime.now(UTC), controller=controller, actor=actor, since=instant(since),
        until=instant(until), reads=[],
    )  # fmt: skip
    exporting.deliver(exporting.pretty(run(_reads(found.settings(data), data, asked, who))), output)


async def _reads(settings: Settings, data: Path, asked: Reads, who: Wanted | None) -> Reads:
    shown = None if who is None else await exporting.person(data, who)
    async with voiding.office(settings) as office:
        hashes, events = frozenset[str](), frozenset[str]()
        if shown is not None:
            hashes = await _hashes(office, shown)
            events = frozenset(entry["event_id"] for entry in shown["entries"])
        places = await history.reads(office.connection, asked.since, asked.until)
        kept: list[Read] = []
        for begin in range(0, len(places), _AT_ONCE):
            for one in await _read(office, places[begin : begin + _AT_ONCE]):
                is_theirs = shown is None or one.subject in hashes or one.event in events
                if is_theirs and asked.controller in (None, one.controller) and asked.actor in (None, one.actor):
                    kept.append(one)
    return msgspec.structs.replace(asked, reads=kept)


async def _hashes(office: Office, shown: dict[str, Any]) -> frozenset[str]:
    """Give the hashes by which looks name a person: of the identifiers that can be read, and of those that are kept."""
    key = (await keys.controller_keys(office.connection, office.keks))[shown["controller"]].key
    readable = (one for one in shown["identifiers"] if one["value"] is not None)
    hashes = {address_hash(key, one["type"], one["value"]).hex() for one in readable}
    return frozenset(hashes | {one["hash"] for one in shown["suppression"]})


async def _read(office: Office, places: Sequence[history.Place]) -> list[Read]:
    """Read looks, each with what its controller holds of it."""
    of: dict[str, list[history.Place]] = {}
    for line in await history.lines(office.connection, office.keks, "", places):
        of.setdefault(_controller(line) or "", []).append(line.place)
    lines = {
        line.place: line
        for controller, mine in of.items()
        for line in await history.lines(office.connection, office.keks, controller, mine)
    }
    at_records = await office.desk.looks([line.event_id for line in lines.values() if "record" in line.body])
    return [_told(lines[place], at_records.get(lines[place].event_id, {})) for place in places]


def _told(line: Line, at_record: Mapping[str, str]) -> Read:
    personal, body = line.personal or {}, line.body
    return Read(
        event_id=line.event_id,
        recorded_at=line.recorded_at,
        place=Place(*line.place),
        controller=_controller(line),
        actor=personal.get("entered_by", at_record.get("viewer")),
        reason=personal.get("reason", at_record.get("reason")),
        subject=next((named.hash.hex() for named in line.identifiers), None),
        event=body.get("viewed"),
        record=body.get("record"),
        api_key=body.get("api_key"),
        shown=body["shown"],
        digest=body["digest"],
    )


def _controller(line: Line) -> str | None:
    named = line.body.get("controllers")
    return named[0] if isinstance(named, list) and named else None
