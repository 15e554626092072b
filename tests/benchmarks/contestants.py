"""The two that are measured beside each other, seen from outside: how far each is, and what it puts on its topic."""

import statistics
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks import bare
from benchmarks.stage import LEDGER, RunError, Stage
from benchmarks.traffic import Backlog, Refusal
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.domain.suppression import WATERMARK_KEY, suppression_key
from consent_ledger.runtime import topics
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.store import keys

_TAIL: Final = 200
"""How many records before a partition's end a watermark is looked for at least."""

# When a row's transaction was committed, the server remembers for us; an event's time is that of its publishing.
_BARE_DELAYS: Final = """
    SELECT pg_xact_commit_timestamp(xmin) - occurred_at AS recorded
      FROM bare.event WHERE type = 'consent-withdrawn' AND occurred_at >= $1
"""
_LEDGER_DELAYS: Final = """
    SELECT l.recorded_at - l.occurred_at AS begun, pg_xact_commit_timestamp(l.xmin) - l.occurred_at AS recorded,
           pg_xact_commit_timestamp(v.xmin) - l.occurred_at AS folded
      FROM consent.view v JOIN consent.ledger l USING (shard, pos)
     WHERE l.type = 'consent-withdrawn' AND l.occurred_at >= $1
"""


class _Watermark(msgspec.Struct):
    instant: datetime


class Contestant(Protocol):
    """Something that reads the events topic and writes to another one."""

    name: str
    modules: Mapping[str, str]
    """Its processes with their modules."""
    gate: str
    """The table that it writes to before anything else."""
    output: str
    """The topic it writes to, after the prefix."""

    async def ready(self) -> bool:
        """Say whether all is up but what waits at the gate."""

    async def recorded(self) -> dict[str, int]:
        """Return by step how many events have got so far; the first step is the database."""

    async def finished_at(self, backlog: Backlog) -> datetime | None:
        """Return when the last of all events was on the topic by the topic's own clock, None while it is not."""

    async def delays(self, since: datetime) -> dict[str, float]:
        """Return by step how many milliseconds after its publishing half of the withdrawals had got through it."""

    def key(self, refusal: Refusal) -> bytes:
        """Return the key of the record that a refusal leads to."""

    def says_no(self, value: bytes) -> bool:
        """Tell the record of a withdrawal from that of the consent before it."""


class BareLoop:
    """The bare loop on a table and a topic of its own."""

    name = "bare loop"
    modules: Mapping[str, str] = {"bare": "benchmarks.bare"}
    gate = bare.HEAD
    output = bare.OUTPUT

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def prepare(self) -> None:
        """Make table and topic; the topic has the settings of the service's, but nothing is compressed."""
        settings = self._stage.settings
        await self._stage.superuser.execute(bare.SCHEMA)
        wanted = next(topic for topic in topics.declared("", settings.partitions) if topic.name == "suppressions")
        config = {**wanted.settings(1), "compression.type": "producer"}
        admin = AIOKafkaAdminClient(**settings.kafka())
        await admin.start()
        try:
            name = f"{settings.topic_prefix}{self.output}"
            await admin.create_topics([NewTopic(name, settings.partitions, 1, topic_configs=config)])
        finally:
            await admin.close()

    async def ready(self) -> bool:
        return True

    async def recorded(self) -> dict[str, int]:
        done = await self._stage.superuser.fetchval("SELECT coalesce(sum(next_offset), 0)::bigint FROM bare.head")
        return {"recorded": done}

    async def finished_at(self, backlog: Backlog) -> datetime | None:
        async with _consumer(self._stage, self.output) as consumer:
            ends = await consumer.end_offsets(list(consumer.assignment()))
            if sum(ends.values()) < backlog.events:
                return None
            for partition, end in ends.items():
                consumer.seek(partition, max(0, end - 1))
            last = {partition for partition, end in ends.items() if end}
            moments = []
            while last:
                for partition, records in (await consumer.getmany(*last, timeout_ms=1000)).items():
                    moments.append(_moment(records[-1]))
                    last.discard(partition)
            return max(moments)

    async def delays(self, since: datetime) -> dict[str, float]:
        return await _medians(self._stage, _BARE_DELAYS, since)

    def key(self, refusal: Refusal) -> bytes:
        return bare.key_of(refusal.letter.controller, "email", refusal.address)

    def says_no(self, value: bytes) -> bool:
        return b'"consent-withdrawn"' in value


