"""What the model's processes share: Kafka, Postgres, the rule of decision, and the checks of the promises."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from random import Random
from typing import Literal

SHARDS = (0, 1)
ADDRESSES = ("an", "bert", "cleo")
WATERMARK = "!watermark"
Kind = Literal["consent", "refusal", "link"]
Places = tuple[int, ...]


class Mutant(StrEnum):
    """A rule of the design left out, to see whether the model would notice."""

    NO_COMPARE_AND_SET = "no-compare-and-set"
    IDS_NOT_UNIQUE = "ids-not-unique"
    VIEWER_WITHOUT_EPOCH = "viewer-without-epoch"
    NO_BARRIER = "no-barrier"
    ROWS_BEFORE_APPLIED = "rows-before-applied"
    INSTANT_AFTER_OFFSETS = "instant-after-offsets"
    WATERMARK_FROM_BEING_ALIVE = "watermark-from-being-alive"
    WATERMARK_BEFORE_RECORDS = "watermark-before-records"
    NO_FENCE = "no-fence"
    READ_BEFORE_FENCE = "read-before-fence"
    CURSOR_BEFORE_SEND = "cursor-before-send"
    CURSOR_BEFORE_COMMIT = "cursor-before-commit"
    PRUNES_UNSENT = "prunes-unsent"


class FencedError(Exception):
    """Another process owns the place now; this one ends."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a publisher said, and the instant from which Kafka held it."""

    event_id: int
    kind: Kind
    addresses: tuple[str, ...]
    occurred_at: int
    published_at: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """The view of one address; `version` is the viewer's seq."""

    allow: bool = False
    version: int = 0


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """Every event that Kafka held at `instant` is in the view as of `seq`."""

    instant: int = 0
    seq: int = 0


@dataclass(frozen=True, kw_only=True)
class Record:
    """What lies on the topic: the row of an address, or a watermark with its instant as version."""

    key: str
    row: Row
    transaction: int


@dataclass(kw_only=True)
class ShardHead:
    """Where one recorder's shard stands; a position is an index into the shard's entries."""

    epoch: int = 0
    next_offset: int = 0


@dataclass(kw_only=True)
class ViewHead:
    """How far the one viewer has come."""

    epoch: int = 0
    seq: int = 0
    applied: Places = tuple(0 for _ in SHARDS)


@dataclass(kw_only=True)
class RelayHead:
    """Up to which seq the relay's records are committed on the topic."""

    epoch: int = 0
    cursor: int = 0


@dataclass(kw_only=True)
class World:
    """Kafka, Postgres, and what the checker has seen."""

    random: Random
    mutant: Mutant | None
    now: int = 0
    logs: list[list[Event]] = field(default_factory=lambda: [[] for _ in SHARDS])
    topic: list[Record] = field(default_factory=list)
    transactions: Iterator[int] = field(default_factory=lambda: count(1))
    committed: set[int] = field(default_factory=set)
    producers: Iterator[int] = field(default_factory=lambda: count(1))
    producer: int = 0

    shard_heads: list[ShardHead] = field(default_factory=lambda: [ShardHead() for _ in SHARDS])
    entries: list[list[Event]] = field(default_factory=lambda: [[] for _ in SHARDS])
    view_head: ViewHead = field(default_factory=ViewHead)
    rows: dict[str, Row] = field(default_factory=dict)
    outbox: list[tuple[int, str]] = field(default_factory=list)
    horizon: Horizon = Horizon()
    relay_head: RelayHead = field(default_factory=RelayHead)

    accounted: list[list[int]] = field(default_factory=lambda: [[] for _ in SHARDS])
    promised: dict[int, dict[str, Row]] = field(default_factory=dict)
    reached: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def heads(self) -> Places:
        """Read the next position of every shard."""
        return tuple(len(entries) for entries in self.entries)

    def offsets(self) -> Places:
        """Read the end offset of every partition."""
        return tuple(len(log) for log in self.logs)

    def upto(self, places: Places) -> list[Event]:
        """Read the entries of all shards below these positions."""
        return [entry for shard in SHARDS for entry in self.entries[shard][: places[shard]]]

    def own(self, head: ShardHead | ViewHead | RelayHead, epoch: int) -> None:
        """Raise FencedError unless the epoch is still the head's."""
        if head.epoch != epoch:
            self.reached["lost an epoch"] += 1
            raise FencedError

    def open_producer(self) -> int:
        """Do InitProducerId: for the broker the last caller is the owner, and what was open is aborted."""
        producer = next(self.producers)
        if self.mutant is not Mutant.NO_FENCE:
            self.producer = producer
        return producer

    def request(self, producer: int) -> None:
        """Raise FencedError unless the broker still knows this producer as the owner."""
        if self.mutant is not Mutant.NO_FENCE and self.producer != producer:
            self.reached["fenced by the broker"] += 1
            raise FencedError


