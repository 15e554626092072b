"""Takes what consumers of the suppressions topic report, and says who is behind.

The relays are one group: one of them reads, and the place moves only behind what is in the database, so a report is
taken at least once. Taking one again changes nothing.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError
from prometheus_client import Counter, Gauge

from consent_ledger.domain.acks import Ack, UnreadableAckError, read_ack, read_key
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.topics import ACKS
from consent_ledger.store import acks, relay

log = logging.getLogger(__name__)

TAKEN = Counter("consent_acks_total", "Reports of consumers by what became of them", ["outcome"])
BEHIND = Gauge("consent_consumer_behind_seconds", "How far the copy of a consumer is behind at most", ["consumer"])
COUNTED = Gauge("consent_consumers_counted_timestamp_seconds", "When it was last asked which consumers are behind")

_POLL_MS: Final = 500
_BATCH_MAX: Final = 500
_COUNT_SECONDS: Final = 5.0
_FORGET_SECONDS: Final = 3600.0
_RETRY_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 2.0


class _Retired(NamedTuple):
    """A copy that is no more, with a partition that it reported of."""

    consumer: str
    instance: str
    partition: int


class Acks:
    """Reads the acks topic into the database, and tells the metrics."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: set[str] = set()
        self._count_at = 0.0
        self._forget_at = 0.0

    async def run(self) -> None:
        """Read until cancelled; what the servers do to it is waited out."""
        while True:
            connection: Connection | None = None
            consumer = AIOKafkaConsumer(
                f"{self._settings.topic_prefix}{ACKS}", **self._settings.kafka(),
                group_id=f"{self._settings.topic_prefix}{ACKS}", enable_auto_commit=False, auto_offset_reset="earliest",
            )  # fmt: skip
            try:
                connection = await relay.connect(self._settings.dsn)
                await consumer.start()
                while True:
                    await self._step(connection, consumer)
            except Exception as error:
                outside = isinstance(error, (KafkaError, OSError, TimeoutError))
                log.warning(
                    "what consumers report cannot be taken", extra={"error": type(error).__name__}, exc_info=not outside
                )
                await asyncio.sleep(_RETRY_SECONDS)
            finally:
                if connection is not None:
                    connection.terminate()
                await _stop(consumer)

    async def _step(self, connection: Connection, consumer: AIOKafkaConsumer) -> None:
        found = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH_MAX)
        if found:
            await take(connection, [record for some in found.values() for record in some])
            await consumer.commit()
        now = asyncio.get_running_loop().time()
        if now >= self._count_at:
            self._tell(await acks.behind(connection))
            self._count_at = now + _COUNT_SECONDS
        if now >= self._forget_at:
            await acks.forget(connection)
            self._forget_at = now + _FORGET_SECONDS

    def _tell(self, behind: dict[str, float]) -> None:
        for gone in self._known - behind.keys():
            BEHIND.remove(gone)
        for name, seconds in behind.items():
            BEHIND.labels(name).set(seconds)
        self._known = set(behind)
        COUNTED.set_to_current_time()


async def _stop(consumer: AIOKafkaConsumer) -> None:
    """Leave the group, if the brokers answer; without a word they notice by themselves."""
    with suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(_STOP_SECONDS):
            await consumer.stop()


async def take(connection: Connection, records: Iterable[ConsumerRecord]) -> None:
    """Take records of the acks topic in order; what is no report, or of a stranger, is counted and passed over."""
    for together in _rounds(records):
        if isinstance(together, _Retired):
            await acks.retire(connection, *together)
            TAKEN.labels("retired").inc()
            continue
        known = await acks.take(connection, together)
        TAKEN.labels("taken").inc(known)
        TAKEN.labels("unknown").inc(len(together) - known)


def _rounds(records: Iterable[ConsumerRecord]) -> Iterator[list[tuple[Ack, datetime]] | _Retired]:
    """Put together what one statement can take: one report at most of each key, for each says how late it was."""
    together: dict[bytes, tuple[Ack, datetime]] = {}
    for record in records:
        try:
            said = _Retired(*read_key(record.key)) if record.value is None else read_ack(record.key, record.value)
        except UnreadableAckError as error:
            TAKEN.labels("unreadable").inc()
            log.warning("a report is not readable", extra={"why": str(error), "offset": record.offset})
            continue
        if together and (isinstance(said, _Retired) or record.key in together):
            yield list(together.values())
            together = {}
        if isinstance(said, _Retired):
            yield said
        else:
            together[record.key] = said, datetime.fromtimestamp(record.timestamp / 1000, UTC)
    if together:
        yield list(together.values())
