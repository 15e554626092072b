"""`consent quarantine`: what was not accepted: list it, look at one record, correct it, void what stands for it."""

import base64
import getpass
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
import typer
from rich.text import Text

from consent_ledger.cli import found, void, voiding
from consent_ledger.cli.found import Data
from consent_ledger.cli.publish import judged
from consent_ledger.cli.terminal import NO, USAGE, AsJson, err, fail, out, run, say_json, table, visible
from consent_ledger.cli.void import Approve, As, Source
from consent_ledger.cli.voiding import Office, Proposed, Voided
from consent_ledger.domain import strictjson
from consent_ledger.domain.catalogue import VIEWED
from consent_ledger.domain.cloudevents import build, uuid7
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import operator
from consent_ledger.store.desk import Original, Quarantined
from consent_ledger.store.operator import QuarantinedRecord

app = typer.Typer(no_args_is_help=True, help="Records that were not accepted, or only in part.")

Place = Annotated[str, typer.Argument(metavar="PLACE", help="TOPIC/PARTITION@OFFSET, as `quarantine list` shows it.")]
_STANDARD_INPUT: Final = Path("-")


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A quarantined record. What is no UTF-8 stands in base64, and is named in `encoded`."""

    reason: str
    detail: str
    event_id: UUID | None
    recorded_at: datetime
    timestamp: int
    key: str | None
    value: str | None
    headers: list[tuple[str, str | None]]
    encoded: list[str]


class Corrected(msgspec.Struct, frozen=True, kw_only=True):
    """The event that stands for a quarantined record now. `still_suppressing`: the malformed refusal is in force."""

    event_id: UUID
    shard: int
    position: int
    still_suppressing: bool


@app.callback()
def group() -> None:
    """Records that were not accepted, or only in part."""


@app.command("list")
def list_(
    *,
    reason: Annotated[str | None, typer.Option(help="Only records of this reason.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Only what nobody has corrected or voided.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, the newest first.")] = 100,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """List places, reasons and times, the newest first; never what a record holds."""
    records = run(_read(found.settings(data), reason, limit, only_open=open_))
    if as_json:
        say_json([record._asdict() for record in records])
        return
    rows = [
        (
            f"{record.topic}/{record.partition}@{record.offset}",
            f"{record.recorded_at:%Y-%m-%d %H:%M:%S}",
            record.reason,
            record.detail,
            None if record.position is None else f"{record.shard}/{record.position}",
            record.resolved,
        )
        for record in records
    ]
    out.print(table("Quarantine", "place", "recorded (UTC)", "reason", "detail", "entry", "resolved", rows=rows))
    if not records:
        out.print("Nothing is in quarantine.")


async def _read(settings: Settings, reason: str | None, limit: int, *, only_open: bool) -> list[QuarantinedRecord]:
    connection = await connect(settings.dsn, "consent_operator")
    try:
        return list(await operator.quarantined(connection, reason, limit, only_open=only_open))
    finally:
        await connection.close()


@app.command()
def show(
    *,
    place: Place,
    reason: Annotated[str, typer.Option(help="Why you look; it is recorded.")],
    viewer: Annotated[str | None, typer.Option("--as", help="Who looks; your user name unless said.")] = None,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Decrypt one record and show it. The look is an entry first; where it cannot be, nothing is shown."""
    shown = run(_show(found.settings(data), place, viewer or getpass.getuser(), reason))
    if as_json:
        say_json(shown)
        return
    rows = [("reason", shown.reason), ("detail", shown.detail), ("event", shown.event_id),
            ("recorded (UTC)", f"{shown.recorded_at:%Y-%m-%d %H:%M:%S}"), ("key", _text(shown.key)),
            *((f"header {visible(name)}", _text(value)) for name, value in shown.headers),
            ("value", _text(shown.value))]  # fmt: skip
    out.print(table(visible(place), "", "", rows=list(rows)))
    for name in shown.encoded:
        err.print(Text(f"{visible(name)} is no text: shown in base64", style="yellow"))


async def _show(settings: Settings, place: str, viewer: str, reason: str) -> Shown:
    async with voiding.office(settings) as office:
        record = await _record(office, place)
        await _look(office, record, place, viewer, reason)
        return _shown(record, office.desk.original(record))


