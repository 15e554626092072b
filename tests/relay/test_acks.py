"""What consumers report is taken into the database, with how late it was, and says who is behind.

Seen to fail: strangers' reports kept; an unreadable one stopping the others; only the last of several reports of a key
taken; the delay counted from the report and not from what it brought; a copy that lacks a partition taken for level;
a copy kept that was retired; the delay by the consumer's own clock; the delay of a watermark that is not committed.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from consent_ledger.domain.acks import Ack, ack_key, write_ack
from consent_ledger.relay.acks import Acks
from consent_ledger.relay.lane import take_over
from consent_ledger.relay.records import Records
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import acks, consumers
from consent_ledger.store.consumers import Instance
from relay.stage import CONTROLLER, NOON, Stage
from running import serving, until

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


def ack(instant: datetime, *, consumer: str = "tool", instance: str = "one", q: int = 0) -> Ack:
    return Ack(
        consumer=consumer, instance=instance, partition=q, offset=7, seq=3, instant=instant, applied_at=instant + MINUTE
    )  # fmt: skip


async def register(stage: Stage, name: str = "tool") -> None:
    connection = await connect(stage.settings.dsn, "consent_operator")
    await consumers.add(connection, name, controllers=[CONTROLLER], purposes=[], channels=[])
    await connection.close()


async def copies(stage: Stage) -> list[Instance]:
    connection = await connect(stage.settings.dsn, "consent_operator")
    found = await consumers.instances(connection, stage.settings.partitions)
    await connection.close()
    return found


async def delays(stage: Stage, table: str = "ack_delay") -> dict[tuple[int, int], float]:
    """By partition and minute after noon, in seconds."""
    rows = await stage.superuser.fetch(f"SELECT q, minute, worst FROM consent.{table}")  # noqa: S608
    return {(row["q"], (row["minute"] - NOON) // MINUTE): row["worst"].total_seconds() for row in rows}


async def test_each_minute_has_the_longest_delay_of_what_it_brought(stage: Stage) -> None:
    await register(stage)

    for instant, at in [(0, 1), (10, 12), (20, 21), (200, 205), (201, 203)]:
        await acks.take(stage.relay, [(ack(NOON + instant * SECOND), NOON + at * SECOND)])

    assert await delays(stage) == {(0, 0): 205 - 20, (0, 1): 205 - 60, (0, 2): 205 - 120, (0, 3): 205 - 180}


async def test_a_clock_that_jumps_makes_no_rows_without_end(stage: Stage) -> None:
    await register(stage)

    for instant in (NOON - timedelta(days=4000), NOON + timedelta(days=4000)):
        await acks.take(stage.relay, [(ack(instant), NOON)])

    assert len(await delays(stage)) == 30 * 24 * 60 + 1


async def test_reports_are_taken_from_the_topic_but_not_those_of_strangers(stage: Stage) -> None:
    await register(stage)
    now = datetime.now(UTC)
    odd: list[tuple[bytes | None, bytes | None]] = [
        write_ack(ack(now, consumer="stranger")),
        (b"tool/one/0", b"nonsense"),
        (b"tool/other/0", write_ack(ack(now, instance="one"))[1]),
        (b"\xff", b"\xff"),
        (b"nothing", None),
    ]
    good = [write_ack(ack(now - timedelta(seconds=9 - number), q=number % 2)) for number in range(10)]
    async with AIOKafkaProducer(**stage.settings.kafka()) as producer:
        for key, value in [*odd, *good]:
            await producer.send_and_wait(f"{stage.settings.topic_prefix}acks", value, key)

        async with serving(Acks(stage.settings).run()) as service:
            await until(lambda: _is_taken(stage, now), service=service)
            (copy,) = await copies(stage)
            for q in (0, 1):
                await producer.send_and_wait(f"{stage.settings.topic_prefix}acks", None, ack_key("tool", "one", q))
            await until(lambda: _is_gone(stage), service=service)

    assert (copy.consumer, copy.instance, copy.partitions) == ("tool", "one", [0, 1])
    assert copy.instant == now - timedelta(seconds=1)
    assert max((await delays(stage)).values()) < 3600


async def _is_taken(stage: Stage, instant: datetime) -> bool:
    return bool(await stage.superuser.fetchval("SELECT count(*) FROM consent.ack WHERE instant = $1", instant))


async def _is_gone(stage: Stage) -> bool:
    return not await stage.superuser.fetchval("SELECT count(*) FROM consent.ack")


async def test_several_reports_of_a_partition_in_one_batch_say_each_how_late_it_was(stage: Stage) -> None:
    await register(stage)
    now = datetime.now(UTC)
    async with AIOKafkaProducer(**stage.settings.kafka()) as producer:
        for ago in range(600, -1, -60):
            key, value = write_ack(ack(now - timedelta(seconds=ago)))
            await producer.send_and_wait(f"{stage.settings.topic_prefix}acks", value, key)

        async with serving(Acks(stage.settings).run()) as service:
            await until(lambda: _is_taken(stage, now), service=service)

    worst = list((await delays(stage)).values())
    assert len(worst) >= 10
    assert 600 <= max(worst) < 3600


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ([], 3600),
        ([{"q": 0}], 3600),
        ([{"q": 0}, {"q": 1}], 60),
        ([{"q": 0}, {"q": 1}, {"q": 0, "instance": "two"}], 3600),
        ([{"q": 0}, {"q": 1}, {"q": 0, "instance": "two"}, {"q": 1, "instance": "two", "ago": 120}], 120),
    ],
)
async def test_a_consumer_is_as_far_behind_as_its_copy_that_knows_least(
    stage: Stage, said: list[dict[str, Any]], seconds: float
) -> None:
    await register(stage)
    now = datetime.now(UTC)
    await stage.superuser.execute("UPDATE consent.consumer SET since = $1", now - timedelta(hours=1))

    for one in said:
        instant = now - timedelta(seconds=one.pop("ago", 60))
        await acks.take(stage.relay, [(ack(instant, **one), now)])

    assert (await acks.behind(stage.relay))["tool"] // 30 == seconds // 30


@pytest.mark.usefixtures("never_due")
async def test_what_is_published_is_late_by_the_time_of_its_commit(stage: Stage) -> None:
    records = Records(stage.keks)
    partition = await take_over(stage.settings, stage.relay, records, qs=[0], owner="test")
    assert partition is not None
    now = datetime.now(UTC)
    for ago in (300, 5):
        await stage.put(stage.numbers_on(0, 1))
        await stage.state_horizon(now - timedelta(seconds=ago))
        partition._mark_at = 0.0
        await partition.step()
        before = await delays(stage, "publish_delay")
        await partition.settle()
    after = await delays(stage, "publish_delay")
    await partition.end()

    assert before == {}
    assert len(after) in {5, 6}
    assert 300 <= max(after.values()) < 3600
    instant = await stage.superuser.fetchval("SELECT instant FROM consent.relay_head WHERE q = 0")
    assert instant == now - timedelta(seconds=5)
