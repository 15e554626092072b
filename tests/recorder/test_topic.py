"""A topic that is not the one the ledger has read, or that has lost records unread, stops the recorder.

Seen to fail: the end of the topic not compared; the last record taken not compared, and compared without its
timestamp; the beginning not compared; a record needed that was read and has gone since; an offset out of range passed
over; a shard always beginning at 0.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from builders import given
from consent_ledger.recorder.inspect import TopicLostError
from consent_ledger.runtime import topics
from recorder.reading import outcome, require_balance
from running import Installation, Place, installation, serving, until


@pytest.fixture
async def fresh(kafka: str, postgres: str, template: str, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(kafka, postgres, template, tmp_path, lease_seconds=1.0) as home:
        yield home


async def record(home: Installation, count: int) -> list[Place]:
    """Publish, and record with a recorder that ends thereafter."""
    async with serving(home.recorder().run()) as recorder:
        places = [await home.publish(given()) for _ in range(count)]
        await home.recorded(*places, service=recorder)
    return places


async def recreate_events(home: Installation) -> None:
    admin = AIOKafkaAdminClient(**home.settings.kafka())
    await admin.start()
    name = f"{home.settings.topic_prefix}events"
    await admin.delete_topics([name])

    async def is_gone() -> bool:
        return name not in await admin.list_topics()

    await until(is_gone)
    await admin.close()
    await topics.apply(home.settings.kafka(), prefix=home.settings.topic_prefix, partitions=home.settings.partitions)


async def delete_records(home: Installation, before: int) -> None:
    """Let the broker do what retention does, at once."""
    topic, partition = home.partition(1)
    admin = AIOKafkaAdminClient(**home.settings.kafka())
    await admin.start()
    await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before)})
    await admin.close()


async def require_stop(home: Installation, match: str) -> None:
    recorded = await home.next_offset(1)

    with pytest.raises(TopicLostError, match=match):
        await asyncio.wait_for(home.recorder().run(), 20)

    assert await home.next_offset(1) == recorded
    await require_balance(home)


async def test_a_recreated_topic_that_is_shorter_is_refused(fresh: Installation) -> None:
    await record(fresh, 3)
    await recreate_events(fresh)
    await fresh.publish(given())

    await require_stop(fresh, r"events/0 ends at 1, the ledger has read up to 3")


async def test_a_recreated_topic_that_has_grown_past_the_old_place_is_refused(fresh: Installation) -> None:
    await record(fresh, 3)
    await recreate_events(fresh)
    for _ in range(5):
        await fresh.publish(given())

    await require_stop(fresh, r"events/0 holds another record at 2")


async def test_a_topic_recreated_with_the_very_same_records_is_refused(fresh: Installation) -> None:
    said = given()
    async with serving(fresh.recorder().run()) as recorder:
        await fresh.recorded(await fresh.publish(said), service=recorder)
    await recreate_events(fresh)
    await fresh.publish(said)
    await fresh.publish(given())

    await require_stop(fresh, r"events/0 holds another record at 0")


async def recreate_while_recording(home: Installation) -> None:
    async with serving(home.recorder().run()) as recorder:
        await home.recorded(*[await home.publish(given()) for _ in range(3)], service=recorder)
        await recreate_events(home)
        await home.publish(given())
        await asyncio.wait({recorder}, timeout=20)


async def test_a_topic_recreated_under_a_running_recorder_stops_it(fresh: Installation) -> None:
    with pytest.raises(TopicLostError, match="ends at 1, the ledger has read up to 3"):
        await recreate_while_recording(fresh)

    assert await fresh.next_offset(1) == 3


async def test_records_that_went_before_they_were_read_stop_the_recorder(fresh: Installation) -> None:
    await record(fresh, 2)
    for _ in range(3):
        await fresh.publish(given())
    await delete_records(fresh, 4)

    await require_stop(fresh, r"events/0 begins at 4, the ledger needs 2: retention too short")


async def test_records_that_go_after_they_were_read_do_not_matter(fresh: Installation) -> None:
    await record(fresh, 3)
    await delete_records(fresh, 3)

    (place,) = await record(fresh, 1)

    assert (await outcome(fresh, place)).entry


async def test_a_ledger_that_begins_later_than_its_topic_begins_at_the_oldest_record(fresh: Installation) -> None:
    for _ in range(3):
        await fresh.publish(given())
    await delete_records(fresh, 2)

    (place,) = await record(fresh, 1)

    rows = await fresh.fetch("SELECT start_offset, next_offset, next_pos FROM shard_head WHERE shard = 1")
    assert [tuple(row) for row in rows] == [(2, place.offset + 1, 2)]
    await require_balance(fresh)
