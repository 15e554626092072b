"""`consent import suppressions`: an existing suppression list, row by row, as events."""

import csv
import hmac
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from io import BufferedReader
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Final, NamedTuple, TextIO
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from consent_ledger.cli import found, register_files
from consent_ledger.cli.found import Data
from consent_ledger.cli.imported import Row, Summary, read_mapping, summarised
from consent_ledger.cli.outcomes import Item, Recording, Report, ready
from consent_ledger.cli.terminal import NO, USAGE, AsJson, err, fail, out, run, say_json
from consent_ledger.domain import register as registers
from consent_ledger.domain import suppression_list
from consent_ledger.domain.suppression_list import ListMapping, Made, Refused, Rows
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.publish import publishing
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import EVENTS
from consent_ledger.store import keys

_CHUNK: Final = 1_000
_SHOWN_MAX: Final = 20
_DELIMITERS: Final = ",;\t|"
_BYTE_ORDER_MARK: Final = "\ufeff"


class _Plan(NamedTuple):
    """What a list is read by."""

    file: Path
    mapping: ListMapping
    controller: str
    source: str
    zone: ZoneInfo | None
    report: Path | None
    dry_run: bool


def suppressions(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", exists=True, dir_okay=False, help="The list.")],
    controller: Annotated[str, typer.Option(help="Whose list it is.")],
    mapping: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="What its columns and reasons mean (JSON or TOML).")
    ],
    source: Annotated[str, typer.Option(help="The source on record for it, as esp:shop-be.")],
    report: Annotated[Path | None, typer.Option(help="Write what became of each row (CSV; no addresses).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read everything, publish nothing.")] = False,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Import a list of people who want no mail, have complained, or cannot be reached.

    No row can lift an opt-out. The same list again is harmless: each row has an id of its own that counts once. Exit
    status 1: rows were refused; the others are recorded.
    """
    read = read_mapping(mapping, ListMapping)
    _require_encoding(read)
    plan = _Plan(file, read, controller, source, _zone(read), report, dry_run)
    summary = run(_import(found.settings(data), plan, quiet=as_json))
    if as_json:
        say_json(summary)
    else:
        _say(summary)
    if summary.refused:
        raise typer.Exit(NO)


def _require_encoding(mapping: ListMapping) -> None:
    """Rows are taken apart before they are decoded, so a line must end in any encoding where it ends in ASCII."""
    try:
        if "\n".encode(mapping.encoding) == b"\n":
            return
    except LookupError:
        pass
    fail(f"the encoding {mapping.encoding} cannot be read; utf-8 and latin-1 can", USAGE)


def _zone(mapping: ListMapping) -> ZoneInfo | None:
    try:
        return ZoneInfo(mapping.time_zone) if mapping.time_zone else None
    except (ZoneInfoNotFoundError, ValueError):
        fail(f"there is no time zone {mapping.time_zone}; Europe/Brussels is one", USAGE)


async def _import(settings: Settings, plan: _Plan, *, quiet: bool) -> Summary:
    topic = f"{settings.topic_prefix}{EVENTS}"
    async with AsyncExitStack() as stack:
        connection = await connect(settings.dsn, "consent_operator")
        stack.push_async_callback(connection.close)
        await _require(connection, plan)
        reading = _Reading(plan, stack.enter_context(plan.file.open("rb")), await _key(connection, settings, plan))
        told = Report(stack.enter_context(_opened(plan.report)) if plan.report else None, "row")
        recording = None
        if not plan.dry_run:
            publisher = await stack.enter_async_context(publishing(settings.kafka(), topic))
            recording = Recording(connection, publisher, topic)
        shown = stack.enter_context(_progress(quiet=quiet))
        task = shown.add_task("importing", total=reading.size)
        for items in reading.chunks():
            told.add(await recording.record(items) if recording else [ready(item) for item in items])
            shown.update(task, completed=reading.bytes)
    return summarised(told, reading.refused)


async def _require(connection: Connection, plan: _Plan) -> None:
    """End the command where no row could be imported, before any is."""
    current = await register_files.read_current(connection)
    register = registers.compile(current.document, current.version)
    if wrong := list(suppression_list.problems(plan.mapping, register, plan.controller, plan.source)):
        fail("; ".join(wrong), USAGE)
    if not register.serves(plan.source, plan.controller):
        err.print(f"source {plan.source} is not registered for {plan.controller}: its refusals count all the same")


async def _key(connection: Connection, settings: Settings, plan: _Plan) -> bytes:
    found_ = await keys.controller_keys(connection, KeyFile(settings.key_file))
    return found_[plan.controller].key


def _opened(report: Path) -> TextIO:
    return report.open("w", encoding="utf-8", newline="")


class _Reading:
    """Reads a list row by row, and counts the bytes that it has taken."""

    def __init__(self, plan: _Plan, file: BufferedReader, key: bytes) -> None:
        self._plan = plan
        self._file = file
        self._digest = lambda content: hmac.digest(key, content, "sha256")
        self._number = 0
        self._broken: csv.Error | None = None
        self.bytes = 0
        self.size = plan.file.stat().st_size
        # The first rows that were refused.
        self.refused: list[Row] = []

    def chunks(self) -> Iterator[list[Item]]:
        """Give the rows in pieces that fit into memory. What is no CSV ends the command, and says behind which row."""
        items = self._items()
        while chunk := list(islice(items, _CHUNK)):
            yield chunk
        if self._broken is not None:
            place = f"{self._plan.file} is no CSV behind row {self._number}"
            before = "nothing was imported" if self._plan.dry_run else "what stands before has been imported"
            fail(f"{place}: {self._broken}; {before}", USAGE)

    def _items(self) -> Iterator[Item]:
        lines = self._lines()
        first = next(lines, "").removeprefix(_BYTE_ORDER_MARK)
        delimiter = self._plan.mapping.delimiter or max(_DELIMITERS, key=first.count)
        table = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
        header = self._header(next(table, [])) if self._plan.mapping.names else None
        rows = self._rows(header)
        now = datetime.now(UTC)
        try:
            for cells in table:
                self._number += 1
                if cells:
                    yield self._item(rows.read(cells, now))
        except csv.Error as error:
            # Only now: what was read before it is to be imported first.
            self._broken = error

    def _header(self, cells: list[str]) -> list[str]:
        self._number += 1
        return cells

    def _rows(self, header: list[str] | None) -> Rows:
        plan = self._plan
        try:
            return Rows(
                plan.mapping, controller=plan.controller, source=plan.source, zone=plan.zone, header=header,
                digest=self._digest,
            )  # fmt: skip
        except KeyError as error:
            fail(f"{plan.file} has no column {error}", USAGE)

    def _item(self, read: Made | Refused) -> Item:
        if isinstance(read, Made):
            return Item(self._number, read.event, read.value, read.warning)
        if len(self.refused) < _SHOWN_MAX:
            self.refused.append(Row(row=self._number, reason=read.reason, detail=read.detail))
        return Item(self._number, None, b"", read.reason)

    def _lines(self) -> Iterator[str]:
        for line in self._file:
            self.bytes += len(line)
            yield line.decode(self._plan.mapping.encoding, "surrogateescape")


def _progress(*, quiet: bool) -> Progress:
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn(),
        console=err, transient=True, disable=quiet or not err.is_terminal,
    )  # fmt: skip


def _say(summary: Summary) -> None:
    for row in summary.rows:
        err.print(Text.assemble((f"row {row.row}: refused: ", "red"), f"{row.reason}, {row.detail}"))
    if summary.refused > len(summary.rows):
        err.print(f"{summary.refused - len(summary.rows):,} more rows refused: see them with --report")
    if summary.ready:
        out.print(f"{summary.ready:,} rows would be published, {summary.refused:,} refused")
    else:
        out.print(
            f"{summary.recorded:,} rows recorded, {summary.duplicate:,} were there before, {summary.refused:,} refused"
        )
