"""A whole installation for tests: a database and topics of its own, services run in this process, a clock to set."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

import builders
from consent_ledger.recorder.app import Recorder
from consent_ledger.relay.app import Relay
from consent_ledger.runtime import topics
from consent_ledger.runtime.clock import SystemClock
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import partition_of_shard
from consent_ledger.viewer.app import Viewer

Headers = Sequence[tuple[str, bytes | None]]
Answer = TypeVar("Answer")

# Long, for a loaded machine: who waits for what comes never waits this long.
TIMEOUT_SECONDS = 60.0
_POLL_SECONDS = 0.01


class SettableClock:
    """Says what it was set to; the database's time while it is not set."""

    def __init__(self, instant: datetime | None = None) -> None:
        self.instant = instant

    def now(self, database_now: datetime | None = None) -> datetime:
        return self.instant or SystemClock().now(database_now)


class Place(NamedTuple):
    """Where Kafka holds a record."""

    shard: int
    offset: int


async def until(
    holds: Callable[[], Awaitable[Answer]],
    *,
    service: asyncio.Task[None] | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> Answer:
    """Ask again and again until the answer is true, and give it; a service that has ended meanwhile is an error."""
    async with asyncio.timeout(timeout):
        while not (answer := await holds()):
            if service is not None and service.done():
                service.result()
                raise AssertionError("the service has ended")
            await asyncio.sleep(_POLL_SECONDS)
    return answer


@asynccontextmanager
async def serving(service: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run a service beside the block, and end it in good order with the block, as a signal would."""
    task = asyncio.ensure_future(service)
    try:
        yield task
    finally:
        # A second time would cut short the good order of the first.
        if not task.cancelling():
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def database_of_its_own(postgres: str, template: str) -> AsyncIterator[str]:
    """Clone the migrated template for as long as the block lasts; gives the superuser's URL."""
    name = f"consent_test_{uuid.uuid4().hex[:12]}"
    server = await asyncpg.connect(postgres)
    try:
        await server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield urlsplit(postgres)._replace(path=f"/{name}").geturl()
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await server.close()


@dataclass(frozen=True, kw_only=True)
class Installation:
    """Database, topics and keys of one installation, and a superuser and a producer to look and publish."""

    settings: Settings
    keks: KeyFile
    clock: SettableClock
    superuser: Connection
    producer: AIOKafkaProducer
    # A recorder's patched polls ask too, and a connection answers one question at a time.
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def recorder(self, **settings: Any) -> Recorder:
        """A recorder that has not been started; `settings` differ from the installation's."""
        return Recorder(self.settings.model_copy(update=settings), self.keks, self.clock)

    def viewer(self) -> Viewer:
        """A viewer that has not been started."""
        return Viewer(self.settings, self.keks, self.clock)

    def relay(self) -> Relay:
        """A relay that has not been started."""
        return Relay(self.settings, self.keks, self.clock)

    @asynccontextmanager
    async def at_work(
        self, register: dict[str, Any] | None = None, *, with_relay: bool = False
    ) -> AsyncIterator[asyncio.Task[None]]:
        """Run recorder and viewer, and a relay if wanted, with a register in force; gives the recorder's task."""
        async with AsyncExitStack() as stack:
            recorder = await stack.enter_async_context(serving(self.recorder().run()))
            await stack.enter_async_context(serving(self.viewer().run()))
            if with_relay:
                await stack.enter_async_context(serving(self.relay().run()))
            await self.recorded(await self.load_register(register), service=recorder)
            yield recorder

    def partition(self, shard: int) -> TopicPartition:
        return partition_of_shard(self.settings.topic_prefix, shard)

    async def publish(
        self, said: Any, *, shard: int = 1, headers: Headers = (), key: bytes | None = None, at_ms: int | None = None
    ) -> Place:
        """Publish one event, or bytes as they are (None: no value), and say where Kafka put it."""
        topic, partition = self.partition(shard)
        value = None if said is None else builders.encode(said)
        sent = await self.producer.send_and_wait(
            topic, value, key, partition=partition, headers=list(headers), timestamp_ms=at_ms
        )
        return Place(shard, sent.offset)

    async def publish_together(self, *said: Any, shard: int = 1) -> list[Place]:
        """Publish several events as one batch of Kafka, which a recorder reads and appends as one."""
        topic, partition = self.partition(shard)
        batch = self.producer.create_batch()
        for one in said:
            assert batch.append(key=None, value=builders.encode(one), timestamp=None), "more than one batch may hold"
        sent = await (await self.producer.send_batch(batch, topic, partition=partition))
        return [Place(shard, sent.offset + number) for number in range(len(said))]

    async def load_register(self, document: dict[str, Any] | None = None) -> Place:
        return await self.publish(builders.register_loaded(document), shard=0)

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Ask the database as its superuser."""
        async with self.asking:
            return list(await self.superuser.fetch(query, *values))

    @asynccontextmanager
    async def appends_held_up(self, *, shard: int = 1) -> AsyncIterator[None]:
        """Publish an event whose append waits as long as the block lasts, as if a register were being loaded."""
        await self.fetch("SELECT pg_advisory_lock(hashtext('consent.register'))")
        try:
            await self.publish(builders.given(), shard=shard)
            await until(lambda: self.fetch("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
            yield
        finally:
            await self.fetch("SELECT pg_advisory_unlock(hashtext('consent.register'))")

    async def next_offset(self, shard: int) -> int:
        rows = await self.fetch("SELECT next_offset FROM shard_head WHERE shard = $1", shard)
        return int(rows[0]["next_offset"]) if rows else 0

    async def recorded(self, *places: Place, service: asyncio.Task[None] | None = None) -> None:
        """Wait until the ledger has taken what stands at these places."""
        for place in places:
            await until(lambda place=place: self._is_past(place), service=service)  # type: ignore[misc]

    async def _is_past(self, place: Place) -> bool:
        return await self.next_offset(place.shard) > place.offset

    async def carried_out(self, erasure: dict[str, Any]) -> None:
        """Wait until an executed erasure has destroyed what it is about."""
        query = "SELECT FROM erasure JOIN event USING (shard, pos) WHERE event_id = $1::text::uuid"
        await until(lambda: self.fetch(query, erasure["id"]))

    async def ends(self, shards: Iterable[int] | None = None) -> dict[int, int]:
        """Where the partitions end, by shard; what an open transaction holds back counts as well."""
        wanted = range(self.settings.partitions + 1) if shards is None else shards
        partitions = {self.partition(shard): shard for shard in wanted}
        async with AIOKafkaConsumer(**self.settings.kafka()) as consumer:
            ends = await consumer.end_offsets(list(partitions))
        return {shard: ends[partition] for partition, shard in partitions.items()}

    async def recorded_to_the_end(self, *, service: asyncio.Task[None] | None = None) -> None:
        """Wait until the ledger has taken all that Kafka holds now, markers of transactions too."""
        ends = await self.ends()
        await self.recorded(*(Place(shard, end - 1) for shard, end in ends.items() if end), service=service)


@asynccontextmanager
async def installation(
    kafka: str, postgres: str, template: str, path: Path, **settings: Any
) -> AsyncIterator[Installation]:
    """Make an installation with two event partitions and no register, and drop its database at the end."""
    async with database_of_its_own(postgres, template) as url:
        chosen = Settings.model_validate(
            {
                "database_url": url,
                "kafka_bootstrap_servers": kafka,
                "topic_prefix": f"test_{uuid.uuid4().hex[:12]}.",
                "partitions": 2,
                "key_file": path / "keys.json",
                "instance": "test",
                **settings,
            }
        )
        await topics.apply(chosen.kafka(), prefix=chosen.topic_prefix, partitions=chosen.partitions)
        superuser = await asyncpg.connect(url, server_settings={"search_path": "consent"})
        # Takes more than the broker does, so that the broker is asked.
        producer = AIOKafkaProducer(**chosen.kafka(), acks="all", max_request_size=2**22)
        await producer.start()
        try:
            yield Installation(
                settings=chosen,
                keks=KeyFile.create(chosen.key_file),
                clock=SettableClock(),
                superuser=superuser,
                producer=producer,
            )
        finally:
            await producer.stop()
            await superuser.close()
