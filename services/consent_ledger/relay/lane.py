"""Publishes partitions of the suppressions topic together, from take-over to loss.

Take-over is the epoch, then the broker's fence, and only then the places to go on from: what a predecessor still sends
is refused before anything is read. The places move only behind a commit, so everything after them is sent again, always
the rows as they are now: the versions of a key never fall on its partition, and the last is the view's.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from prometheus_client import Counter, Histogram

from consent_ledger.domain.suppression import WATERMARK_KEY, watermark_record
from consent_ledger.relay.producer import FencedProducer, shut_out
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

_SETTLE_SECONDS: Final = 1.0
_MARK_SECONDS: Final = 0.2
# How long to wait for the view to change: it says nothing of requests to send again.
_PATIENCE: Final = timedelta(milliseconds=50)
# So many rows at one look are a backlog: at 500 events a second there are some ten.
_MANY: Final = 100
# How long it is busy after it has found so many: the viewer has the next ones meanwhile.
_BUSY_SECONDS: Final = 0.5


async def take_over(
    settings: Settings, connection: Connection, records: Records, *, qs: Sequence[int], owner: str
) -> "Lane | None":
    """Become the only publisher of partitions; None while another's lease on one of them lasts."""
    epoch = await relay.claim(connection, qs, owner, timedelta(seconds=settings.lease_seconds))
    if epoch is None:
        return None
    producer = FencedProducer(
        settings.kafka(), transactional_ids=_fences(settings, qs), topic=f"{settings.topic_prefix}{SUPPRESSIONS}"
    )
    try:
        await producer.start()
        # Relays of versions before this one had a fence for each partition.
        await asyncio.gather(*(shut_out(settings.kafka(), _fence(settings, q)) for q in qs[2:]))
        cursors = await relay.cursors(connection, qs, epoch)
        looking = await relay.connect(settings.dsn)
    except BaseException:
        await _give_up(connection, producer, qs, epoch)
        raise
    return Lane(settings, (connection, looking), records, producer, epoch=epoch, cursors=cursors)


def _fences(settings: Settings, qs: Sequence[int]) -> tuple[str, str]:
    """The transactional ids that take turns; all are those of single partitions, but the second of a lane of one."""
    second = _fence(settings, qs[1]) if len(qs) > 1 else f"{_fence(settings, qs[0])}-next"
    return _fence(settings, qs[0]), second


def _fence(settings: Settings, q: int) -> str:
    return f"{settings.topic_prefix}relay-{q}"


class Lane:
    """Partitions that were taken over. Whatever raises ends it: `end` it then, and take them over again."""

    def __init__(
        self,
        settings: Settings,
        connections: tuple[Connection, Connection],
        records: Records,
        producer: FencedProducer,
        *,
        epoch: int,
        cursors: Mapping[int, int],
    ) -> None:
        self.epoch = epoch
        # By partition, the place in the outbox up to which Kafka has everything, committed or not.
        self.sent = dict(cursors)
        self.producer = producer
        # The places are moved on one while the next rows are read on the other.
        self._connection, self._looking = connections
        self._settling: asyncio.Task[None] | None = None
        self._records = records
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._pause = timedelta(milliseconds=settings.poll_ms)
        self._settle_seconds = min(_SETTLE_SECONDS, settings.lease_seconds / 4)
        self._settled = dict(cursors)
        self._settle_at = _now() + self._settle_seconds
        # The horizon to be stated next, kept until it is reached: under load the newest is always a little ahead.
        self._held: Horizon | None = None
        self._marked: Horizon | None = None
        self._mark_at = 0.0
        self._busy_until = 0.0
        # How far the view and its horizon were at the last look.
        self._seen: tuple[int, datetime] | None = None

    @property
    def qs(self) -> list[int]:
        """The partitions."""
        return list(self.sent)

    @property
    def instant(self) -> datetime | None:
        """The instant of the last watermarks."""
        return self._marked.instant if self._marked else None

    @property
    def is_busy(self) -> bool:
        """Whether there is a backlog, for the end of which readers wait."""
        return _now() < self._busy_until

    async def step(self) -> bool:
        """Publish what one snapshot shows; return whether there may be more than it had room for."""
        if self._settling is not None and self._settling.done():
            await self._settling
            self._settling = None
        found = await relay.snapshots(self._looking, self.epoch, self.sent)
        any_of_them = next(iter(found.values()))
        self._seen = any_of_them.view_seq, any_of_them.horizon.instant
        lacking = {q: snapshot.rows for q, snapshot in found.items() if snapshot.rows}
        if sum(map(len, lacking.values())) >= _MANY:
            self._busy_until = _now() + _BUSY_SECONDS
        if lacking:
            messages = {q: await self._records.make(self._looking, rows) for q, rows in lacking.items()}
            await self.producer.send(messages)
            PUBLISHED.labels("record").inc(sum(map(len, lacking.values())))
        self.sent |= {q: snapshot.last for q, snapshot in found.items() if snapshot.last is not None}
        await self._mark(found)
        resent = [id_ for snapshot in found.values() for id_ in snapshot.resends]
        if resent:
            await self.settle(resent)
        elif _now() >= self._settle_at and self._settling is None:
            self._settling = asyncio.create_task(self._settle())
        return bool(resent) or any(snapshot.full for snapshot in found.values())

    async def _mark(self, found: Mapping[int, Snapshot]) -> None:
        """State the horizon on every partition once everything up to it has been sent."""
        horizon = next(iter(found.values())).horizon
        may_mark = _now() >= min(self._mark_at, self._settle_at)
        if self._held is None and may_mark and horizon != self._marked:
            self._held = horizon
        held = self._held
        if held is None or any(snapshot.full and self.sent[q] < held.seq for q, snapshot in found.items()):
            return
        value = watermark_record(held.instant, held.seq, self.epoch)
        await self.producer.send({q: [(WATERMARK_KEY, value)] for q in self.sent})
        PUBLISHED.labels("watermark").inc(len(self.sent))
        self._marked, self._held, self._mark_at = held, None, _now() + _MARK_SECONDS

    async def settle(self, resent: Sequence[int] = ()) -> None:
        """Commit what was sent, then move the places behind it and lengthen the lease."""
        if self._settling is not None:
            await self._settling
        self._settling = None
        await self._settle(resent)

    async def _settle(self, resent: Sequence[int] = ()) -> None:
        # More may be sent while this lasts; it belongs to the next time.
        self._settle_at = _now() + self._settle_seconds
        sent, instant = dict(self.sent), self.instant
        if await self.producer.commit():
            COMMITTED.inc()
        now = await relay.settle(
            self._connection, self.epoch, settled=self._settled, sent=sent, resent=resent, lease=self._lease,
            instant=instant,
        )  # fmt: skip
        if instant is not None:
            DELAY.observe((now - instant).total_seconds())
        self._settled = sent

    async def rest(self) -> None:
        """Wait until there may be something to do: view or horizon have changed, or a little time has passed."""
        if self._seen is not None:
            await relay.wait(self._looking, *self._seen, pause=self._pause, patience=_PATIENCE)

    async def end(self) -> None:
        """Drop the producer and give the partitions up."""
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.wait({self._settling})
        self._looking.terminate()
        await _give_up(self._connection, self.producer, self.qs, self.epoch)


async def _give_up(connection: Connection, producer: FencedProducer, qs: Sequence[int], epoch: int) -> None:
    await producer.drop()
    # Without the database the lease passes by itself, and what brought the end about matters more.
    with suppress(Exception):
        await relay.release(connection, qs, epoch)


def _now() -> float:
    return asyncio.get_running_loop().time()
