"""A poll that fails loses nothing of what it had already taken from other partitions; a poll brings all there is.

Seen to fail: fetching on while records are dealt with; positions not put back after a poll that failed; the position
moved for a page before all pages were had; an offset that is gone raised as an error.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CorruptRecordException, LeaderNotAvailableError

from builders import given
from consent_ledger.recorder.consumer import ShardConsumer
from consent_ledger.recorder.unreadable import read_leniently
from recorder.test_hostile import RawKey, raw_header_keys
from running import Installation, until


@pytest.fixture
async def consumer(bare: Installation) -> AsyncIterator[ShardConsumer]:
    """Reads both event partitions from their ends on."""
    both = [bare.partition(1), bare.partition(2)]

    async def ready(_: ShardConsumer) -> list[TopicPartition]:
        return both

    options = {**bare.settings.kafka(), "isolation_level": "read_committed", "auto_offset_reset": "none"}
    async with ShardConsumer(before_poll=ready, **options) as one:
        one.assign(both)
        for partition, end in (await one.end_offsets(both)).items():
            one.seek(partition, end)
        yield one


async def make_ready(home: Installation, consumer: ShardConsumer, *, headers: Any = ()) -> None:
    """Let a plain record of shard 1, and behind it one of shard 2 with these headers, lie ready to be taken."""
    with raw_header_keys():
        await home.publish(given(), shard=1)
        await home.publish(given(), shard=2, headers=headers)
    fetched = consumer._fetcher._records

    async def both_lie_ready() -> bool:
        return all(home.partition(shard) in fetched for shard in (1, 2))

    await until(both_lie_ready)
    fetched.move_to_end(home.partition(2))


async def offsets(home: Installation, consumer: ShardConsumer) -> list[int]:
    return [await consumer.position(home.partition(shard)) for shard in (1, 2)]


async def taken(home: Installation, consumer: ShardConsumer) -> list[int]:
    """How many records come of each shard until both have come."""
    count = {home.partition(1): 0, home.partition(2): 0}
    while not all(count.values()):
        for partition, records in (await consumer.getmany(timeout_ms=1000, max_records=100)).items():
            count[partition] += len(records)
    return list(count.values())


async def test_an_unreadable_record_that_cannot_be_fetched_again_at_once_costs_nothing(
    bare: Installation, consumer: ShardConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await offsets(bare, consumer)
    await make_ready(bare, consumer, headers=[(RawKey("x"), b"")])
    asked: list[TopicPartition] = []

    async def fails_for_the_second(*arguments: Any) -> Any:
        asked.append(arguments[1])
        if len(asked) == 2:
            raise LeaderNotAvailableError
        return await read_leniently(*arguments)

    monkeypatch.setattr("consent_ledger.recorder.consumer.read_leniently", fails_for_the_second)
    with pytest.raises(LeaderNotAvailableError):
        await consumer.getmany(timeout_ms=1000, max_records=100)

    assert await offsets(bare, consumer) == before
    assert await taken(bare, consumer) == [1, 1]


async def test_a_broken_batch_costs_the_other_partitions_nothing(
    bare: Installation, consumer: ShardConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await offsets(bare, consumer)
    await make_ready(bare, consumer)
    broken = consumer._fetcher._records[bare.partition(2)]

    def raises(_: int | None) -> None:
        raise CorruptRecordException

    with monkeypatch.context() as patch:
        patch.setattr(broken, "getall", raises)
        with pytest.raises(CorruptRecordException):
            await consumer.getmany(timeout_ms=1000, max_records=100)

    assert await offsets(bare, consumer) == before
    assert await taken(bare, consumer) == [1, 1]


async def test_an_offset_that_is_gone_is_told_and_the_other_partition_goes_on(
    bare: Installation, consumer: ShardConsumer
) -> None:
    consumer.seek(bare.partition(2), 1_000)
    await bare.publish(given(), shard=1)

    found: list[int] = []
    while not (found and consumer.out_of_range):
        for partition, records in (await consumer.getmany(timeout_ms=1000, max_records=100)).items():
            found.append(partition.partition)
            assert len(records) == 1

    assert found == [0]
    assert consumer.out_of_range == {bare.partition(2)}


async def test_a_poll_brings_all_that_arrived_while_the_records_of_the_last_were_dealt_with(
    bare: Installation, consumer: ShardConsumer
) -> None:
    await make_ready(bare, consumer)
    await consumer.getmany(timeout_ms=1000, max_records=100)
    await bare.publish(given(), shard=1)
    # Whoever goes on fetching has it by the time that another reader has it.
    await read_to_end(bare, shard=1)
    await bare.publish(given(), shard=2)

    found = await consumer.getmany(timeout_ms=1000, max_records=100)

    assert {partition.partition for partition in found} == {0, 1}


async def read_to_end(home: Installation, *, shard: int) -> None:
    partition = home.partition(shard)
    async with AIOKafkaConsumer(**home.settings.kafka(), enable_auto_commit=False) as reader:
        reader.assign([partition])
        end = (await reader.end_offsets([partition]))[partition]
        reader.seek(partition, 0)
        while await reader.position(partition) < end:
            await reader.getmany(partition, timeout_ms=1000)