class Ledger:
    """Recorder, viewer and relay, each a process, as an installation runs them."""

    name = "consent ledger"
    modules: Mapping[str, str] = LEDGER
    gate = "consent.shard_head"
    output = "suppressions"

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._keys: dict[str, bytes] = {}

    async def prepare(self) -> None:
        """Learn the keys by which an address is found on the topic."""
        keks = KeyFile(self._stage.settings.key_file)
        await self._stage.superuser.execute("SET search_path = consent")
        found = await keys.controller_keys(self._stage.superuser, keks)
        self._keys = {controller: key.key for controller, key in found.items()}

    async def ready(self) -> bool:
        owned = """
            SELECT (SELECT count(*) FROM consent.relay_head WHERE lease_until > clock_timestamp()) = $1
               AND (SELECT lease_until > clock_timestamp() FROM consent.view_head)
        """
        ready: bool = await self._stage.superuser.fetchval(owned, self._stage.settings.partitions)
        return ready

    async def recorded(self) -> dict[str, int]:
        steps = """
            SELECT (SELECT sum(next_pos)::bigint FROM consent.shard_head WHERE shard > 0) AS recorded,
                   (SELECT sum(x)::bigint FROM consent.view_head, unnest(applied[2:]) AS x) AS folded
        """
        row = await self._stage.superuser.fetchrow(steps)
        return {step: count or 0 for step, count in dict(row or {}).items()}

    async def finished_at(self, backlog: Backlog) -> datetime | None:
        """By the contract: a watermark on every partition that states an instant after the publishing."""
        instant = await self._stage.superuser.fetchval("SELECT instant FROM consent.horizon")
        if instant < backlog.published_at:
            return None
        await self._require_all(backlog.events)
        async with _consumer(self._stage, self.output) as consumer:
            waiting = dict(await consumer.end_offsets(list(consumer.assignment())))
            for partition, end in waiting.items():
                consumer.seek(partition, max(0, end - _TAIL))
            moments = []
            while waiting:
                for partition, records in (await consumer.getmany(*waiting, timeout_ms=1000)).items():
                    marked = [_moment(record) for record in records if _states(record, backlog.published_at)]
                    if marked:
                        moments.append(marked[0])
                        del waiting[partition]
            return max(moments)

    async def _require_all(self, events: int) -> None:
        accounts = """
            SELECT sum(next_pos)::bigint AS entries, sum(rejected + duplicates)::bigint AS others
              FROM consent.shard_head WHERE shard > 0
        """
        row = await self._stage.superuser.fetchrow(accounts)
        if row is None or tuple(row) != (events, 0):
            raise RunError(f"{events} events were published, and the ledger has (entries, others) {tuple(row or ())}")

    async def delays(self, since: datetime) -> dict[str, float]:
        return await _medians(self._stage, _LEDGER_DELAYS, since)

    def key(self, refusal: Refusal) -> bytes:
        controller = refusal.letter.controller
        return suppression_key(controller, "email", address_hash(self._keys[controller], "email", refusal.address))

    def says_no(self, value: bytes) -> bool:
        return b'"CONSENT_WITHDRAWN"' in value


def _consumer(stage: Stage, topic: str) -> Any:
    settings = stage.settings
    consumer = AIOKafkaConsumer(**settings.kafka(), enable_auto_commit=False, auto_offset_reset="latest")
    consumer.assign([TopicPartition(f"{settings.topic_prefix}{topic}", q) for q in range(settings.partitions)])
    return consumer


async def _medians(stage: Stage, delays: str, since: datetime) -> dict[str, float]:
    rows = await stage.superuser.fetch(delays, since)
    steps = list(rows[0].keys()) if rows else []
    return {step: statistics.median(row[step].total_seconds() * 1000 for row in rows) for step in steps}


def _moment(record: ConsumerRecord) -> datetime:
    """The broker's time of a record, which these topics have (LogAppendTime)."""
    return datetime.fromtimestamp(record.timestamp / 1000, UTC)


def _states(record: ConsumerRecord, instant: datetime) -> bool:
    return record.key == WATERMARK_KEY and msgspec.json.decode(record.value, type=_Watermark).instant >= instant
