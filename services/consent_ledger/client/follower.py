"""Keeps a copy up to date from the suppressions topic: from where it stands, or from the topic's beginning.

Read uncommitted: the transactions on this topic fence old writers, and waiting for their end would cost up to a second.
What an ended writer left behind is written again by its successor, under a version that is not lower.
"""

import asyncio
import fcntl
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from consent_ledger.client import records
from consent_ledger.client.copy import Copy, DamagedCopyError, Head, Place, Writing
from consent_ledger.client.local import DAMAGED
from consent_ledger.domain.leaf import micros

log = logging.getLogger(__name__)

_BATCH_MAX: Final = 5_000
_POLL_MS: Final = 200
_KNOW_AGAIN_MS: Final = 2_000
_SWEEP_CHUNK: Final = 50_000
_RETRY_SECONDS: Final = 0.25
_PAUSE_MAX_SECONDS: Final = 30.0


class TopicChangedError(Exception):
    """The topic is not the one that was copied; the copy begins anew."""


class TopicMissingError(OSError):
    """The topic does not exist (yet)."""


class Follower:
    """Writes the copy while it holds the lock of the directory; others that share the copy stand by.

    `kafka` holds the arguments of any aiokafka client. `applied` is called with the places after each change, `on_lock`
    with the descriptor of the lock once it is held.
    """

    def __init__(
        self,
        copy: Callable[[], Copy],
        path: Path,
        kafka: Mapping[str, Any],
        *,
        topic: str,
        on_lock: Callable[[int], None] = lambda _: None,
        applied: Callable[[Sequence[Place]], None] | None = None,
    ) -> None:
        self._copy = copy
        self._path = path
        self._kafka = kafka
        self._topic = topic
        self._on_lock = on_lock
        self._applied = applied

    async def run(self) -> None:
        """Follow until cancelled. Kafka's absence is waited out; the copy grows stale meanwhile, and says no."""
        lock = await self._lock()
        pause = _RETRY_SECONDS
        try:
            while True:
                began = asyncio.get_running_loop().time()
                try:
                    await self._follow()
                except (TopicChangedError, DamagedCopyError, records.UnreadableRecordError) as error:
                    log.warning("suppressions are copied anew", extra={"why": str(error)})
                    (self._path / DAMAGED).touch()
                except (KafkaError, OSError) as error:
                    log.warning("suppressions topic out of reach", extra={"error": type(error).__name__})
                calm = asyncio.get_running_loop().time() - began > _PAUSE_MAX_SECONDS
                pause = _RETRY_SECONDS if calm else min(2 * pause, _PAUSE_MAX_SECONDS)
                await asyncio.sleep(pause)
        finally:
            os.close(lock)

    async def _lock(self) -> int:
        """Become the one that writes; the lock goes with the process that holds it."""
        self._path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path / "writer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._on_lock(descriptor)
                return descriptor
            await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self) -> None:
        consumer = AIOKafkaConsumer(
            **self._kafka, enable_auto_commit=False, auto_offset_reset="none", isolation_level="read_uncommitted",
            max_partition_fetch_bytes=4 * 2**20,
        )  # fmt: skip
        await consumer.start()
        try:
            partitions = await self._assign(consumer)
            while True:
                found = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH_MAX)
                positions = {partition: await consumer.position(partition) for partition in partitions}
                self._apply(found, [positions[partition] for partition in partitions])
        finally:
            await consumer.stop()

    async def _assign(self, consumer: AIOKafkaConsumer) -> list[TopicPartition]:
        partitions = [TopicPartition(self._topic, number) for number in await partitions_of(self._kafka, self._topic)]
        consumer.assign(partitions)
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        damaged = (self._path / DAMAGED).exists()
        with self._copy().reading() as reading:
            head = Head() if damaged else reading.head()
        unbroken = head.topic == self._topic and len(head.places) == len(partitions)
        for one, place in zip(partitions, head.places, strict=False):
            known = begins[one] <= place.next_offset <= ends[one] and await _knows_again(consumer, one, place)
            unbroken = unbroken and known
        places = head.places
        if not unbroken:
            with self._copy().writing() as writing:
                if damaged:
                    writing.clear()
                writing.begin_anew(self._topic, [ends[partition] for partition in partitions])
                places = writing.now.places
                for partition, place in zip(partitions, places, strict=True):
                    place.next_offset = begins[partition]
        (self._path / DAMAGED).unlink(missing_ok=True)
        for partition, place in zip(partitions, places, strict=True):
            consumer.seek(partition, place.next_offset)
        return partitions

    def _apply(self, found: Mapping[TopicPartition, Sequence[ConsumerRecord]], positions: Sequence[int]) -> None:
        """Put what was read into the copy together with the places behind it."""
        if (self._path / DAMAGED).exists():
            raise TopicChangedError("the copy is damaged")
        with self._copy().writing() as writing:
            for partition, some in found.items():
                place = writing.now.places[partition.partition]
                for record in some:
                    put(writing, partition.partition, record)
                if some:
                    place.last_offset, place.last_timestamp = some[-1].offset, some[-1].timestamp
            for place, position in zip(writing.now.places, positions, strict=True):
                place.next_offset = position
            if not writing.now.complete and _has_arrived(writing.now.places):
                complete(writing)
            places = writing.now.places
        if self._applied is not None:
            self._applied(places)


