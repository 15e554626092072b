"""The only producer of one partition: since its start, the broker refuses whatever its predecessors still send."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

_TRANSACTION_TIMEOUT_MS: Final = 10_000
_REQUEST_TIMEOUT_MS: Final = 4_000
_RETRY_BACKOFF_MS: Final = 50
_BATCH_BYTES: Final = 512 * 1024
# Less than the transaction's, so that what hangs here is dropped before the broker drops it.
_ANSWER_SECONDS: Final = 8.0
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 2.0

Message = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes | None]]]


class FencedProducer:
    """Sends to one partition inside a transaction that is always open and serves only as the fence.

    A producer that has failed once is of no use any more: drop it and start another.
    """

    def __init__(self, kafka: dict[str, Any], *, transactional_id: str, topic: str, partition: int) -> None:
        self._topic = topic
        self._partition = partition
        self._sent = False
        self._producer = AIOKafkaProducer(
            **kafka,
            transactional_id=transactional_id,
            transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
            retry_backoff_ms=_RETRY_BACKOFF_MS,
            max_batch_size=_BATCH_BYTES,
            compression_type="zstd",
        )

    async def start(self) -> None:
        """Shut out every other producer of this transactional id (InitProducerId) and open the transaction."""
        async with asyncio.timeout(_START_SECONDS):
            await self._producer.start()
            await self._producer.begin_transaction()

    async def send(self, messages: Iterable[tuple[bytes, bytes]]) -> None:
        """Send keys and values and wait until Kafka has them all.

        Raises `KafkaError`, above all `ProducerFenced`, or `TimeoutError`; then any number of them may have arrived.
        """
        async with asyncio.timeout(_ANSWER_SECONDS):
            await put(self._producer, self._topic, self._partition, ((key, value, ()) for key, value in messages))
        self._sent = True

    async def commit(self) -> bool:
        """End the open transaction and open the next; return whether there was anything in it."""
        if not self._sent:
            return False
        async with asyncio.timeout(_ANSWER_SECONDS):
            await self._producer.commit_transaction()
            await self._producer.begin_transaction()
        self._sent = False
        return True

    async def drop(self) -> None:
        """Stop without waiting for what was not acknowledged; what an open transaction holds is aborted later."""
        await drop(self._producer)


async def put(producer: AIOKafkaProducer, topic: str, partition: int, messages: Iterable[Message]) -> None:
    """Send messages in as few batches as they fit in and wait until Kafka has them all."""
    under_way: list[asyncio.Future[Any]] = []
    batch = producer.create_batch()
    for key, value, headers in messages:
        while batch.append(key=key, value=value, timestamp=None, headers=list(headers)) is None:
            under_way.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
    if batch.record_count():
        under_way.append(await producer.send_batch(batch, topic, partition=partition))
    # Commit and flush ignore batches that failed; only these futures tell.
    await asyncio.gather(*under_way)


async def drop(producer: AIOKafkaProducer) -> None:
    """Stop a producer at once, also one that waits for brokers which do not answer."""
    # An idempotent producer never gives up a batch, and stop() would wait for it as long as Kafka is away.
    producer._message_accumulator.fail_all(KafkaError("dropped"))  # noqa: SLF001
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await producer.stop()
    except (KafkaError, OSError, TimeoutError):
        await producer.client.close()
