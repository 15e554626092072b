"""`consent publish`: a file of events into Kafka."""

import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.outcomes import Item, Recording, Report
from consent_ledger.cli.terminal import NO, USAGE, AsJson, err, fail, out, run, say_json
from consent_ledger.domain import events
from consent_ledger.domain.bucket import key_of
from consent_ledger.domain.cloudevents import Instant, build
from consent_ledger.domain.events import CONTROL_TYPES, Event
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.publish import HEADERS, Publisher, publishing
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import EVENTS

_CHUNK: Final = 1_000
_LISTED_MAX: Final = 1_000
_SHOWN_MAX: Final = 20
_STANDARD_INPUT: Final = Path("-")


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a line; nothing of its content."""

    line: int
    reason: str
    detail: str


class Summary(msgspec.Struct, kw_only=True):
    """What became of a file. `refusals` are malformed, and published all the same; `lines` were not published.

    `outcomes`: what the ledger made of it, where that was asked for.
    """

    published: int = 0
    malformed_refusals: int = 0
    not_published: int = 0
    refusals: list[Line] = msgspec.field(default_factory=list)
    lines: list[Line] = msgspec.field(default_factory=list)
    outcomes: dict[str, int] | None = None


class _Bare(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event without its envelope."""

    type: str
    source: str
    data: dict[str, Any]
    time: Instant | None = None


_bare = msgspec.json.Decoder(_Bare).decode


def publish(
    *,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE.jsonl", help="One event per line; - for standard input."),
    ],
    outcomes: Annotated[
        Path | None, typer.Option(help="Wait for the ledger, and write what became of each line (CSV).")
    ] = None,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Publish events: a CloudEvent per line, or an object of type, source, time and data.

    A refusal that is malformed is published all the same, because the ledger suppresses what can be read of it. Any
    other line with a fault is not, is named by its number, and makes the exit status 1.
    """
    if file != _STANDARD_INPUT and not file.is_file():
        fail(f"there is no file {file}", USAGE)
    settings = found.settings(data)
    if outcomes is None:
        summary = run(_publish_file(settings, file, quiet=as_json))
    else:
        summary = run(_publish_and_wait(settings, file, outcomes, quiet=as_json))
    if as_json:
        say_json(summary)
    else:
        _say(summary)
    if summary.not_published or (summary.outcomes or {}).get("refused"):
        raise typer.Exit(NO)


async def _publish_file(settings: Settings, file: Path, *, quiet: bool) -> Summary:
    summary = Summary()
    async with publishing(settings.kafka(), f"{settings.topic_prefix}{EVENTS}") as publisher:
        with _opened(file) as source, _progress(quiet=quiet) as progress:
            task = progress.add_task("publishing", total=_size(file))
            for number, line in enumerate(source, 1):
                await _take(publisher, summary, number, line.strip())
                progress.advance(task, len(line))
            await publisher.flush()
    summary.published = publisher.acknowledged
    return summary


async def _publish_and_wait(settings: Settings, file: Path, report: Path, *, quiet: bool) -> Summary:
    summary, topic = Summary(), f"{settings.topic_prefix}{EVENTS}"
    async with AsyncExitStack() as stack:
        connection = await connect(settings.dsn, "consent_operator")
        stack.push_async_callback(connection.close)
        publisher = await stack.enter_async_context(publishing(settings.kafka(), topic))
        source, shown = stack.enter_context(_opened(file)), stack.enter_context(_progress(quiet=quiet))
        told = Report(stack.enter_context(report.open("w", encoding="utf-8", newline="")), "line")
        recording, task = Recording(connection, publisher, topic), shown.add_task("publishing", total=_size(file))
        lines = ((number, line.strip()) for number, line in enumerate(source, 1))
        while chunk := list(islice(lines, _CHUNK)):
            items = [_item(summary, number, line) for number, line in chunk if line]
            told.add(await recording.record(items))
            shown.advance(task, sum(len(line) for _, line in chunk))
        summary.published = publisher.acknowledged
    summary.outcomes = dict(told.outcomes)
    return summary


def _size(file: Path) -> int | None:
    return None if file == _STANDARD_INPUT else file.stat().st_size


def _opened(file: Path) -> BufferedReader:
    try:
        return sys.stdin.buffer if file == _STANDARD_INPUT else file.open("rb")  # type: ignore[return-value]
    except OSError as error:
        fail(f"{file} cannot be read: {error}", USAGE)


async def _take(publisher: Publisher, summary: Summary, number: int, line: bytes) -> None:
    if not line:
        return
    item = _item(summary, number, line)
    if item.event is not None:
        await publisher.send(key_of(item.event), item.value)


def _item(summary: Summary, number: int, line: bytes) -> Item:
    """Judge one line, and note what is wrong with it."""
    value, event, problem = judged(line)
    if event is not None:
        if problem is not None:
            summary.malformed_refusals += 1
            _note(summary.refusals, number, problem)
    elif problem is not None:
        summary.not_published += 1
        _note(summary.lines, number, problem)
    return Item(number, event, value, problem.reason if problem else None)


def _note(lines: list[Line], number: int, problem: events.Rejection) -> None:
    if len(lines) < _LISTED_MAX:
        lines.append(Line(line=number, reason=problem.reason, detail=problem.detail))


def judged(line: bytes) -> tuple[bytes, Event | None, events.Rejection | None]:
    """Read one line; gives the record's value, the event if it is to be published, and what is wrong with it."""
    value = _enveloped(line)
    said = events.decode(None, value, HEADERS)
    if isinstance(said, events.Rejection):
        return value, None, said
    event, problem = said if isinstance(said, tuple) else (said, None)
    if event.type in CONTROL_TYPES:
        return value, None, events.Rejection("CONTROL_EVENT", "registers are loaded by `consent register load`")
    return value, event, problem


def _enveloped(line: bytes) -> bytes:
    """Give an event without its envelope one; anything else stays as it is, to the byte."""
    try:
        bare = _bare(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return line
    return build(bare.type, bare.source, bare.time or datetime.now(UTC), bare.data)


def _progress(*, quiet: bool) -> Progress:
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn(),
        console=err, transient=True, disable=quiet or not err.is_terminal,
    )  # fmt: skip


def _say(summary: Summary) -> None:
    for lines, what, style in (
        (summary.refusals, "malformed refusal, published: the ledger suppresses what it names", "yellow"),
        (summary.lines, "not published", "red"),
    ):
        for line in lines[:_SHOWN_MAX]:
            err.print(Text.assemble((f"line {line.line}: {what}: ", style), f"{line.reason}, {line.detail}"))
    out.print(
        f"{summary.published:,} published"
        + (f", {summary.malformed_refusals:,} of them malformed refusals" if summary.malformed_refusals else "")
        + (f"; {summary.not_published:,} lines not published" if summary.not_published else "")
    )