async def partitions_of(kafka: Mapping[str, Any], topic: str) -> list[int]:
    """Return the partitions of a topic. Raises `TopicMissingError`."""
    admin = AIOKafkaAdminClient(**kafka)
    try:
        await admin.start()
        # Asked by name, a broker may make the topic; so ask for all.
        topics = await admin.describe_topics()
    finally:
        await admin.close()
    numbers = [one["partition"] for found in topics if found["topic"] == topic for one in found["partitions"]]
    if not numbers:
        raise TopicMissingError(topic)
    return sorted(numbers)


async def _knows_again(consumer: AIOKafkaConsumer, partition: TopicPartition, place: Place) -> bool:
    """Tell whether the last record read still stands there, or was compacted away; another one means another topic."""
    if place.last_offset < 0:
        return True
    consumer.seek(partition, place.last_offset)
    found = (await consumer.getmany(partition, timeout_ms=_KNOW_AGAIN_MS, max_records=1)).get(partition)
    return not found or found[0].offset != place.last_offset or found[0].timestamp == place.last_timestamp


def put(writing: Writing, q: int, record: ConsumerRecord) -> None:
    """Put one record of a partition into the copy. Raises `UnreadableRecordError`, `TopicChangedError`."""
    place = writing.now.places[q]
    key, value = record.key, record.value
    if key is None or value is None:
        # Nobody writes tombstones here; whatever wrote this one, it takes nothing away.
        return
    if key == records.WATERMARK:
        mark = records.read_watermark(value)
        if writing.now.complete and mark.seq < place.seq:
            raise TopicChangedError("a watermark fell: the ledger behind the topic is another, or was restored")
        place.instant, place.seq, place.epoch = micros(mark.instant), mark.seq, mark.epoch
    elif key.startswith(records.PURPOSES):
        writing.put_defaults(records.read_defaults(value), value)
    elif key.startswith(records.DNC):
        writing.put_snapshot(q, key[len(records.DNC) :].decode(), records.read_snapshot(value), value)
    elif not key.startswith(b"!"):
        writing.put_row(records.read_row(value))


def _has_arrived(places: Sequence[Place]) -> bool:
    """Tell whether every partition was read to where it ended at the start, and has stated an instant."""
    return all(place.next_offset >= place.target and place.instant for place in places)


def complete(writing: Writing) -> None:
    """Sweep away what the topic no longer holds; from here on the copy counts."""
    start: bytes | None = b""
    while start is not None:
        start = writing.sweep(_SWEEP_CHUNK, start)
    writing.now.complete = True
    writing.now.stamp += 1
