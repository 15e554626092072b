"""View in, suppressions topic out: one process at a time sends to each partition."""

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from typing import Final
from uuid import uuid4

from aiokafka.errors import KafkaError
from prometheus_client import Counter, Gauge

from consent_ledger.relay.acks import Acks
from consent_ledger.relay.partition import Partition, take_over
from consent_ledger.relay.records import Records
from consent_ledger.relay.rejected import Rejected
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

_FIRST: Final = 0
_END_SECONDS: Final = 4.0
_RETRY_SECONDS: Final = 1.0
# How long to wait for the view to change: it says nothing of requests to send again, nor of partitions just taken over.
_PATIENCE: Final = timedelta(milliseconds=50)
_SHORT_PATIENCE: Final = timedelta(milliseconds=2)
_FROM_OUTSIDE: Final = (KafkaError, OSError, TimeoutError, relay.FencedError)


class WrongTopicsError(Exception):
    """The topics' settings would put records where nobody looks for them; `consent topics apply` mends them."""


class Relay:
    """Owns every partition whose lease is free, and stands by for the others."""

    def __init__(self, settings: Settings, keks: KeyEncryptionKeys, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._owner = f"{settings.instance}/{uuid4().hex[:12]}"
        self._records = Records(keks)
        self._rejected = Rejected(settings, keks)
        self._owned: dict[int, Partition] = {}
        self._ending = asyncio.Event()
        # Set when a partition begins to rest.
        self._rested = asyncio.Event()

    async def run(self) -> None:
        """Publish until cancelled; then commit what was sent. Raises `WrongTopicsError`."""
        await self._prepare()
        tending = [asyncio.create_task(self._tend(q)) for q in range(self._settings.partitions)]
        helping = [
            asyncio.create_task(self._watch()),
            asyncio.create_task(self._rejected.run(lambda: _FIRST in self._owned)),
            asyncio.create_task(Acks(self._settings).run()),
        ]
        try:
            # Unlike gather(), this does not cancel the tasks when it is cancelled; and none of them ends by itself.
            ended, _ = await asyncio.wait([*tending, *helping], return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            self._ending.set()
            for partition in self._owned.values():
                partition.end_rest()
            await asyncio.wait(tending, timeout=_END_SECONDS)
            for task in [*tending, *helping]:
                task.cancel()
            await asyncio.gather(*tending, *helping, return_exceptions=True)

    async def _prepare(self) -> None:
        settings = self._settings
        differences = await topics.check(settings.kafka(), prefix=settings.topic_prefix, partitions=settings.partitions)
        if vital := [str(difference) for difference in differences if difference.vital]:
            raise WrongTopicsError("; ".join(vital))
        log.info("relay started", extra={"owner": self._owner})

    async def _tend(self, q: int) -> None:
        """Own a partition whenever it can be had, until the end."""
        while not self._ending.is_set():
            connection: Connection | None = None
            try:
                connection = await relay.connect(self._settings.dsn)
                await relay.add_partitions(connection, self._settings.partitions)
                await self._stand_by(connection, q)
            except Exception as error:  # noqa: BLE001 - whatever it is, the partition is taken over again
                _report("publishing failed", error, partition=q)
            finally:
                if connection is not None:
                    connection.terminate()
            await self._pause(_RETRY_SECONDS)

    async def _stand_by(self, connection: Connection, q: int) -> None:
        while not self._ending.is_set():
            partition = await take_over(self._settings, connection, self._records, q=q, owner=self._owner)
            if partition is not None:
                log.info("partition claimed", extra={"partition": q, "epoch": partition.epoch})
                await self._own(partition)
            await self._pause(min(_RETRY_SECONDS, self._settings.lease_seconds / 20))

    async def _own(self, partition: Partition) -> None:
        self._owned[partition.q] = partition
        age = WATERMARK_AGE.labels(partition.q)
        age.set_function(lambda: self._age(partition))
        OWNED.inc()
        try:
            while not self._ending.is_set():
                if not await partition.step():
                    self._rested.set()
                    await partition.rest()
            await partition.settle()
        finally:
            del self._owned[partition.q]
            WATERMARK_AGE.remove(partition.q)
            OWNED.dec()
            await partition.end()

    def _age(self, partition: Partition) -> float:
        return (self._clock.now() - partition.instant).total_seconds() if partition.instant else float("inf")

    async def _watch(self) -> None:
        """Ask for all owned partitions at once what is new, and wake those that it concerns."""
        while True:
            try:
                connection = await relay.connect(self._settings.dsn)
                try:
                    while True:
                        await self._look(connection)
                finally:
                    connection.terminate()
            except Exception as error:  # noqa: BLE001 - reported below
                # Meanwhile each partition looks by itself once a second.
                _report("no news", error)
                await self._pause(_RETRY_SECONDS)

    async def _look(self, connection: Connection) -> None:
        """Look for all that rest, hand out what is found, and wait for more."""
        self._rested.clear()
        owned = dict(self._owned)
        rests = {q: rest for q, partition in owned.items() if (rest := partition.resting()) is not None}
        if not rests:
            await self._rested.wait()
            return
        found = await relay.snapshots(connection, [owned[q].place for q in rests])
        for q, rest in rests.items():
            owned[q].wake(rest, found.get(q))
        if found:
            seen = next(iter(found.values()))
            # Those who were busy are looked for again soon, whatever the view does.
            patience = _PATIENCE if len(rests) == len(owned) else _SHORT_PATIENCE
            await relay.wait(
                connection, seen.view_seq, seen.horizon.instant,
                pause=timedelta(milliseconds=self._settings.poll_ms), patience=patience,
            )  # fmt: skip

    async def _pause(self, seconds: float) -> None:
        """Wait before another attempt, until the end of this relay at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()


def _report(what: str, error: Exception, **place: int) -> None:
    """Count and log what went wrong, with the way there unless it is one of those that come from outside."""
    kind = type(error).__name__
    ERRORS.labels(kind).inc()
    log.warning(what, extra={"error": kind, **place}, exc_info=not isinstance(error, _FROM_OUTSIDE))
