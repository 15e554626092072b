"""Compares what Kafka acknowledged with what the ledger holds; reads both itself, with no code of the product."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

Row: TypeAlias = asyncpg.Record
_AT_MOST = 8
_CONFLICTING = frozenset({"consent-withdrawn", "objection-raised", "erasure-requested"})


class Form(Enum):
    """What a record is, and so what may become of it."""

    EVENT = auto()
    # An id that another event has as well: a refusal becomes an entry under another id, a permission is kept apart.
    REUSED_ID = auto()
    # The entry is an objection, and the record is kept in quarantine.
    MALFORMED_REFUSAL = auto()
    MALFORMED = auto()
    # Nobody may ever read it.
    ABORTED = auto()
    # A test has already accounted for it with its own hand.
    ANY = auto()


class Place(NamedTuple):
    """Where Kafka put a record."""

    topic: str
    partition: int
    offset: int


class Sent(NamedTuple):
    """A record whose writing Kafka has acknowledged."""

    form: Form
    value: bytes

    @property
    def said(self) -> dict[str, Any]:
        """Its attributes and data."""
        return dict(json.loads(self.value))


@dataclass(frozen=True, kw_only=True)
class Shard:
    """All that the database says of one shard."""

    head: Row
    entries: list[Row]
    duplicates: dict[int, UUID]
    quarantine: dict[int, Row]
    holes: list[int]

    @property
    def by_offset(self) -> dict[int, Row]:
        return {entry["k_offset"]: entry for entry in self.entries}

    def place(self, offset: int) -> Place:
        return Place(self.head["topic"], self.head["partition"], offset)


async def differences(kafka: str, database: str, sent: Mapping[Place, Sent]) -> list[str]:
    """Return everything that is not as promised, in words; nothing may be writing any more."""
    shards, found = await _read_database(database)
    visible: dict[Place, bytes | None] = {}
    for shard in shards:
        records, start, end = await _read_kafka(kafka, shard.head["topic"], shard.head["partition"])
        visible |= {shard.place(offset): value for offset, value in records.items()}
        found += _first(_of_head(shard, start, end), shard)
        found += _first(_of_order(shard), shard)
        found += _first(_of_offsets(shard, records), shard)
    places = {entry["event_id"]: shard.place(entry["k_offset"]) for shard in shards for entry in shard.entries}
    found += _first(_of_acknowledged(shards, visible, sent))
    for shard in shards:
        found += _first(_of_outcomes(shard, places, sent), shard)
    return found


def _first(found: Iterable[str], shard: Shard | None = None) -> list[str]:
    where = f"shard {shard.head['shard']}: " if shard else ""
    every = [f"{where}{what}" for what in found]
    return every if len(every) <= _AT_MOST else [*every[:_AT_MOST], f"{where}… {len(every)} in all"]


def _of_head(shard: Shard, start: int, end: int) -> Iterator[str]:
    head = shard.head
    rejected = [row for row in shard.quarantine.values() if row["pos"] is None]
    for counter, said, counted in (
        ("start_offset", head["start_offset"], start),
        ("next_offset", head["next_offset"], end),
        ("next_pos", head["next_pos"], len(shard.entries)),
        ("duplicates", head["duplicates"], len(shard.duplicates)),
        ("rejected", head["rejected"], len(rejected)),
        ("holes", head["holes"], len(shard.holes)),
    ):
        if said != counted:
            yield f"the head says {counter} {said}, counted {counted}"


def _of_order(shard: Shard) -> Iterator[str]:
    positions = [entry["pos"] for entry in shard.entries]
    if positions != list(range(len(positions))):
        yield "positions have gaps"
    for before, after in pairwise(shard.entries):
        if after["recorded_at"] < before["recorded_at"]:
            yield f"recorded_at falls at position {after['pos']}"
        if after["k_offset"] <= before["k_offset"]:
            yield f"the offset does not rise at position {after['pos']}"
    if shard.entries and shard.head["last_recorded_at"] < shard.entries[-1]["recorded_at"]:
        yield "the head's last_recorded_at is before the last entry's"


def _of_offsets(shard: Shard, records: Mapping[int, bytes | None]) -> Iterator[str]:
    """Every offset is exactly one of entry, duplicate, rejected, hole; and a hole is what no reader sees."""
    times = Counter(entry["k_offset"] for entry in shard.entries)
    times.update(shard.duplicates.keys())
    times.update(offset for offset, row in shard.quarantine.items() if row["pos"] is None)
    times.update(shard.holes)
    yield from (f"offset {offset} is accounted for {n} times" for offset, n in sorted(times.items()) if n > 1)
    wanted = range(shard.head["start_offset"], shard.head["next_offset"])
    yield from (f"offset {offset} is not accounted for" for offset in wanted if offset not in times)
    yield from (f"offset {offset} is outside what was read" for offset in sorted(times) if offset not in wanted)
    yield from (f"offset {offset} is a hole and yet can be read" for offset in shard.holes if offset in records)
    accounted = times.keys() - set(shard.holes)
    yield from (f"offset {offset} is no hole and cannot be read" for offset in sorted(accounted - records.keys()))


def _of_acknowledged(
    shards: list[Shard], visible: Mapping[Place, bytes | None], sent: Mapping[Place, Sent]
) -> Iterator[str]:
    ids = Counter(entry["event_id"] for shard in shards for entry in shard.entries)
    yield from (f"event {event_id} is {n} entries" for event_id, n in ids.items() if n > 1)
    for place, record in sent.items():
        if (place in visible) == (record.form is Form.ABORTED):
            yield f"{place}: acknowledged, and read where it should not be, or not read where it should"
        elif place in visible and visible[place] != record.value:
            yield f"{place}: Kafka holds another record than it acknowledged"
        elif record.form is Form.EVENT and ids[UUID(record.said["id"])] != 1:
            yield f"{place}: event {record.said['id']} is {ids[UUID(record.said['id'])]} entries"
    yield from (f"{place}: nobody sent this" for place in visible if place not in sent)


def _of_outcomes(shard: Shard, places: Mapping[UUID, Place], sent: Mapping[Place, Sent]) -> Iterator[str]:
    """Each outcome is the right one for its record."""
    for offset, entry in shard.by_offset.items():
        record = sent.get(shard.place(offset))
        if record is not None and (what := _wrong_entry(entry, record, shard.quarantine.get(offset))):
            yield f"offset {offset}: {what}"
    for offset, event_id in shard.duplicates.items():
        record, first = sent.get(shard.place(offset)), sent.get(places[event_id]) if event_id in places else None
        if record is None or first is None or record.value != first.value:
            yield f"offset {offset}: counted as a duplicate of an event that is no entry, or another one"
    for offset, row in shard.quarantine.items():
        record = sent.get(shard.place(offset))
        wrong = record is not None and (
            record.form is Form.EVENT or (record.form is Form.MALFORMED_REFUSAL and row["pos"] is None)
        )
        if wrong:
            yield f"offset {offset}: kept in quarantine as {row['reason']}"


def _wrong_entry(entry: Row, record: Sent, kept: Row | None) -> str | None:
    if record.form in (Form.MALFORMED, Form.ABORTED):
        return f"{record.form.name} is an entry"
    if record.form is Form.MALFORMED_REFUSAL:
        right = entry["type"] == "objection-raised" and kept is not None and kept["pos"] == entry["pos"]
        return None if right else "a malformed refusal is not the objection that it should be, or is not kept"
    said = record.said
    if record.form is Form.REUSED_ID and str(entry["event_id"]) != said["id"]:
        return None if entry["type"] in _CONFLICTING else "a permission under an id that it did not have"
    right = (str(entry["event_id"]), entry["type"], entry["occurred_at"]) == (
        said["id"],
        said["type"],
        datetime.fromisoformat(said["time"]),
    )
    return None if right else "the entry is not the event"


async def _read_database(database: str) -> tuple[list[Shard], list[str]]:
    connection: asyncpg.Connection[Row] = await asyncpg.connect(database)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            heads = await connection.fetch("SELECT * FROM consent.shard_head ORDER BY shard")
            shards = [await _read_shard(connection, head) for head in heads]
            return shards, [what async for what in _loose_ends(connection)]
    finally:
        await connection.close()


async def _read_shard(connection: "asyncpg.Connection[Row]", head: Row) -> Shard:
    shard = head["shard"]
    holes = await connection.fetch("SELECT from_offset, to_offset FROM consent.hole WHERE shard = $1", shard)
    duplicates = await connection.fetch("SELECT k_offset, event_id FROM consent.duplicate WHERE shard = $1", shard)
    kept = await connection.fetch("SELECT k_offset, pos, reason FROM consent.quarantine WHERE shard = $1", shard)
    entries = await connection.fetch(
        """
        SELECT pos, event_id, type, occurred_at, recorded_at, k_offset
          FROM consent.ledger WHERE shard = $1 ORDER BY pos
        """,
        shard,
    )
    return Shard(
        head=head,
        entries=entries,
        duplicates={row["k_offset"]: row["event_id"] for row in duplicates},
        quarantine={row["k_offset"]: row for row in kept},
        holes=[offset for row in holes for offset in range(row["from_offset"], row["to_offset"])],
    )


_LOOSE_ENDS = {
    "rows of event that are no entry, or entries that have none": """
        SELECT count(*) FROM consent.event e FULL JOIN consent.ledger l USING (shard, pos)
         WHERE e.event_id IS DISTINCT FROM l.event_id""",
    "addresses of no entry": """
        SELECT count(*) FROM consent.entry_subject LEFT JOIN consent.ledger l USING (shard, pos) WHERE l.pos IS NULL""",
    "ciphertexts of no entry": """
        SELECT count(*) FROM consent.payload LEFT JOIN consent.ledger l USING (shard, pos) WHERE l.pos IS NULL""",
    "entries on the events topic without an address or a ciphertext": """
        SELECT count(*) FROM consent.ledger l
         WHERE l.shard > 0
           AND (NOT EXISTS (SELECT FROM consent.entry_subject s WHERE (s.shard, s.pos) = (l.shard, l.pos))
                OR NOT EXISTS (SELECT FROM consent.payload p WHERE (p.shard, p.pos) = (l.shard, l.pos)))""",
    "entries under a register that was not in force": """
        SELECT count(*) FROM consent.ledger l
         WHERE NOT EXISTS (SELECT FROM consent.register r WHERE r.version = l.register_version)""",
}


async def _loose_ends(connection: "asyncpg.Connection[Row]") -> Any:
    for what, query in _LOOSE_ENDS.items():
        if count := await connection.fetchval(query):
            yield f"{count} {what}"


async def _read_kafka(kafka: str, topic: str, partition: int) -> tuple[dict[int, bytes | None], int, int]:
    """Return what a committed reader sees by offset, the first offset and the end."""
    at = TopicPartition(topic, partition)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="none",
    )
    consumer.assign([at])
    await consumer.start()
    try:
        start, end = (await consumer.beginning_offsets([at]))[at], (await consumer.end_offsets([at]))[at]
        consumer.seek(at, start)
        records: dict[int, bytes | None] = {}
        while await consumer.position(at) < end:
            found = await consumer.getmany(at, timeout_ms=1000)
            records |= {record.offset: record.value for record in found.get(at, ())}
        return records, start, end
    finally:
        await consumer.stop()