def covers(places: Sequence[int], needed: Sequence[int]) -> bool:
    """Say whether every place has been reached."""
    return all(place >= need for place, need in zip(places, needed, strict=True))


def ids(events: Iterable[Event]) -> set[int]:
    """Collect the ids of events."""
    return {event.event_id for event in events}


def linked(events: Sequence[Event], addresses: Iterable[str]) -> set[str]:
    """Close a set of addresses over the events that name several at once."""
    person, grown = set[str](), set(addresses)
    while person != grown:
        person = grown
        grown = person.union(*(event.addresses for event in events if person.intersection(event.addresses)))
    return person


def decide(events: Sequence[Event], address: str) -> bool:
    """Allow what was consented to for this address, unless its person refused as late or later."""
    person = linked(events, {address})
    gave = [event.occurred_at for event in events if event.kind == "consent" and address in event.addresses]
    refused = [
        event.occurred_at for event in events if event.kind == "refusal" and person.intersection(event.addresses)
    ]
    return max(gave, default=-1) > max(refused, default=-1)


def differences(world: World) -> list[str]:
    """Compare topic, view, entries and events with each other; empty once all is quiet and right."""
    found: list[str] = []
    recorded = [entry.event_id for entries in world.entries for entry in entries]
    if sorted(recorded) != sorted(ids(event for log in world.logs for event in log)):
        found.append("entries differ from events")
    if any(world.accounted[shard] != list(range(len(world.logs[shard]))) for shard in SHARDS):
        found.append("offset ranges do not follow one another")
    if world.view_head.applied != world.heads():
        found.append("the view has not caught up")
    events = world.upto(world.heads())
    if {address: row.allow for address, row in world.rows.items()} != {
        address: decide(events, address) for entry in events for address in entry.addresses
    }:
        found.append("view differs from the fold of the entries")
    for name, records in readers(world):
        last = {record.key: record.row for record in records}
        if last.pop(WATERMARK, Row()).version != world.now:
            found.append(f"no watermark of the present, {name}")
        if last != world.rows:
            found.append(f"topic differs from view, {name}")
    return found


def readers(world: World) -> list[tuple[str, list[Record]]]:
    """Say what readers of either isolation level see on the topic."""
    committed = [record for record in world.topic if record.transaction in world.committed]
    return [("read uncommitted", world.topic), ("read committed", committed)]


def broken_on_topic(world: World) -> list[str]:
    """Read the topic from the start: versions never fall, and what a watermark promises lies before it."""
    found: list[str] = []
    for name, records in readers(world):
        held: dict[str, int] = {}
        for record in records:
            if record.key == WATERMARK:
                promised = world.promised.get(record.row.version, {})
                if any(held.get(address, 0) < row.version for address, row in promised.items()):
                    found.append(f"a watermark came before its records, {name}")
            if record.row.version < held.get(record.key, 0):
                found.append(f"a version fell, {name}")
            held[record.key] = max(held.get(record.key, 0), record.row.version)
    return found
