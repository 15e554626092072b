"""Where a replay goes: a terminal, JSON Lines, Parquet, a Kafka topic. Each tells from where it can be gone on with.

What goes out is fixed by the entries alone: two replays of the same entries give the same bytes.
"""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final, Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from aiokafka import AIOKafkaProducer
from rich.table import Table

from consent_ledger.cli.terminal import out, table, visible
from consent_ledger.domain.cloudevents import JSON, REPLAY_HEADER
from consent_ledger.runtime.objects import Objects
from consent_ledger.store import columns
from consent_ledger.store.log import Entry

Mark = dict[str, int]
"""How far a sink has got for good."""

_PART_ENTRIES: Final = 100_000
_GROUP_ENTRIES: Final = 20_000
_PERSON_SCHEMA: Final = pa.schema([(name, pa.string()) for name in ("place", "event_id", "type", "entry")])
_encode = msgspec.json.Encoder(order="deterministic")
_pause, _now = asyncio.sleep, time.monotonic


class Page(Protocol):
    """Some entries in the forms in which they go out."""

    def __len__(self) -> int:
        """Count the entries."""

    def lines(self) -> bytes:
        """Give a line of JSON for each entry."""

    def keys(self) -> list[bytes]:
        """Give a name for each entry that says nothing of anybody."""

    def columns(self) -> pa.Table:
        """Give the entries as columns."""

    def rows(self) -> list[tuple[Any, ...]]:
        """Give the entries as rows for people."""


class Sink(Protocol):
    """Takes pages, and ends with `finish`."""

    async def write(self, page: Page) -> None:
        """Take a page."""

    async def mark(self) -> Mark | None:
        """Make sure of all that was taken, and say how far it goes; None where only a whole page more would."""

    async def finish(self) -> None:
        """Send out the rest; nothing more comes."""


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a replay. Times in UTC; `body`: a format number, and the fields of the event that are not personal."""

    shard: int
    position: int
    event_id: str
    type: str
    occurred_at: Any
    recorded_at: Any
    offset: int
    register_version: int
    body: msgspec.Raw
    commitment: str
    tags: list[str]
    leaf_hash: str


class LedgerPage:
    """Entries of the ledger, in which nothing is personal."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    def lines(self) -> bytes:
        """Give a line of JSON for each entry."""
        return _encode.encode_lines([_replayed(entry) for entry in self._entries])

    def keys(self) -> list[bytes]:
        """Name each entry by its place."""
        return [b"%d/%d" % (entry.shard, entry.position) for entry in self._entries]

    def columns(self) -> pa.Table:
        """Give the entries as columns."""
        return pa.Table.from_arrays(columns.columns(self._entries), schema=columns.SCHEMA)

    def rows(self) -> list[tuple[Any, ...]]:
        """Give the entries as rows for people."""
        return [
            (f"{one.shard}/{one.position}", _second(one.occurred_at.isoformat()), _second(one.recorded_at.isoformat()),
             one.type, str(one.register_version), str(one.event_id), visible(one.body.decode(errors="replace")))
            for one in self._entries
        ]  # fmt: skip


def _replayed(entry: Entry) -> Replayed:
    tags = entry.tags.hex()
    return Replayed(
        shard=entry.shard, position=entry.position, event_id=str(entry.event_id), type=entry.type,
        occurred_at=entry.occurred_at, recorded_at=entry.recorded_at, offset=entry.offset,
        register_version=entry.register_version, body=msgspec.Raw(entry.body), commitment=entry.commitment.hex(),
        tags=[tags[at : at + 64] for at in range(0, len(tags), 64)], leaf_hash=entry.leaf_hash.hex(),
    )  # fmt: skip


class PersonPage:
    """Entries of one person as the API has shown them, once the look was recorded."""

    def __init__(self, shown: Sequence[dict[str, Any]]) -> None:
        self._shown = shown

    def __len__(self) -> int:
        return len(self._shown)

    def lines(self) -> bytes:
        """Give a line of JSON for each entry."""
        return _encode.encode_lines(self._shown)

    def keys(self) -> list[bytes]:
        """Name each entry by its place."""
        return [_place(one).encode() for one in self._shown]

    def columns(self) -> pa.Table:
        """Give the entries as columns; what was said stands in one of them, as JSON."""
        rows = [(_place(one), one["event_id"], one["type"], _encode.encode(one).decode()) for one in self._shown]
        return pa.Table.from_arrays(
            [pa.array([row[at] for row in rows], pa.string()) for at in range(len(_PERSON_SCHEMA))],
            schema=_PERSON_SCHEMA,
        )

    def rows(self) -> list[tuple[Any, ...]]:
        """Give the entries as rows for people."""
        return [
            (_place(one), _second(one["occurred_at"]), _second(one["recorded_at"]), one["type"],
             str(one["register_version"]), one["event_id"], visible(_encode.encode(one["said"]).decode()))
            for one in self._shown
        ]  # fmt: skip


