"""A suppressions topic of its own for each test of the follower."""

from collections.abc import AsyncIterator, Sequence

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

PARTITIONS = 2


class Topic:
    """A suppressions topic on a real broker, and a producer to stand for the relay."""

    def __init__(self, bootstrap: str, name: str, producer: AIOKafkaProducer) -> None:
        self.kafka = {"bootstrap_servers": bootstrap}
        self.name = name
        self._producer = producer

    async def create(self) -> None:
        admin = AIOKafkaAdminClient(**self.kafka)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(self.name, PARTITIONS, 1, topic_configs={"cleanup.policy": "compact"})])
        finally:
            await admin.close()

    async def delete(self) -> None:
        admin = AIOKafkaAdminClient(**self.kafka)
        await admin.start()
        try:
            await admin.delete_topics([self.name])
        finally:
            await admin.close()

    async def publish(self, *records: tuple[bytes, bytes | None], q: int = 0) -> None:
        await self.publish_at(*((q, key, value) for key, value in records))

    async def publish_at(self, *records: tuple[int, bytes, bytes | None]) -> None:
        for q, key, value in records:
            await self._producer.send(self.name, value, key, partition=q)
        await self._producer.flush()

    async def publish_everywhere(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        for q in range(PARTITIONS):
            await self.publish(*records, q=q)


@pytest.fixture
async def topic(kafka: str, topic_prefix: str) -> AsyncIterator[Topic]:
    """A topic of two partitions."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    try:
        made = Topic(kafka, f"{topic_prefix}suppressions", producer)
        await made.create()
        yield made
    finally:
        await producer.stop()