async def _look(office: Office, record: Quarantined, place: str, viewer: str, reason: str) -> None:
    """Make the look an entry; who and why is encrypted beside the ledger, as a record's person is mostly not known."""
    now = datetime.now(UTC)
    event_id = uuid7(now)
    digest = await office.desk.look(record, event_id, viewer=viewer, reason=reason)
    said = {"record": place, "entered_by": viewer, "reason": reason, "shown": 1, "digest": digest}
    await voiding.publish_recorded(office, build(VIEWED, "desk", now, said, event_id), event_id)


def _shown(record: Quarantined, original: Original) -> Shown:
    encoded: list[str] = []

    def text(name: str, content: str | bytes | None) -> str | None:
        if content is None or isinstance(content, str):
            return content
        try:
            return content.decode()
        except UnicodeDecodeError:
            encoded.append(name)
            return base64.b64encode(content).decode()

    headers = [(text("header", name) or "", text("header", value)) for name, value in original.headers]
    return Shown(
        reason=record.reason, detail=record.detail, event_id=record.event_id, recorded_at=record.recorded_at,
        timestamp=original.timestamp, key=text("key", original.key), value=text("value", original.value),
        headers=headers, encoded=encoded,
    )  # fmt: skip


def _text(value: str | None) -> str | None:
    return None if value is None else visible(value)


@app.command()
def correct(
    *,
    place: Place,
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="The corrected event; - for standard input.")],
    who: As,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Publish a corrected event, under an id of its own, for a record that was not accepted as it came.

    The event says in its data, as `corrects`, which record it stands for. What a malformed refusal suppresses stays
    suppressed until it is voided.
    """
    if file != _STANDARD_INPUT and not file.is_file():
        fail(f"there is no file {file}", USAGE)
    line = sys.stdin.buffer.read() if file == _STANDARD_INPUT else file.read_bytes()
    corrected = run(_correct(found.settings(data), place, line, who))
    if as_json:
        say_json(corrected)
        return
    out.print(f"Corrected: entry {corrected.shard}/{corrected.position}, event {corrected.event_id}.")
    if corrected.still_suppressing:
        err.print("The malformed refusal still suppresses; `consent quarantine void` takes it back, by two people.")


async def _correct(settings: Settings, place: str, line: bytes, who: str) -> Corrected:
    async with voiding.office(settings) as office:
        record = await _record(office, place)
        value, event, problem = judged(_referring(line, record))
        if event is None or problem is not None:
            detail = f"{problem.reason}, {problem.detail}" if problem else "nothing is in it"
            fail(f"the corrected event is not right either: {detail}", NO)
        if event.id == record.event_id:
            fail("the corrected event needs an id of its own", USAGE)
        recorded = await voiding.publish_recorded(office, value, event.id)
        await office.desk.resolve(record, "corrected", event.id, {"entered_by": who})
        return Corrected(
            event_id=event.id,
            shard=recorded.shard,
            position=recorded.position,
            still_suppressing=record.position is not None,
        )


def _referring(line: bytes, record: Quarantined) -> bytes:
    """Let the data of an event say which record it corrects; what is no object stays as it is."""
    said, flaw = strictjson.read(line.strip())
    if flaw is not None or not isinstance(said, dict) or not isinstance(said.get("data"), dict):
        return line.strip()
    reference = str(record.event_id) if record.event_id else f"{record.shard}@{record.offset}"
    return msgspec.json.encode({**said, "data": {**said["data"], "corrects": reference}})


@app.command("void")
def void_(
    *,
    place: Place,
    who: As,
    reason: void.Reason = None,
    approve: Approve = False,
    source: Source = None,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Void the entry that stands for a malformed refusal: one person proposes, another one approves."""
    settings = found.settings(data)
    outcome = run(_void(settings, place, who=who, reason=reason, approve=approve, source=source))
    void.say(outcome, as_json=as_json)


async def _void(settings: Settings, place: str, **said: Any) -> Proposed | Voided:
    async with voiding.office(settings) as office:
        record = await _record(office, place)
        if record.position is None or record.event_id is None:
            fail("nothing stands for this record, so there is nothing to void", NO)
        return await void.step(office, record.event_id, **said)


async def _record(office: Office, place: str) -> Quarantined:
    topic, slash, rest = place.rpartition("/")
    partition, at, offset = rest.partition("@")
    if not (slash and at and partition.isdecimal() and offset.isdecimal()):
        fail("PLACE is TOPIC/PARTITION@OFFSET, as `consent quarantine list` shows it", USAGE)
    record = await office.desk.record(topic, int(partition), int(offset))
    if record is None:
        fail("nothing is in quarantine from this place", NO)
    return record
