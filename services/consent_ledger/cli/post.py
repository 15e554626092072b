"""Publishes like a careful publisher: nothing counts before Kafka has it, and what is in doubt is sent again."""

import asyncio
import json
from collections import Counter
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from consent_ledger.cli.story import Said
from consent_ledger.client.renewed import RenewedProducer
from consent_ledger.domain.bucket import key_of_address
from consent_ledger.runtime.publish import HEADERS
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import EVENTS

_AGAIN_SECONDS: Final = 0.25


class Post:
    """The way of the demo's events to Kafka; remembers everything that was acknowledged."""

    def __init__(self, settings: Settings) -> None:
        self._producer = RenewedProducer(settings.kafka())
        self._topic = f"{settings.topic_prefix}{EVENTS}"
        self.acknowledged: list[Said] = []

    async def send(self, said: Said) -> None:
        """Return when every in-sync replica has the event, however long Kafka is away."""
        while True:
            producer = None
            try:
                producer = await self._producer.started()
                key = key_of_address(said.asked.type, said.asked.value)
                await producer.send_and_wait(self._topic, said.value, key, headers=list(HEADERS))
            except (KafkaError, OSError):
                await self._producer.discard(producer)
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                self.acknowledged.append(said)
                return

    async def close(self) -> None:
        """Stop publishing."""
        await self._producer.close()


async def read_back(settings: Settings) -> tuple[Counter[str], int]:
    """Read the whole events topic with a plain consumer; return how often each id is there, and how many records."""
    topic = f"{settings.topic_prefix}{EVENTS}"
    partitions = [TopicPartition(topic, number) for number in range(settings.partitions)]
    consumer = AIOKafkaConsumer(**settings.kafka(), auto_offset_reset="earliest", enable_auto_commit=False)
    consumer.assign(partitions)
    await consumer.start()
    try:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        ids: Counter[str] = Counter()
        while [at for at in partitions if await consumer.position(at) < ends[at]]:
            batches: dict[TopicPartition, list[Any]] = await consumer.getmany(timeout_ms=1_000)
            ids.update(json.loads(record.value)["id"] for batch in batches.values() for record in batch)
    finally:
        await consumer.stop()
    return ids, ids.total()
