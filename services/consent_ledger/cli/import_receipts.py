"""`consent import receipts`: what forms have posted to another consent tool, receipt by receipt, as events."""

import hmac
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer
from rich.text import Text

from consent_ledger.cli import found, register_files
from consent_ledger.cli.found import Data
from consent_ledger.cli.imported import Row, Summary, read_mapping, summarised
from consent_ledger.cli.outcomes import Item, Recording, Report, ready
from consent_ledger.cli.terminal import NO, USAGE, AsJson, err, fail, out, run, say_json
from consent_ledger.domain import register as registers
from consent_ledger.domain.adapters import receipts
from consent_ledger.domain.adapters.receipts import ReceiptMapping, Receipts
from consent_ledger.domain.adapters.shapes import SHAPES
from consent_ledger.domain.errors import MalformedError
from consent_ledger.domain.register import Register
from consent_ledger.domain.suppression_list import Made, Refused
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.publish import publishing
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import EVENTS
from consent_ledger.store import keys

_CHUNK: Final = 1_000
_SHOWN_MAX: Final = 20


class _Plan(NamedTuple):
    """What receipts are read by."""

    file: Path
    tool: str
    mapping: ReceiptMapping
    report: Path | None
    dry_run: bool


def receipts_command(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", exists=True, dir_okay=False, help="One on each line.")],
    tool: Annotated[str, typer.Option("--from", help=f"Whose receipts they are: {', '.join(SHAPES)}.")],
    mapping: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="What its purposes and identifiers are (JSON or TOML).")
    ],
    report: Annotated[Path | None, typer.Option(help="Write what became of each (CSV; no addresses).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read everything, publish nothing.")] = False,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Import consents and refusals that another tool has collected.

    What would invent a permission is refused with the reason; a refusal counts even where something is missing. The
    same receipts again are harmless. Exit status 1: choices were refused; the others are recorded.
    """
    if tool not in SHAPES:
        fail(f"--from is one of {', '.join(SHAPES)}", USAGE)
    plan = _Plan(file, tool, read_mapping(mapping, ReceiptMapping), report, dry_run)
    summary = run(_import(found.settings(data), plan))
    if as_json:
        say_json(summary)
    else:
        _say(summary)
    if summary.refused:
        raise typer.Exit(NO)


async def _import(settings: Settings, plan: _Plan) -> Summary:
    topic = f"{settings.topic_prefix}{EVENTS}"
    async with AsyncExitStack() as stack:
        connection = await connect(settings.dsn, "consent_operator")
        stack.push_async_callback(connection.close)
        register = await _register(connection, plan)
        key = (await keys.controller_keys(connection, KeyFile(settings.key_file)))[plan.mapping.controller].key
        reading = _Reading(plan, register, key)
        file = stack.enter_context(plan.report.open("w", encoding="utf-8", newline="")) if plan.report else None
        told = Report(file, "line")
        recording = None
        if not plan.dry_run:
            publisher = await stack.enter_async_context(publishing(settings.kafka(), topic))
            recording = Recording(connection, publisher, topic)
        for items in reading.chunks():
            told.add(await recording.record(items) if recording else [ready(item) for item in items])
    return summarised(told, reading.refused)


async def _register(connection: Connection, plan: _Plan) -> Register:
    """Return the register in force; end the command where nothing could be imported under it."""
    current = await register_files.read_current(connection)
    register = registers.compile(current.document, current.version)
    if wrong := list(receipts.problems(plan.mapping, register)):
        fail("; ".join(wrong), USAGE)
    if not register.serves(plan.mapping.source, plan.mapping.controller):
        err.print(f"source {plan.mapping.source} is not registered for {plan.mapping.controller}: only refusals count")
    return register


class _Reading:
    """Reads receipts line by line."""

    def __init__(self, plan: _Plan, register: Register, key: bytes) -> None:
        self._file = plan.file
        self._receipts = Receipts(
            SHAPES[plan.tool], plan.mapping, register, tool=plan.tool,
            digest=lambda content: hmac.digest(key, content, "sha256"),
        )  # fmt: skip
        # The first choices that were refused.
        self.refused: list[Row] = []

    def chunks(self) -> Iterator[list[Item]]:
        """Give what is made of the lines in pieces that fit into memory."""
        items = self._items()
        while chunk := list(islice(items, _CHUNK)):
            yield chunk

    def _items(self) -> Iterator[Item]:
        now = datetime.now(UTC)
        with self._file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield from (self._item(number, read) for read in self._read(line, now))

    def _read(self, line: bytes, now: datetime) -> list[Made | Refused]:
        try:
            return self._receipts.read(json.loads(line), now)
        except (ValueError, RecursionError, MalformedError):
            return [Refused("NOT_JSON", "the line is no JSON")]

    def _item(self, number: int, read: Made | Refused) -> Item:
        if isinstance(read, Made):
            return Item(number, read.event, read.value, read.warning)
        if len(self.refused) < _SHOWN_MAX:
            self.refused.append(Row(row=number, reason=read.reason, detail=read.detail))
        return Item(number, None, b"", read.reason)


def _say(summary: Summary) -> None:
    for row in summary.rows:
        err.print(Text.assemble((f"line {row.row}: refused: ", "red"), f"{row.reason}, {row.detail}"))
    if summary.refused > len(summary.rows):
        err.print(f"{summary.refused - len(summary.rows):,} more choices refused: see them with --report")
    done = f"{summary.ready:,} events would be published" if summary.ready else f"{summary.recorded:,} events recorded"
    out.print(f"{done}, {summary.duplicate:,} were there before, {summary.refused:,} choices refused")
