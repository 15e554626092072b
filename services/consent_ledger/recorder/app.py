"""Kafka in, ledger out: the only service that may append."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple
from uuid import uuid4

from aiokafka import ConsumerRecord, TopicPartition
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaMessage
from prometheus_client import Counter, Gauge, Histogram

from consent_ledger.recorder import schedule
from consent_ledger.recorder.consumer import ShardConsumer
from consent_ledger.recorder.inspect import Inspector, TopicLostError, record_digest
from consent_ledger.recorder.membership import Membership
from consent_ledger.recorder.prepare import Preparer
from consent_ledger.runtime import topics
from consent_ledger.runtime.clock import Clock
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import CONTROL_SHARD, partition_of_shard
from consent_ledger.store import ledger
from consent_ledger.store.ledger import Batch, Draft, LastRecord, Quarantined

log = logging.getLogger(__name__)

RECORDED = Counter("consent_recorded_total", "What became of the records read from Kafka", ["outcome"])
REJECTED = Counter(
    "consent_quarantined_total", "Records kept in quarantine, also those of malformed refusals", ["reason"]
)
APPEND_SECONDS = Histogram("consent_append_seconds", "Time of one append; the longest bounds the replay of an instant")
SHARDS_OWNED = Gauge("consent_shards_owned", "Shards that this recorder owns")


class WrongTopicsError(Exception):
    """The topics' settings would lose events; `consent topics apply` mends them."""


@dataclass(slots=True)
class _Shard:
    """A shard that this recorder owns, as far as it knows."""

    shard: int
    epoch: int
    next_offset: int
    # Offsets missing between records, met once: they are read again before they count as holes.
    doubted: set[tuple[int, int]] = field(default_factory=set)
    read_again: bool = False


class _Part(NamedTuple):
    """What one poll has brought of one shard, and the offsets missing in it for good."""

    shard: _Shard
    records: list[ConsumerRecord]
    holes: list[tuple[int, int]]


