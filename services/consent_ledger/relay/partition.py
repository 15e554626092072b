"""Publishes one partition of the topics of suppressions and of changes, from take-over to loss.

Take-over is the epoch, then the broker's fence, and only then the place to go on from: what a predecessor still sends
is refused before anything is read. The place moves only behind a commit, so everything after it is sent again, always
the row as it is now: the versions of a key never fall on the partition, and the last is the view's.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from prometheus_client import Counter, Histogram

from consent_ledger.domain.suppression import WATERMARK_KEY, watermark_record
from consent_ledger.relay.producer import FencedProducer
from consent_ledger.relay.records import Records
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import relay
from consent_ledger.store.relay import Horizon, Snapshot

PUBLISHED = Counter("consent_published_total", "Records sent to the topics of suppressions and of changes", ["what"])
COMMITTED = Counter("consent_relay_transactions_total", "Transactions committed on the suppressions topic")
DELAY = Histogram(
    "consent_publish_delay_seconds",
    "Age of the instant that a watermark states when it is committed: what was recorded then took no longer",
    buckets=(0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 900),
)

SUPPRESSIONS: Final = "suppressions"
CHANGES: Final = "changes"

_SETTLE_SECONDS: Final = 1.0
_MARK_SECONDS: Final = 0.2
_HURRY_SECONDS: Final = 0.1


async def take_over(
    settings: Settings, connection: Connection, records: Records, *, q: int, owner: str
) -> "Partition | None":
    """Become the only publisher of a partition; None while another's lease lasts."""
    epoch = await relay.claim(connection, q, owner, timedelta(seconds=settings.lease_seconds))
    if epoch is None:
        return None
    producer = FencedProducer(
        settings.kafka(),
        transactional_id=f"{settings.topic_prefix}relay-{q}",
        topic=f"{settings.topic_prefix}{SUPPRESSIONS}",
        partition=q,
    )
    try:
        await producer.start()
        cursor = await relay.cursor(connection, q, epoch)
    except BaseException:
        await _give_up(connection, producer, q, epoch)
        raise
    return Partition(settings, connection, records, producer, q=q, epoch=epoch, cursor=cursor)


class Partition:
    """A partition that was taken over. Whatever raises ends it: `end` it then, and take it over again."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        records: Records,
        producer: FencedProducer,
        *,
        q: int,
        epoch: int,
        cursor: int,
    ) -> None:
        self.q = q
        self.epoch = epoch
        # The place in the outbox up to which Kafka has everything, committed or not.
        self.sent = cursor
        self.producer = producer
        self._connection = connection
        self._records = records
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._settle_seconds = min(_SETTLE_SECONDS, settings.lease_seconds / 4)
        self._changes = f"{settings.topic_prefix}{CHANGES}"
        self._told = 0
        self._settled = cursor
        self._settle_at = _now() + self._settle_seconds
        # The horizon to be stated next, kept until it is reached: under load the newest is always a little ahead.
        self._held: Horizon | None = None
        self._marked: Horizon | None = None
        self._mark_at = 0.0
        self._woken = asyncio.Event()

    @property
    def instant(self) -> datetime | None:
        """The instant of the last watermark."""
        return self._marked.instant if self._marked else None

    async def step(self) -> bool:
        """Publish what one snapshot shows; return whether more was left for the next."""
        self._woken.clear()
        found = await relay.snapshot(self._connection, self.q, self.epoch, self.sent)
        if found.rows:
            await self.producer.send(await self._records.make(self._connection, found.rows))
            PUBLISHED.labels("record").inc(len(found.rows))
        if found.last is not None:
            self.sent = found.last
        await self._mark(found)
        if found.resends or _now() >= self._settle_at:
            await self.settle(found.resends)
        return found.full

    async def _mark(self, found: Snapshot) -> None:
        """State the horizon once everything up to it has been sent."""
        may_mark = _now() >= min(self._mark_at, self._settle_at)
        if self._held is None and may_mark and found.horizon != self._marked:
            self._held = found.horizon
        if self._held is None or (found.full and self.sent < self._held.seq):
            return
        value = watermark_record(self._held.instant, self._held.seq, self.epoch)
        await self.producer.send([(WATERMARK_KEY, value)])
        PUBLISHED.labels("watermark").inc()
        self._marked, self._held, self._mark_at = self._held, None, _now() + _MARK_SECONDS

    async def settle(self, resent: Sequence[int] = ()) -> None:
        """Commit what was sent, then move the place behind it and lengthen the lease.

        What is told of persons goes into the same transaction; that nobody waits for it is why it comes last.
        """
        more = await self._tell()
        if await self.producer.commit():
            COMMITTED.inc()
        now = await relay.settle(
            self._connection, self.q, self.epoch, places=(self._settled, self.sent), resent=resent, lease=self._lease,
            instant=self.instant, told=self._told,
        )  # fmt: skip
        if self.instant is not None:
            DELAY.observe((now - self.instant).total_seconds())
        self._settled = self.sent
        self._settle_at = _now() + (_HURRY_SECONDS if more else self._settle_seconds)

    async def _tell(self) -> bool:
        """Send the next of what is told of persons; return whether there may be more."""
        found = await relay.told(self._connection, self.q, self.epoch, self._told)
        if not found:
            return False
        await self.producer.send(await self._records.tell(self._connection, found), topic=self._changes)
        PUBLISHED.labels("change").inc(len(found))
        self._told = found[-1].id
        return len(found) == relay.SNAPSHOT_ROWS

    async def rest(self) -> None:
        """Wait until there is something to do: woken for it, or because time has come to settle."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._settle_at - _now())):
                await self._woken.wait()

    def wake(self, horizon: datetime, *, waiting: bool) -> None:
        """End a rest if there are rows waiting or a horizon that may be stated now."""
        if waiting or (horizon != self.instant and _now() >= self._mark_at):
            self._woken.set()

    def end_rest(self) -> None:
        """Let the owner see at once that it is to end."""
        self._woken.set()

    async def end(self) -> None:
        """Drop the producer and give the partition up."""
        await _give_up(self._connection, self.producer, self.q, self.epoch)


async def _give_up(connection: Connection, producer: FencedProducer, q: int, epoch: int) -> None:
    await producer.drop()
    # Without the database the lease passes by itself, and what brought the end about matters more.
    with suppress(Exception):
        await relay.release(connection, q, epoch)


def _now() -> float:
    return asyncio.get_running_loop().time()