def _place(shown: dict[str, Any]) -> str:
    return f"{shown['position']['shard']}/{shown['position']['position']}"


def _second(instant: str) -> str:
    return instant[:19].replace("T", " ")


class Terminal:
    """Tables, page by page."""

    _COLUMNS: Final = ("place", "happened (UTC)", "recorded (UTC)", "type", "register", "event", "said")

    async def write(self, page: Page) -> None:
        """Print a page."""
        if len(page):
            printed: Table = table("", *self._COLUMNS, rows=page.rows())
            out.print(printed)

    async def mark(self) -> Mark | None:
        """Say that all was shown."""
        return {}

    async def finish(self) -> None:
        """Nothing is left to do."""


class JsonLines:
    """An open file, or standard output where it is None."""

    def __init__(self, file: IO[bytes] | None) -> None:
        self._file = file or sys.stdout.buffer
        self._whole = file is not None

    async def write(self, page: Page) -> None:
        """Add a page."""
        self._file.write(page.lines())

    async def mark(self) -> Mark | None:
        """Have the file on disk, and tell its length."""
        self._file.flush()
        if not self._whole:
            return {}
        os.fsync(self._file.fileno())
        return {"bytes": self._file.tell()}

    async def finish(self) -> None:
        """Have the file on disk."""
        await self.mark()


class Parquet:
    """Files `part-000000.parquet` and so on in a folder or bucket, each whole or not there."""

    def __init__(self, place: str, done: Mark) -> None:
        self._objects = Objects(place)
        self._number = done.get("parts", 0)
        self._held: list[pa.Table] = []
        self._size = 0

    async def write(self, page: Page) -> None:
        """Take a page; when enough is held, write it all, so that no page is spread over two parts."""
        self._held.append(page.columns())
        self._size += len(page)
        if self._size >= _PART_ENTRIES:
            await asyncio.to_thread(self._write_part)

    async def mark(self) -> Mark | None:
        """Tell how many parts are whole; what is held in memory still needs the pages it came with."""
        return None if self._size else {"parts": self._number}

    async def finish(self) -> None:
        """Write what is left; one part at least, so that a reader finds the columns."""
        if self._size or (self._held and not self._number):
            await asyncio.to_thread(self._write_part)

    def _write_part(self) -> None:
        with self._objects.writing(f"part-{self._number:06}.parquet") as file:
            pq.write_table(pa.concat_tables(self._held), file, row_group_size=_GROUP_ENTRIES, **columns.OPTIONS)
        self._held, self._size = [], 0
        self._number += 1


class Topic:
    """A Kafka topic, so many records a second; each record says by a header that it is no news."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, rate: float) -> None:
        self._producer = producer
        self._topic = topic
        self._rate = rate
        self._headers = [(REPLAY_HEADER, b"1"), ("content-type", JSON.encode())]
        self._due = 0.0

    async def write(self, page: Page) -> None:
        """Send a page, no faster than may be, and return when Kafka has it."""
        step = max(1, int(self._rate / 10))
        lines, keys = page.lines().splitlines(), page.keys()
        for first in range(0, len(lines), step):
            now = _now()
            await _pause(max(0.0, self._due - now))
            part = list(zip(keys, lines, strict=True))[first : first + step]
            self._due = max(self._due, now) + len(part) / self._rate
            sent = [
                await self._producer.send(self._topic, line, key, headers=self._headers) for key, line in part
            ]  # fmt: skip
            await asyncio.gather(*sent)

    async def mark(self) -> Mark | None:
        """Say that Kafka has all."""
        return {}

    async def finish(self) -> None:
        """Nothing is left to do."""


def opened(path: Path, done: Mark) -> IO[bytes]:
    """Open a file for lines of JSON; what an earlier run has finished of it stays. Raises OSError."""
    kept = done.get("bytes", 0)
    file = path.open("r+b" if kept else "wb")
    file.truncate(kept)
    file.seek(kept)
    return file
