"""Events into Kafka by commands: idempotent, and counted only when every in-sync replica has them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer

from consent_ledger.domain.cloudevents import STRUCTURED

HEADERS: Final = (("content-type", STRUCTURED.encode()),)
_UNDER_WAY_MAX: Final = 5_000
_LINGER_MS: Final = 5


class Placed(NamedTuple):
    """Where Kafka holds a record."""

    partition: int
    offset: int


class Publisher:
    """Sends events to one topic."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._under_way: deque[asyncio.Future[Any]] = deque()
        self.acknowledged = 0

    async def send(self, key: bytes | None, value: bytes, partition: int | None = None) -> None:
        """Hand over one structured event; waits only when very many are under way."""
        sent = await self._producer.send(self._topic, value, key, partition=partition, headers=list(HEADERS))
        self._under_way.append(sent)
        while len(self._under_way) > _UNDER_WAY_MAX:
            await self._confirm()

    async def send_all(self, records: Sequence[tuple[bytes, bytes]]) -> list[Placed]:
        """Send structured events with their keys, and return where Kafka has put each."""
        sent = [await self._producer.send(self._topic, value, key, headers=list(HEADERS)) for key, value in records]
        placed = [Placed(one.partition, one.offset) for one in await asyncio.gather(*sent)]
        self.acknowledged += len(placed)
        return placed

    async def flush(self) -> None:
        """Return when Kafka has everything. Raises aiokafka's `KafkaError` when it does not take something."""
        while self._under_way:
            await self._confirm()

    async def _confirm(self) -> None:
        await self._under_way.popleft()
        self.acknowledged += 1


@asynccontextmanager
async def publishing(kafka: Mapping[str, Any], topic: str) -> AsyncIterator[Publisher]:
    """Open a way into a topic; nothing is under way any more when the block ends without an exception."""
    producer = AIOKafkaProducer(**kafka, enable_idempotence=True, acks="all", linger_ms=_LINGER_MS)
    try:
        await producer.start()
        publisher = Publisher(producer, topic)
        yield publisher
        await publisher.flush()
    finally:
        await producer.stop()
