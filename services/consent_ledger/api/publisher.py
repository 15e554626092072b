"""The API's way to Kafka: an idempotent producer that is made anew when it fails."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from consent_ledger.api.problems import ProblemError, unavailable

log = logging.getLogger(__name__)

_REQUEST_TIMEOUT_MS: Final = 5_000
_SEND_SECONDS: Final = 10.0
_READY_SECONDS: Final = 2.0


class Record(NamedTuple):
    """One event on its way to Kafka."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


class KafkaPlace(NamedTuple):
    """Where Kafka put a record."""

    partition: int
    offset: int


class Publisher:
    """Sends events to one topic. Nothing is acknowledged that not all in-sync replicas have."""

    def __init__(self, kafka: dict[str, Any], topic: str) -> None:
        self._kafka = kafka
        self.topic = topic
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def publish(self, records: Sequence[Record]) -> list[KafkaPlace]:
        """Return the places of all records once Kafka has them.

        Raises `ProblemError` 413 for a record that the topic refuses for its size, and 503 when the outcome is not
        known: some of the records may have arrived, and publishing all of them again under their ids is harmless.
        """
        producer = None
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                producer = await self._started()
                sent = [
                    await producer.send(self.topic, record.value, record.key, headers=list(record.headers))
                    for record in records
                ]
                done = await asyncio.gather(*sent)
        except MessageSizeTooLargeError:
            raise ProblemError(413, "too-large", "an event is larger than Kafka takes") from None
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("kafka does not take events", extra={"error": type(error).__name__})
            # A producer that has lost its sequence stays broken; the next request gets a new one.
            await self._discard(producer)
            raise unavailable("Kafka") from None
        return [KafkaPlace(place.partition, place.offset) for place in done]

    async def reachable(self) -> bool:
        """Tell whether Kafka answers within a moment."""
        try:
            async with asyncio.timeout(_READY_SECONDS):
                producer = await self._started()
                return bool(await asyncio.shield(producer.client.force_metadata_update()))
        except (KafkaError, OSError, TimeoutError):
            return False

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._kafka, enable_idempotence=True, acks="all", request_timeout_ms=_REQUEST_TIMEOUT_MS
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def _discard(self, producer: AIOKafkaProducer | None) -> None:
        if producer is not None and producer is self._producer:
            self._producer = None
            await _stop(producer)

    async def close(self) -> None:
        """Send what is under way and stop."""
        await self._discard(self._producer)


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(_READY_SECONDS):
            await producer.stop()
    except (KafkaError, OSError, TimeoutError):
        log.warning("a producer did not stop in order")
