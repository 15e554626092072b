"""View in, topics of suppressions and of changes out: one process at a time sends to all partitions."""

import asyncio
import logging
from contextlib import suppress
from typing import Final
from uuid import uuid4

from aiokafka.errors import KafkaError
from prometheus_client import Counter, Gauge

from consent_ledger.relay.acks import Acks
from consent_ledger.relay.lane import Lane, take_over
from consent_ledger.relay.records import Records
from consent_ledger.relay.rejected import Rejected
from consent_ledger.relay.teller import Teller
from consent_ledger.runtime import topics
from consent_ledger.runtime.clock import Clock
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import relay

log = logging.getLogger(__name__)

ERRORS = Counter(
    "consent_relay_errors_total", "Take-overs and publications that failed and were begun again", ["error"]
)
OWNED = Gauge("consent_partitions_owned", "Partitions of the suppressions topic that this relay owns")
WATERMARK_AGE = Gauge(
    "consent_watermark_age_seconds", "Age of the instant that a partition's last watermark states", ["partition"]
)

_END_SECONDS: Final = 4.0
_RETRY_SECONDS: Final = 1.0
_FROM_OUTSIDE: Final = (KafkaError, OSError, TimeoutError, relay.FencedError)


class WrongTopicsError(Exception):
    """The topics' settings would put records where nobody looks for them; `consent topics apply` mends them."""


class Relay:
    """Owns the topic's partitions while its lease lasts and its epoch stands; otherwise it stands by."""

    def __init__(self, settings: Settings, keks: KeyEncryptionKeys, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._owner = f"{settings.instance}/{uuid4().hex[:12]}"
        self._records = Records(keks)
        self._rejected = Rejected(settings, keks)
        self._lane: Lane | None = None
        self._ending = asyncio.Event()

    async def run(self) -> None:
        """Publish until cancelled; then commit what was sent. Raises `WrongTopicsError`."""
        await self._prepare()
        tending = asyncio.create_task(self._tend())
        helping = [
            asyncio.create_task(self._rejected.run(lambda: self._lane is not None)),
            asyncio.create_task(Acks(self._settings).run()),
        ]
        try:
            # Unlike gather(), this does not cancel the tasks when it is cancelled; and none of them ends by itself.
            ended, _ = await asyncio.wait([tending, *helping], return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            self._ending.set()
            await asyncio.wait([tending], timeout=_END_SECONDS)
            for task in [tending, *helping]:
                task.cancel()
            await asyncio.gather(tending, *helping, return_exceptions=True)

    async def _prepare(self) -> None:
        settings = self._settings
        differences = await topics.check(settings.kafka(), prefix=settings.topic_prefix, partitions=settings.partitions)
        if vital := [str(difference) for difference in differences if difference.vital]:
            raise WrongTopicsError("; ".join(vital))
        log.info("relay started", extra={"owner": self._owner})

    async def _tend(self) -> None:
        """Own the partitions whenever they can be had, until the end."""
        while not self._ending.is_set():
            connection: Connection | None = None
            try:
                connection = await relay.connect(self._settings.dsn)
                await relay.add_partitions(connection, self._settings.partitions)
                await self._stand_by(connection)
            except Exception as error:  # noqa: BLE001 - whatever it is, the partitions are taken over again
                _report("publishing failed", error)
            finally:
                if connection is not None:
                    connection.terminate()
            await self._pause(_RETRY_SECONDS)

    async def _stand_by(self, connection: Connection) -> None:
        qs = list(range(self._settings.partitions))
        while not self._ending.is_set():
            lane = await take_over(self._settings, connection, self._records, qs=qs, owner=self._owner)
            if lane is not None:
                log.info("partitions claimed", extra={"partitions": len(qs), "epoch": lane.epoch})
                await self._own(lane)
            await self._pause(min(_RETRY_SECONDS, self._settings.lease_seconds / 20))

    async def _own(self, lane: Lane) -> None:
        self._lane = lane
        OWNED.set(len(lane.qs))
        for q in lane.qs:
            WATERMARK_AGE.labels(q).set_function(lambda: self._age(lane))
        telling = asyncio.create_task(self._tell(lane))
        try:
            while not self._ending.is_set():
                if not await lane.step():
                    await lane.rest()
                if telling.done():
                    telling.result()
            await lane.settle()
        finally:
            telling.cancel()
            await asyncio.wait([telling])
            self._lane = None
            for q in lane.qs:
                WATERMARK_AGE.remove(q)
            OWNED.set(0)
            await lane.end()

    async def _tell(self, lane: Lane) -> None:
        connection = await relay.connect(self._settings.dsn)
        try:
            teller = Teller(
                self._settings, connection, self._records, q=lane.qs[0], epoch=lane.epoch, is_busy=lambda: lane.is_busy
            )
            await teller.run()
        finally:
            connection.terminate()

    def _age(self, lane: Lane) -> float:
        return (self._clock.now() - lane.instant).total_seconds() if lane.instant else float("inf")

    async def _pause(self, seconds: float) -> None:
        """Wait before another attempt, until the end of this relay at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()


def _report(what: str, error: Exception) -> None:
    """Count and log what went wrong, with the way there unless it is one of those that come from outside."""
    kind = type(error).__name__
    ERRORS.labels(kind).inc()
    log.warning(what, extra={"error": kind}, exc_info=not isinstance(error, _FROM_OUTSIDE))
