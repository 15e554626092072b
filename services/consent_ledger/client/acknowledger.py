"""Reports how far a copy has applied the suppressions topic, so that a refusal which does not arrive is noticed."""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from aiokafka import AIOKafkaProducer

from consent_ledger.client.copy import Place
from consent_ledger.domain.acks import INSTANCE, NAME, Ack, write_ack
from consent_ledger.domain.durations import moment

log = logging.getLogger(__name__)

_EVERY_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 1.0


def instance_of(path: Path) -> str:
    """Name the copy in a directory of this machine, the same after a restart."""
    host = "".join(one if one.isascii() and one.isalnum() else "-" for one in socket.gethostname())
    return f"{host[:100]}-{crc32(os.fsencode(path.resolve())):08x}"


class Acknowledger:
    """Reports under the name of a registered consumer. Whatever goes wrong with it, following goes on.

    A partition is reported of when a watermark was applied on it, at once, but once a second at most.
    """

    def __init__(self, kafka: Mapping[str, Any], *, topic: str, consumer: str, instance: str) -> None:
        if NAME.fullmatch(consumer) is None or INSTANCE.fullmatch(instance) is None:
            raise ValueError("not a name for a consumer, or for a copy of one")
        self._kafka = dict(kafka)
        self._topic = topic
        self._consumer = consumer
        self._instance = instance
        self._places: Sequence[Place] = ()
        self._reported: dict[int, int] = {}
        self._applied = asyncio.Event()

    def applied(self, places: Sequence[Place]) -> None:
        """Take note of what was applied; to be called in the event loop in which this runs."""
        self._places = places
        self._applied.set()

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            try:
                await self._report()
            except Exception as error:  # noqa: BLE001 - nothing that happens here may stop the following
                log.warning("nothing can be reported", extra={"error": type(error).__name__})
            await asyncio.sleep(_RETRY_SECONDS)

    async def _report(self) -> None:
        # Who stands by for another process that shares the copy needs no connection.
        await self._applied.wait()
        producer = AIOKafkaProducer(**self._kafka, acks="all")
        try:
            await producer.start()
            while True:
                await self._applied.wait()
                self._applied.clear()
                await self._send(producer)
                await asyncio.sleep(_EVERY_SECONDS)
        finally:
            # It would wait long for brokers that are away.
            with suppress(Exception):
                async with asyncio.timeout(_STOP_SECONDS):
                    await producer.stop()

    async def _send(self, producer: AIOKafkaProducer) -> None:
        """Send a report of each partition whose watermark has moved since the last."""
        moved = {
            partition: place for partition, place in enumerate(self._places)
            if place.instant and self._reported.get(partition) != place.instant
        }  # fmt: skip
        instants = {partition: place.instant for partition, place in moved.items()}
        under_way = []
        for partition, place in moved.items():
            key, value = write_ack(self._ack(partition, place))
            under_way.append(await producer.send(self._topic, key=key, value=value))
        await asyncio.gather(*under_way)
        self._reported.update(instants)

    def _ack(self, partition: int, place: Place) -> Ack:
        return Ack(
            consumer=self._consumer, instance=self._instance, partition=partition, offset=place.next_offset,
            seq=place.seq, instant=moment(place.instant), applied_at=datetime.now(UTC),
        )  # fmt: skip
