"""A producer that outlives its own failures."""

import asyncio
import logging
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

log = logging.getLogger(__name__)

_REQUEST_TIMEOUT_MS: Final = 5_000
_STOP_SECONDS: Final = 2.0


class RenewedProducer:
    """An idempotent producer, started when it is first asked for, and anew after it was discarded.

    Nothing that it sends is acknowledged before all in-sync replicas have it.
    """

    def __init__(self, kafka: dict[str, Any], *, linger_ms: int = 0) -> None:
        self._settings = {
            **kafka, "enable_idempotence": True, "acks": "all", "linger_ms": linger_ms,
            "request_timeout_ms": _REQUEST_TIMEOUT_MS,
        }  # fmt: skip
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def started(self) -> AIOKafkaProducer:
        """Return the producer. Raises aiokafka's `KafkaError` or `OSError` when Kafka is not to be reached."""
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(**self._settings)
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def discard(self, producer: AIOKafkaProducer | None) -> None:
        """Stop a producer that failed: one that has lost its sequence stays broken. The next one asked for is new."""
        if producer is None or producer != self._producer:
            return
        self._producer = None
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await producer.stop()
        except (KafkaError, OSError, TimeoutError):
            log.warning("a producer did not stop in order")

    async def close(self) -> None:
        """Send what is under way and stop."""
        await self.discard(self._producer)