class Recorder:
    """Owns shards and appends what Kafka holds of them."""

    def __init__(self, settings: Settings, keks: KeyEncryptionKeys, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._preparer = Preparer(keks, production=settings.production)
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._membership = Membership(settings, self._leave)
        # Shards that are to be given up, so that another need not wait for the lease.
        self._left: set[int] = set()
        self._owned: dict[TopicPartition, _Shard] = {}
        self._connection: Connection | None = None
        # Held by whoever uses the connection: FastStream cancels its reading, but does not await that.
        self._at_work = asyncio.Lock()
        self._inspector = Inspector(settings.kafka())
        self._owner = f"{settings.instance}/{uuid4().hex[:12]}"
        self._maintained_at = float("-inf")
        self._failed: asyncio.Future[None] | None = None

    # -- life

    async def run(self) -> None:
        """Record until cancelled.

        Raises `WrongTopicsError` when the topics' settings would lose events, and `TopicLostError`.
        """
        await self._require_topics()
        self._failed = asyncio.get_running_loop().create_future()
        broker = KafkaBroker(consumer_only=True, apply_types=False, logger=None)
        subscribed, options = self._membership.subscription()
        subscriber = broker.subscriber(
            *subscribed,
            **options,
            batch=True,
            max_records=self._settings.batch_max,
            batch_timeout_ms=1,
            auto_offset_reset="none",
            isolation_level="read_committed",
            ack_policy=AckPolicy.MANUAL,
            parser=_as_it_came,
            decoder=_raw_records,
        )
        subscriber(self._take)
        await broker.connect()
        # FastStream has no place for a consumer of one's own; it builds every consumer by this.
        broker.config.broker_config.builder = partial(
            ShardConsumer, before_poll=self._before_poll, **self._settings.kafka()
        )
        scheduling = asyncio.create_task(schedule.keep(self._settings, self._clock))
        try:
            await broker.start()
            log.info("recorder started", extra={"owner": self._owner, "assignment": self._settings.assignment})
            await self._failed
        finally:
            scheduling.cancel()
            await asyncio.wait({scheduling})
            await broker.stop()
            await self._inspector.stop()
            await self._release()

    async def _require_topics(self) -> None:
        differences = await topics.check(
            self._settings.kafka(), prefix=self._settings.topic_prefix, partitions=self._settings.partitions
        )
        if vital := [str(difference) for difference in differences if difference.vital]:
            raise WrongTopicsError("; ".join(vital))

    async def _release(self) -> None:
        async with self._at_work:
            if self._connection is not None and not self._connection.is_closed():
                await ledger.release(self._connection, self._owner)
                await self._connection.close()

    # -- owning shards

    async def _before_poll(self, consumer: ShardConsumer) -> list[TopicPartition]:
        """Keep what is owned, take what is free, and say what may be read. FastStream must see no exception of ours."""
        async with self._at_work:
            try:
                for partition in consumer.out_of_range & self._owned.keys():
                    # The claim that follows looks at the topic and says what is wrong with it.
                    self._drop(partition)
                consumer.out_of_range.clear()
                await self._maintain(consumer)
                await self._bring_to_place(consumer)
            except TopicLostError as error:
                self._fail(error)
            except Exception:
                log.exception("cannot keep shards")
                await self._drop_connection()
            return list(self._owned)

    async def _bring_to_place(self, consumer: ShardConsumer) -> None:
        """Make the consumer go on reading where the ledger stands."""
        for partition, shard in list(self._owned.items()):
            if self._owned.get(partition) is not shard:
                continue
            position = await consumer.position(partition)
            if shard.read_again or consumer.handed_out.get(partition, 0) > shard.next_offset:
                shard.read_again = False
                consumer.seek(partition, shard.next_offset)
            elif position > shard.next_offset:
                # Everything handed out has been appended, so only markers of transactions lie between.
                await self._append(shard, [], [(shard.next_offset, position)])

    async def _maintain(self, consumer: ShardConsumer) -> None:
        now = asyncio.get_running_loop().time()
        connected = self._connection is not None and not self._connection.is_closed()
        hurries = self._membership.hurries and self._membership.wanted.keys() - self._owned.keys()
        if connected and not hurries and now - self._maintained_at < self._settings.lease_seconds / 4:
            return
        connection = await self._connected()
        if left := self._left - set(self._membership.wanted.values()):
            self._left -= left
            await ledger.release(connection, self._owner, left)
        if self._owned:
            epochs = await ledger.renew(
                connection, [shard.shard for shard in self._owned.values()], self._owner, self._lease
            )
            for partition, shard in list(self._owned.items()):
                if epochs.get(shard.shard) != shard.epoch:
                    self._drop(partition)
        for partition in self._membership.wanted.keys() - self._owned.keys():
            await self._claim(connection, consumer, partition)
        SHARDS_OWNED.set(len(self._owned))
        self._maintained_at = now

    async def _claim(self, connection: Connection, consumer: ShardConsumer, partition: TopicPartition) -> None:
        shard = self._membership.wanted.get(partition)
        if shard is None:
            return
        first = await self._inspector.first_offset(partition)
        await ledger.add_shard(connection, shard, partition.topic, partition.partition, first)
        claim = await ledger.claim(connection, shard, self._owner, self._lease)
        if claim is None:
            return
        await self._inspector.verify(partition, claim)
        if partition not in self._membership.wanted:
            self._left.add(shard)
            return
        consumer.seek(partition, claim.next_offset)
        self._owned[partition] = _Shard(shard, claim.epoch, claim.next_offset)
        log.info("shard claimed", extra={"shard": shard, "epoch": claim.epoch, "next_offset": claim.next_offset})

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._owned.clear()
            self._maintained_at = float("-inf")
            self._connection = await connect(self._settings.dsn, "consent_recorder")
            await self._refresh()
        return self._connection

    async def _refresh(self) -> None:
        assert self._connection is not None  # noqa: S101 - only called when connected
        await schedule.bring_into_force(self._connection, self._clock)
        version, document = await ledger.read_register(self._connection)
        await self._preparer.refresh(self._connection, version, document)

    def _drop(self, partition: TopicPartition) -> None:
        shard = self._owned.pop(partition)
        self._maintained_at = float("-inf")
        log.warning("shard lost", extra={"shard": shard.shard, "epoch": shard.epoch})

    def _leave(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop reading partitions at once, and give up their shards before the next poll."""
        self._left |= {shard.shard for one in partitions if (shard := self._owned.pop(one, None)) is not None}
        self._maintained_at = float("-inf")

    async def _drop_connection(self) -> None:
        """Forget everything that rested on a connection; the next claim tells what was committed."""
        self._owned.clear()
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
        await asyncio.sleep(min(0.2, self._settings.lease_seconds / 10))

    def _fail(self, error: Exception) -> None:
        self._owned.clear()
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    # -- recording

    async def _take(self, records: Sequence[ConsumerRecord]) -> None:
        """Append what was read. What cannot be appended now is dropped here and read again from the ledger's place."""
        parts = []
        for (topic, number), group in groupby(records, key=lambda record: (record.topic, record.partition)):
            shard = self._owned.get(TopicPartition(topic, number))
            if shard is not None:
                parts.append(self._sure(shard, list(group)))
        async with self._at_work:
            try:
                if not await self._append_together(parts):
                    for part in parts:
                        await self._append_alone(part)
            except Exception:
                # Not only database errors: a connection that dies within COPY surfaces in many ways.
                log.exception("append failed")
                await self._drop_connection()

    def _sure(self, shard: _Shard, records: list[ConsumerRecord]) -> _Part:
        """Keep of what was read what is sure: up to the first offsets that are missing and were not missed before."""
        holes = _gaps(shard.next_offset, records)
        fresh = [hole for hole in holes if hole not in shard.doubted]
        if fresh:
            shard.doubted.update(fresh)
            shard.read_again = True
            log.info("offsets are missing, reading again", extra={"shard": shard.shard, "gaps": fresh[:10]})
            # What stands before the first of them is sure, so a stream with a gap in every batch still moves on.
            records = [record for record in records if record.offset < fresh[0][0]]
        end = records[-1].offset if records else -1
        return _Part(shard, records, [hole for hole in holes if hole[0] < end])

    async def _append_together(self, parts: Sequence[_Part]) -> bool:
        """Append several shards in one transaction; False, and nothing done, where each needs a look of its own."""
        if len(parts) < 2 or any(part.shard.shard == CONTROL_SHARD or not part.records for part in parts):  # noqa: PLR2004
            return False
        connection = await self._connected()
        prepared = await self._preparer.prepare_all(connection, {part.shard.shard: part.records for part in parts})
        batches = [self._batch(part, *made, {}) for part, made in zip(parts, prepared, strict=True)]
        try:
            with APPEND_SECONDS.time():
                await ledger.append_all(connection, batches, self._clock, self._lease)
        except (
            ledger.FencedError, ledger.MovedError, ledger.IdsTakenError, ledger.RegisterMovedError,
            ledger.KeysDestroyedError,
        ):  # fmt: skip
            return False
        for part, batch in zip(parts, batches, strict=True):
            _move(part.shard, batch)
        return True

    async def _append_alone(self, part: _Part) -> None:
        shard = part.shard
        try:
            # A register must be in force before the next control record is understood.
            chunks = [[record] for record in part.records] if shard.shard == CONTROL_SHARD else [part.records]
            for chunk in filter(None, chunks):
                end = chunk[-1].offset + 1
                within = [hole for hole in part.holes if shard.next_offset <= hole[0] < end]
                await self._append(shard, chunk, within)
        except (ledger.FencedError, ledger.MovedError):
            self._drop(partition_of_shard(self._settings.topic_prefix, shard.shard))

    async def _append(self, shard: _Shard, records: list[ConsumerRecord], holes: list[tuple[int, int]]) -> None:
        connection = await self._connected()
        part = _Part(shard, records, holes)
        if shard.shard == CONTROL_SHARD:
            # A load is judged beside what is scheduled, which another owner of the shard may have added to.
            await self._refresh()
        drafts, rejected = await self._preparer.prepare(connection, shard.shard, records)
        taken: dict[Any, bytes] = {}
        while True:
            batch = self._batch(part, drafts, rejected, taken)
            try:
                with APPEND_SECONDS.time():
                    await ledger.append(connection, batch, self._clock, self._lease)
            except ledger.IdsTakenError as error:
                taken |= error.taken
            except (ledger.RegisterMovedError, ledger.KeysDestroyedError):
                await self._refresh()
                drafts, rejected = await self._preparer.prepare(connection, shard.shard, records)
            else:
                break
        _move(shard, batch)
        if any(draft.load for draft in batch.drafts):
            await self._refresh()

    def _batch(
        self, part: _Part, drafts: Sequence[Draft], rejected: Sequence[Quarantined], taken: dict[Any, bytes]
    ) -> Batch:
        shard, records, holes = part
        by_offset = {record.offset: record for record in records}
        kept, duplicates, refused = self._preparer.settle(drafts, taken, by_offset, shard.shard)
        return Batch(
            shard=shard.shard,
            epoch=shard.epoch,
            register_version=self._preparer.version,
            erasures=self._preparer.erasures,
            first_offset=shard.next_offset,
            next_offset=max([record.offset + 1 for record in records[-1:]] + [end for _, end in holes]),
            drafts=kept,
            duplicates=duplicates,
            rejected=sorted([*rejected, *refused], key=lambda item: item.offset),
            holes=holes,
            last=_last(records),
        )


def _move(shard: _Shard, batch: Batch) -> None:
    """Go on behind a batch that was committed."""
    shard.next_offset = batch.next_offset
    shard.doubted = {hole for hole in shard.doubted if hole[0] >= shard.next_offset}
    _count(batch)


async def _as_it_came(message: Any) -> KafkaMessage:
    """FastStream's parser, without its reading of headers and bodies, which a record can make raise."""
    return KafkaMessage(raw_message=message, body=b"", headers={}, consumer=None)  # type: ignore[arg-type]


async def _raw_records(message: Any) -> Any:
    return message.raw_message


def _gaps(next_offset: int, records: Sequence[ConsumerRecord]) -> list[tuple[int, int]]:
    gaps = []
    for record in records:
        if record.offset > next_offset:
            gaps.append((next_offset, record.offset))
        next_offset = record.offset + 1
    return gaps


def _last(records: Sequence[ConsumerRecord]) -> LastRecord | None:
    if not records:
        return None
    last = records[-1]
    return LastRecord(offset=last.offset, timestamp=last.timestamp, digest=record_digest(last))


def _count(batch: Batch) -> None:
    RECORDED.labels("entry").inc(len(batch.drafts))
    RECORDED.labels("duplicate").inc(len(batch.duplicates))
    RECORDED.labels("rejected").inc(len(batch.rejected))
    RECORDED.labels("hole").inc(sum(end - start for start, end in batch.holes))
    for item in [*batch.rejected, *(draft.quarantined for draft in batch.drafts if draft.quarantined)]:
        REJECTED.labels(item.reason).inc()
        log.warning("quarantined", extra={"shard": batch.shard, "offset": item.offset, "reason": item.reason})
