"""From the publishing of a refusal until a plain consumer of the result sees it, at a steady rate."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final, Self

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.contestants import Contestant
from benchmarks.stage import RunError, Stage
from benchmarks.traffic import Backlog, publish_consents, publish_refusals, refusals
from consent_ledger.runtime.publish import Publisher
from consent_ledger.runtime.shards import EVENTS

_PATIENCE_SECONDS: Final = 60.0


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds by share of the refusals: `p50` is what half of them did not exceed.

    `steps`: after how many milliseconds half of them had got through each step.
    """

    rate: float
    refusals: int
    p50: float
    p90: float
    p99: float
    longest: float
    steps: Mapping[str, float]

    @classmethod
    def of(cls, rate: float, seconds: Sequence[float], steps: Mapping[str, float]) -> Self:
        """Sum up the delays of single refusals."""
        ordered = sorted(delay * 1000 for delay in seconds)

        def share(part: float) -> float:
            return ordered[min(len(ordered) - 1, int(part * len(ordered)))]

        return cls(
            rate=rate, refusals=len(ordered), p50=share(0.5), p90=share(0.9), p99=share(0.99), longest=ordered[-1],
            steps=steps,
        )  # fmt: skip


async def measure_latency(
    stage: Stage, contestant: Contestant, backlog: Backlog, rate: float, seconds: float
) -> tuple[Latency, Backlog]:
    """Have people consent, wait until that is on the topic, then publish their withdrawals at a rate.

    The delay of a refusal begins as it is handed to the producer, and ends when a consumer has its record in hand.
    Also returns the backlog with the events that were published for it.
    """
    people = refusals(max(1, int(rate * seconds)), f"{contestant.output}-{rate:g}")
    keys = {contestant.key(refusal): refusal for refusal in people}
    async with publisher_of(stage) as publisher, _Watcher.watching(stage, contestant) as watcher:
        await publish_consents(publisher, people)
        await watcher.until_seen(keys, watcher.yes)
        since = datetime.now(UTC)
        sent = await publish_refusals(publisher, people, rate)
        await watcher.until_seen(keys, watcher.no)
    delays = [watcher.no[key] - sent[refusal] for key, refusal in keys.items()]
    latency = Latency.of(rate, delays, await contestant.delays(since))
    return latency, Backlog(backlog.events + 2 * len(people), datetime.now(UTC))


@asynccontextmanager
async def publisher_of(stage: Stage) -> AsyncIterator[Publisher]:
    """Open a producer that sends at once."""
    settings = stage.settings
    producer = AIOKafkaProducer(**settings.kafka(), enable_idempotence=True, acks="all", linger_ms=0)
    await producer.start()
    try:
        yield Publisher(producer, f"{settings.topic_prefix}{EVENTS}")
    finally:
        await producer.stop()


class _Watcher:
    """Notes when the first record that says yes, and the first that says no, came for each key."""

    def __init__(self, contestant: Contestant, consumer: Any) -> None:
        self.yes: dict[bytes, float] = {}
        self.no: dict[bytes, float] = {}
        self._contestant = contestant
        self._consumer = consumer

    @classmethod
    @asynccontextmanager
    async def watching(cls, stage: Stage, contestant: Contestant) -> AsyncIterator[Self]:
        """Watch the contestant's topic from its end on."""
        settings = stage.settings
        # As readers do that must be quick: the relay's transaction only ever serves as its fence.
        consumer = AIOKafkaConsumer(
            **settings.kafka(), enable_auto_commit=False, auto_offset_reset="none", isolation_level="read_uncommitted"
        )
        topic = f"{settings.topic_prefix}{contestant.output}"
        consumer.assign([TopicPartition(topic, q) for q in range(settings.partitions)])
        await consumer.start()
        for partition, end in (await consumer.end_offsets(list(consumer.assignment()))).items():
            consumer.seek(partition, end)
        watcher = cls(contestant, consumer)
        watching = asyncio.create_task(watcher._watch())
        try:
            yield watcher
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await consumer.stop()

    async def until_seen(self, keys: Collection[bytes], seen: dict[bytes, float]) -> None:
        """Wait until every key was seen. Raises `RunError` when some are not."""
        deadline = time.perf_counter() + _PATIENCE_SECONDS
        while missing := len(keys) - len(seen):
            if time.perf_counter() > deadline:
                raise RunError(f"{missing} records of the {self._contestant.name} did not come")
            await asyncio.sleep(0.02)

    async def _watch(self) -> None:
        while True:
            found = await self._consumer.getmany(timeout_ms=1000)
            now = time.perf_counter()
            for records in found.values():
                for record in records:
                    if record.key is not None and record.value is not None and not record.key.startswith(b"!"):
                        seen = self.no if self._contestant.says_no(record.value) else self.yes
                        seen.setdefault(record.key, now)
