"""The API's way to Kafka: an idempotent producer that is made anew when it fails."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from consent_ledger.api.problems import ProblemError, unavailable
from consent_ledger.client.renewed import RenewedProducer

log = logging.getLogger(__name__)

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
        self._producer = RenewedProducer(kafka)
        self.topic = topic

    async def publish(self, records: Sequence[Record]) -> list[KafkaPlace]:
        """Return the places of all records once Kafka has them.

        Raises `ProblemError` 413 for a record that the topic refuses for its size, and 503 when the outcome is not
        known: some of the records may have arrived, and publishing all of them again under their ids is harmless.
        """
        producer = None
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                producer = await self._producer.started()
                sent = [
                    await producer.send(self.topic, record.value, record.key, headers=list(record.headers))
                    for record in records
                ]
                done = await asyncio.gather(*sent)
        except MessageSizeTooLargeError:
            raise ProblemError(413, "too-large", "an event is larger than Kafka takes") from None
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("kafka does not take events", extra={"error": type(error).__name__})
            await self._producer.discard(producer)
            raise unavailable("Kafka") from None
        return [KafkaPlace(place.partition, place.offset) for place in done]

    async def reachable(self) -> bool:
        """Tell whether Kafka answers within a moment."""
        try:
            async with asyncio.timeout(_READY_SECONDS):
                producer = await self._producer.started()
                return bool(await asyncio.shield(producer.client.force_metadata_update()))
        except (KafkaError, OSError, TimeoutError):
            return False

    async def close(self) -> None:
        """Send what is under way and stop."""
        await self._producer.close()
