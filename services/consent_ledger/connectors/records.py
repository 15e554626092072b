"""The records of a topic as a connector reads them: from its own place, in order, and with that place to keep."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import Counter

from consent_ledger.client.copy import Place
from consent_ledger.client.follower import partitions_of
from consent_ledger.client.records import WATERMARK, read_watermark
from consent_ledger.connectors.runner import Batch
from consent_ledger.connectors.state import Item
from consent_ledger.domain.leaf import micros

log = logging.getLogger(__name__)

MISSED = Counter(
    "consent_connector_missed_total", "Records that were deleted before a connector had read them", ["topic"]
)

_POLL_MS: Final = 500
_BATCH_MAX: Final = 500
_PAUSE_MIN_SECONDS: Final = 0.25
_PAUSE_MAX_SECONDS: Final = 30.0

Read = Callable[[ConsumerRecord], Item | None]
"""Makes an item of a record; None: it is nothing for this tool. Raises nothing: what is unreadable is an item too."""


class Records:
    """Reads one topic. `kafka` holds the arguments of any aiokafka client.

    `committed`: records of a transaction that has not ended wait for its end, as they must on the topic of changes.
    On the topic of suppressions the batches say how far the records go, so that they can be acknowledged.
    """

    def __init__(self, kafka: Mapping[str, Any], topic: str, read: Read, *, committed: bool = True) -> None:
        self._kafka = dict(kafka)
        self._topic = topic
        self._read = read
        self._isolation = "read_committed" if committed else "read_uncommitted"

    async def batches(self, place: bytes | None) -> AsyncGenerator[Batch, None]:
        """Give what stands behind a place, without end; Kafka's absence is waited out."""
        offsets: dict[int, int] = {} if place is None else _decode(place)
        pause = _PAUSE_MIN_SECONDS
        while True:
            try:
                async for batch in self._follow(offsets):
                    pause = _PAUSE_MIN_SECONDS
                    yield batch
            except (KafkaError, OSError) as error:
                log.warning("the topic is out of reach", extra={"topic": self._topic, "error": type(error).__name__})
            yield Batch()
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads readers, protects nothing
            pause = min(2 * pause, _PAUSE_MAX_SECONDS)

    async def _follow(self, offsets: dict[int, int]) -> AsyncIterator[Batch]:
        consumer = AIOKafkaConsumer(
            **self._kafka, enable_auto_commit=False, auto_offset_reset="none", isolation_level=self._isolation
        )
        await consumer.start()
        try:
            partitions = await self._assign(consumer, offsets)
            places = [Place() for _ in partitions]
            while True:
                found = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH_MAX)
                items = []
                for partition in partitions:
                    for record in found.get(partition, ()):
                        items += self._take(record, places[partition.partition])
                    offsets[partition.partition] = await consumer.position(partition)
                    places[partition.partition].next_offset = offsets[partition.partition]
                last = not found and await _is_at_end(consumer, partitions)
                yield Batch(items, _encode(offsets), [msgspec.structs.replace(one) for one in places], last)
        finally:
            await consumer.stop()

    def _take(self, record: ConsumerRecord, place: Place) -> list[Item]:
        if record.key == WATERMARK and record.value is not None:
            mark = read_watermark(record.value)
            place.instant, place.seq, place.epoch = micros(mark.instant), mark.seq, mark.epoch
            return []
        item = self._read(record)
        return [] if item is None else [item]

    async def _assign(self, consumer: AIOKafkaConsumer, offsets: dict[int, int]) -> list[TopicPartition]:
        partitions = [TopicPartition(self._topic, number) for number in await partitions_of(self._kafka, self._topic)]
        consumer.assign(partitions)
        begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        for one in partitions:
            known = offsets.get(one.partition, begins[one])
            if not begins[one] <= known <= ends[one]:
                missed = max(0, begins[one] - known)
                log.error(
                    "records are missing", extra={"topic": self._topic, "partition": one.partition, "count": missed}
                )
                MISSED.labels(self._topic).inc(missed)
                known = begins[one]
            consumer.seek(one, known)
        return partitions


async def _is_at_end(consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> bool:
    ends = await consumer.end_offsets(partitions)
    return all([await consumer.position(one) >= ends[one] for one in partitions])


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(dict[int, int]).decode
