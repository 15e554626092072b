"""Recorders that share shards by Kafka's consumer group: they join, leave and are killed while events flow.

The group has an offset of its own, 0, as any tool may have set it: that is where a consumer reads on after a rebalance,
until it is told otherwise.

Seen to fail: partitions still read after they were revoked, which the database alone then keeps from being taken twice;
shards not given up when they are revoked.
"""

import asyncio
import itertools
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from builders import email, given
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.shards import partition_of_shard
from recorder.reading import require_balance
from recorder.test_life import owners
from running import Installation, Place, installation, serving, until

PARTITIONS = 6
LEASE_SECONDS = 2.0
BEHIND_MAX = 200
SHARDS = range(PARTITIONS + 1)


@pytest.fixture
async def fresh(kafka: str, postgres: str, template: str, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(
        kafka, postgres, template, tmp_path, partitions=PARTITIONS, lease_seconds=LEASE_SECONDS, assignment="group"
    ) as home:
        yield home


async def set_back(home: Installation) -> None:
    """Give the group an offset for every partition."""
    partitions = [partition_of_shard(home.settings.topic_prefix, shard) for shard in SHARDS]
    consumer = AIOKafkaConsumer(
        **home.settings.kafka(), group_id=f"{home.settings.topic_prefix}recorders", enable_auto_commit=False
    )
    await consumer.start()
    consumer.assign(partitions)
    await consumer.commit(dict.fromkeys(partitions, 0))
    await consumer.stop()


class Flow:
    """Events that are published all the time, and where Kafka has put them."""

    def __init__(self, home: Installation, connection: Connection) -> None:
        self.home = home
        self._connection = connection
        self.places: list[Place] = []
        self.ended = False

    async def run(self) -> None:
        for number in itertools.count():
            if self.ended:
                return
            events = [given(email(f"p{number}.{one}@example.be")) for one in range(20)]
            self.places += await self.home.publish_together(*events, shard=1 + number % PARTITIONS)
            await until(self._is_followed, timeout=60)

    async def _is_followed(self) -> bool:
        # On a connection of its own, for the storm asks at the same time.
        found = await self._connection.fetchval("SELECT coalesce(sum(next_pos), 0)::int FROM shard_head")
        return bool(found >= len(self.places) - BEHIND_MAX)

    async def more_recorded(self, count: int) -> None:
        """Wait until so many more events are entries than are now."""
        before = await self.recorded()

        async def there() -> bool:
            return await self.recorded() >= before + count

        await until(there, timeout=60)

    async def recorded(self) -> int:
        return int((await self.home.fetch("SELECT coalesce(sum(next_pos), 0)::int AS n FROM shard_head"))[0]["n"])


async def shared_by(home: Installation, *names: str) -> None:
    """Wait until every shard is owned, by exactly these instances."""

    async def are() -> bool:
        found = await owners(home)
        return len(found) == len(SHARDS) and {one.split("/")[0] for one in found.values()} == set(names)

    await until(are, timeout=60)


async def process(home: Installation, name: str) -> asyncio.subprocess.Process:
    settings = {
        "DATABASE_URL": home.settings.dsn, "KAFKA_BOOTSTRAP_SERVERS": home.settings.kafka_bootstrap_servers,
        "TOPIC_PREFIX": home.settings.topic_prefix, "PARTITIONS": PARTITIONS, "LEASE_SECONDS": LEASE_SECONDS,
        "KEY_FILE": home.settings.key_file, "INSTANCE": name, "ASSIGNMENT": "group",
    }  # fmt: skip
    environment = {**os.environ, **{f"CONSENT_{key}": str(value) for key, value in settings.items()}}
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "consent_ledger.recorder", env=environment)


async def test_in_a_storm_of_rebalances_nothing_is_lost_and_nothing_taken_twice(fresh: Installation) -> None:
    await set_back(fresh)
    flow = Flow(fresh, await connect(fresh.settings.dsn, "consent_operator"))
    killed = await process(fresh, "killed")
    try:
        async with AsyncExitStack() as stack:
            await shared_by(fresh, "killed")
            await fresh.recorded(await fresh.load_register())
            flowing = asyncio.create_task(flow.run())
            stack.callback(flowing.cancel)
            await flow.more_recorded(100)

            async with serving(fresh.recorder(instance="second").run()):
                await shared_by(fresh, "killed", "second")
                async with serving(fresh.recorder(instance="third").run()):
                    await shared_by(fresh, "killed", "second", "third")
                    await flow.more_recorded(200)
                await shared_by(fresh, "killed", "second")
                killed.kill()
                await killed.wait()
                async with serving(fresh.recorder(instance="fourth").run()):
                    await shared_by(fresh, "second", "fourth")
                    await flow.more_recorded(200)
            async with serving(fresh.recorder(instance="last").run()) as last:
                await shared_by(fresh, "last")
                flow.ended = True
                await flowing
                await fresh.recorded(*flow.places[-PARTITIONS * 40 :], service=last)
    finally:
        if killed.returncode is None:
            killed.kill()
            await killed.wait()

    await require_balance(fresh)
    entries = await fresh.fetch("SELECT shard, k_offset FROM ledger WHERE shard > 0")
    assert {(row["shard"], row["k_offset"]) for row in entries} == {tuple(place) for place in flow.places}
    heads = await fresh.fetch("SELECT sum(duplicates + rejected + holes)::int AS other FROM shard_head")
    assert heads[0]["other"] == 0


async def test_what_kafka_gives_back_is_read_from_where_the_ledger_stands(
    fresh: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    """A rebalance within one poll: the partition is taken away and given back, at the group's own offset.

    The database would refuse what was read from there, so it shows only in what is logged.
    """
    recorder = fresh.recorder(instance="first")
    polls, consumers = recorder._before_poll, set[Any]()

    async def noting(consumer: Any) -> Any:
        consumers.add(consumer)
        return await polls(consumer)

    recorder._before_poll = noting  # type: ignore[method-assign]
    async with serving(recorder.run()) as running:
        await fresh.recorded(await fresh.load_register(), service=running)
        for _ in range(3):
            await fresh.recorded(await fresh.publish(given()), service=running)
        (consumer,), partition = consumers, fresh.partition(1)

        await recorder._membership.on_partitions_revoked([partition])
        AIOKafkaConsumer.seek(consumer, partition, 0)
        await recorder._membership.on_partitions_assigned(list(consumer.assignment()))
        await fresh.recorded(await fresh.publish(given()), service=running)

    await require_balance(fresh)
    assert {"append failed", "shard lost", "cannot keep shards"}.isdisjoint(caplog.messages)
    (head,) = await fresh.fetch("SELECT next_pos, duplicates FROM shard_head WHERE shard = 1")
    assert (head["next_pos"], head["duplicates"]) == (4, 0)


async def test_who_joins_need_not_wait_for_the_lease_of_who_gives_up(fresh: Installation) -> None:
    first, second = (fresh.recorder(instance=name, lease_seconds=300.0) for name in ("first", "second"))
    async with serving(first.run()):
        await shared_by(fresh, "first")
        async with serving(second.run()):
            await shared_by(fresh, "first", "second")
