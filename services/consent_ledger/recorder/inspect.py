"""Looks at a partition before it is read on, whether it is still the one that the ledger knows."""

import hashlib
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from consent_ledger.recorder.unreadable import read_leniently
from consent_ledger.store.ledger import Claim


class TopicLostError(Exception):
    """The partition is not the one the ledger has read so far, or has lost events before they were read.

    Nothing may be appended until a person has looked: a recreated topic would be skipped up to the old place.
    """


class Inspector:
    """A consumer of its own for looking at offsets and single records; started when it is first needed."""

    def __init__(self, client: dict[str, Any]) -> None:
        self._client = client
        self._consumer: AIOKafkaConsumer | None = None

    async def first_offset(self, partition: TopicPartition) -> int:
        """Return the offset of the oldest record that Kafka still holds."""
        consumer = await self._start(partition)
        offsets: dict[TopicPartition, int] = await consumer.beginning_offsets([partition])
        return offsets[partition]

    async def end(self, partition: TopicPartition) -> int:
        """Return the offset behind the newest record that Kafka holds."""
        consumer = await self._start(partition)
        offsets: dict[TopicPartition, int] = await consumer.end_offsets([partition])
        return offsets[partition]

    async def verify(self, partition: TopicPartition, claim: Claim) -> None:
        """Raise `TopicLostError` unless the partition goes on where the ledger stopped."""
        consumer = await self._start(partition)
        first = await self.first_offset(partition)
        end = await self.end(partition)
        place = f"{partition.topic}/{partition.partition}"
        if end < claim.next_offset:
            raise TopicLostError(f"{place} ends at {end}, the ledger has read up to {claim.next_offset}: recreated?")
        if first > claim.next_offset:
            raise TopicLostError(
                f"{place} begins at {first}, the ledger needs {claim.next_offset}: retention too short"
            )
        if claim.last is None or claim.last.offset < first:
            return
        consumer.assign([partition])
        records, _ = await read_leniently(consumer, partition, claim.last.offset)
        last = next((record for record in records if record.offset == claim.last.offset), None)
        if last is None or (last.timestamp, record_digest(last)) != (claim.last.timestamp, claim.last.digest):
            raise TopicLostError(f"{place} holds another record at {claim.last.offset} than was read there: recreated?")

    async def stop(self) -> None:
        """Close the consumer."""
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None

    async def _start(self, partition: TopicPartition) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                **self._client, enable_auto_commit=False, isolation_level="read_committed", auto_offset_reset="none"
            )
            consumer.assign([partition])
            try:
                await consumer.start()
            except BaseException:
                # Also when this recorder is told to stop meanwhile.
                await consumer.stop()
                raise
            self._consumer = consumer
        return self._consumer


def record_digest(record: Any) -> bytes:
    """Digest of a record as Kafka holds it, to recognise it again."""
    digest = hashlib.sha256()
    parts: Sequence[bytes | str | None] = [
        record.key,
        record.value,
        *(part for header in record.headers for part in header),
    ]
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(b"\xff" if data is None else len(data).to_bytes(4, "big") + data)
    return digest.digest()
