"""A relay publishes what changes for as long as it runs, another takes over from it, and failures are begun again.

Seen to fail:
- nobody woken by what is new; nothing committed by time; only the first horizon stated;
- at the end nothing committed, tasks cancelled at once, the lease kept;
- no second attempt after a failure; the topics not checked.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from consent_ledger.relay.app import Relay, WrongTopicsError
from consent_ledger.runtime.clock import SystemClock
from relay.stage import NOON, Stage, own, versions, watermarks
from running import serving, until


def relay_of(stage: Stage, **settings: object) -> Relay:
    return Relay(stage.settings.model_copy(update=settings), stage.keks, SystemClock())


@asynccontextmanager
async def publishing(stage: Stage, **settings: object) -> AsyncIterator[asyncio.Task[None]]:
    """Run a relay until it owns both partitions, and beyond."""
    async with serving(relay_of(stage, **settings).run()) as service:
        await until(lambda: owns_everything(stage), service=service)
        yield service


async def owns_everything(stage: Stage) -> bool:
    owned = "SELECT count(*) FROM consent.relay_head WHERE lease_until > clock_timestamp()"
    return bool(await stage.superuser.fetchval(owned) == stage.settings.partitions)


async def is_published(stage: Stage, number: int, version: int, *, q: int = 0) -> bool:
    return version in versions(await stage.read(q), stage.key_of(number))


async def is_settled(stage: Stage, version: int, *, q: int = 0) -> bool:
    return await stage.cursor(q) == version


async def test_a_change_is_published_committed_and_forgotten(stage: Stage) -> None:
    (number,) = stage.numbers_on(0, 1)

    async with publishing(stage) as service:
        version = await stage.put([number], own=own(allow=False, reason="OBJECTION_DM"))
        await until(lambda: is_settled(stage, version), service=service)

    assert versions(await stage.read_after_commit(0), stage.key_of(number)) == [version]
    assert await stage.unsent(0) == 0


@pytest.mark.usefixtures("never_due")
async def test_a_change_is_published_when_it_is_seen_and_not_only_when_it_is_time_to_commit(stage: Stage) -> None:
    (number,) = stage.numbers_on(0, 1)

    async with publishing(stage) as service:
        for version in (1, 2, 3):
            await stage.put([number])
            await until(lambda version=version: is_published(stage, number, version), service=service)  # type: ignore[misc]


async def test_watermarks_follow_the_horizon_on_every_partition(stage: Stage) -> None:
    async def is_stated(instant: str) -> bool:
        read = [await stage.read(q) for q in range(stage.settings.partitions)]
        return all(instant in [mark["instant"] for mark in watermarks(records)] for records in read)

    async with publishing(stage) as service:
        for minute in range(3):
            await stage.state_horizon(NOON + timedelta(minutes=minute))
            await until(lambda minute=minute: is_stated(f"2026-03-01T12:0{minute}:00.000Z"), service=service)  # type: ignore[misc]


async def test_a_relay_that_ends_commits_what_it_sent_and_frees_its_partitions(stage: Stage) -> None:
    numbers = stage.numbers_on(0, 20)

    async with publishing(stage) as service:
        version = await stage.put(numbers)
        await until(lambda: is_published(stage, numbers[-1], version), service=service)

    assert await stage.cursor(0) == version
    assert len(await stage.read_after_commit(0)) >= len(numbers)
    assert await stage.superuser.fetchval("SELECT bool_and(lease_until < now()) FROM consent.relay_head")


async def test_another_relay_takes_over_without_waiting_for_the_lease_of_one_that_ended(stage: Stage) -> None:
    (number,) = stage.numbers_on(0, 1)
    async with publishing(stage):
        pass

    async with publishing(stage) as service:
        version = await stage.put([number])
        await until(lambda: is_settled(stage, version), service=service)

    assert await stage.epoch(0) == 2


async def test_a_relay_whose_transactions_are_taken_from_it_takes_its_partition_over_again(stage: Stage) -> None:
    (number,) = stage.numbers_on(0, 1)
    intruder = AIOKafkaProducer(**stage.settings.kafka(), transactional_id=f"{stage.settings.topic_prefix}relay-0")

    async with publishing(stage) as service:
        await stage.put([number])
        await until(lambda: is_published(stage, number, 1), service=service)
        await intruder.start()
        await intruder.stop()
        version = await stage.put([number])
        await until(lambda: is_settled(stage, version), service=service)

    published = versions(await stage.read(0), stage.key_of(number))
    assert published == sorted(published)
    assert published[-1] == version
    assert await stage.epoch(0) == 2


async def test_a_relay_that_lost_its_connections_goes_on(stage: Stage) -> None:
    (number,) = stage.numbers_on(0, 1)
    end_all = """
        SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
         WHERE application_name = 'consent_relay' AND datname = current_database() AND pid <> ALL($1::int[])
    """

    async with publishing(stage, lease_seconds=2.0) as service:
        await stage.superuser.execute(end_all, [stage.relay.get_server_pid()])
        version = await stage.put([number])
        await until(lambda: is_settled(stage, version), service=service)

    # Once more if it was sent before the loss was noticed; nothing older.
    assert set(versions(await stage.read_after_commit(0), stage.key_of(number))) == {version}


async def test_a_relay_refuses_topics_on_which_records_would_be_looked_for_elsewhere(stage: Stage) -> None:
    admin = AIOKafkaAdminClient(**stage.settings.kafka())
    await admin.start()
    await admin.create_partitions({f"{stage.settings.topic_prefix}suppressions": NewPartitions(3)})
    await admin.close()

    with pytest.raises(WrongTopicsError, match="partitions is 3, wanted 2"):
        await asyncio.wait_for(relay_of(stage).run(), timeout=10)
