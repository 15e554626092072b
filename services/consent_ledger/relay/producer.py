"""The only producer of a lane: since its start, the broker refuses whatever its predecessors still send."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer import sender
from aiokafka.producer.message_accumulator import BatchBuilder

_TRANSACTION_TIMEOUT_MS: Final = 10_000
_REQUEST_TIMEOUT_MS: Final = 4_000
_RETRY_BACKOFF_MS: Final = 50
_BATCH_BYTES: Final = 512 * 1024
# Less than the transaction's, so that what hangs here is dropped before the broker drops it.
_ANSWER_SECONDS: Final = 8.0
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 2.0

# For some milliseconds after a commit, the broker refuses the first record of the next transaction. By itself aiokafka
# asks again only after 20 ms, and what changed meanwhile waits.
sender.BACKOFF_OVERRIDE = 0.003

Message = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes | None]]]


class FencedProducer:
    """Sends inside a transaction that is always open and serves only as the fence.

    Two transactional ids take turns: while the transaction of one is committed, the next is open already under the
    other. A producer that has failed once is of no use any more: drop it and start another.
    """

    def __init__(self, kafka: dict[str, Any], *, transactional_ids: tuple[str, str], topic: str) -> None:
        self._topic = topic
        self._sent = False
        self._producer, self._next = (
            AIOKafkaProducer(
                **kafka,
                transactional_id=transactional_id,
                transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
                request_timeout_ms=_REQUEST_TIMEOUT_MS,
                retry_backoff_ms=_RETRY_BACKOFF_MS,
                max_batch_size=_BATCH_BYTES,
                compression_type="zstd",
            )
            for transactional_id in transactional_ids
        )

    async def start(self) -> None:
        """Shut out every other producer of these transactional ids (InitProducerId) and open a transaction."""
        async with asyncio.timeout(_START_SECONDS):
            for producer in (self._producer, self._next):
                await producer.start()
                await producer.begin_transaction()

    async def send(self, messages: Mapping[int, Iterable[tuple[bytes, bytes]]]) -> None:
        """Send keys and values, by partition, and wait until Kafka has them all.

        Raises `KafkaError`, above all `ProducerFenced`, or `TimeoutError`; then any number of them may have arrived.
        """
        async with asyncio.timeout(_ANSWER_SECONDS):
            bare = {q: ((key, value, ()) for key, value in found) for q, found in messages.items()}
            await put(self._producer, self._topic, bare)
        self._sent = True

    async def commit(self) -> bool:
        """End the open transaction, with all that was sent before; return whether there was anything in it.

        What is sent meanwhile belongs to the next one. Nobody may commit twice at a time.
        """
        if not self._sent:
            return False
        producer, self._producer, self._next = self._producer, self._next, self._producer
        self._sent = False
        async with asyncio.timeout(_ANSWER_SECONDS):
            await producer.commit_transaction()
            await producer.begin_transaction()
        return True

    async def drop(self) -> None:
        """Stop without waiting for what was not acknowledged; what an open transaction holds is aborted later."""
        await asyncio.gather(drop(self._producer), drop(self._next))


async def shut_out(kafka: dict[str, Any], transactional_id: str) -> None:
    """Let the broker refuse whatever producers of a transactional id still send, without sending anything."""
    async with asyncio.timeout(_START_SECONDS), AIOKafkaProducer(**kafka, transactional_id=transactional_id):
        pass


async def put(producer: AIOKafkaProducer, topic: str, messages: Mapping[int, Iterable[Message]]) -> None:
    """Send messages, by partition, in as few batches as they fit in and wait until Kafka has them all."""
    under_way: list[asyncio.Future[Any]] = []

    async def submit(batch: BatchBuilder, partition: int) -> None:
        future = await producer.send_batch(batch, topic, partition=partition)
        future.add_done_callback(_retrieve)
        under_way.append(future)

    for partition, found in messages.items():
        batch = producer.create_batch()
        for key, value, headers in found:
            while batch.append(key=key, value=value, timestamp=None, headers=list(headers)) is None:
                await submit(batch, partition)
                batch = producer.create_batch()
        if batch.record_count():
            await submit(batch, partition)
    if under_way:
        await asyncio.wait(under_way)
    # Commit and flush ignore batches that failed; only these futures tell.
    for future in under_way:
        future.result()


def _retrieve(future: asyncio.Future[Any]) -> None:
    # Nobody waits any more for what is failed when a producer is dropped.
    if not future.cancelled():
        future.exception()


async def drop(producer: AIOKafkaProducer) -> None:
    """Stop a producer at once, also one that waits for brokers which do not answer."""
    # stop() waits for all that was not acknowledged, and an idempotent producer never gives up: it would wait as long
    # as Kafka is away.
    producer._closed = True  # noqa: SLF001
    with suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(_STOP_SECONDS):
            await producer._sender.close()  # noqa: SLF001
    await producer.client.close()
