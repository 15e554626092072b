"""A connector reads every record of a topic in order, and after a stop from its own place.

Seen to fail: a restart from the beginning; records of a transaction that has not ended given out; deleted records
passed over in silence; a watermark given out as an item.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from client.conftest import Topic
from client.topic import NOW, watermark
from consent_ledger.connectors.records import MISSED, Records
from consent_ledger.connectors.runner import Batch
from consent_ledger.connectors.state import Item
from consent_ledger.domain.leaf import micros


def item(record: ConsumerRecord) -> Item | None:
    return None if record.value == b"nothing" else Item(key=f"{record.partition}/{record.offset}", value=record.value)


def records(topic: Topic, name: str | None = None, *, committed: bool = False) -> Records:
    return Records(topic.kafka, name or topic.name, item, committed=committed)


async def through(source: Records, place: bytes | None = None) -> tuple[list[bytes], Batch]:
    """All values up to the end of the topic, and the last batch."""
    values: list[bytes] = []
    async with asyncio.timeout(20), aclosing(source.batches(place)) as batches:
        async for batch in batches:
            values += [one.value for one in batch.items]
            if batch.last:
                return values, batch
    raise AssertionError


async def test_everything_is_read_once_and_after_a_stop_what_is_new(topic: Topic) -> None:
    await topic.publish((b"a", b"1"), (b"a", b"2"), (b"b", b"nothing"))
    await topic.publish((b"c", b"3"), q=1)
    first, last = await through(records(topic))
    await topic.publish((b"a", b"4"))
    second, _ = await through(records(topic), last.place)

    assert (sorted(first), first.index(b"1") < first.index(b"2")) == ([b"1", b"2", b"3"], True)
    assert second == [b"4"]


async def test_the_places_say_how_far_the_suppressions_go(topic: Topic) -> None:
    await topic.publish((b"a", b"1"), watermark(NOW, seq=7))

    values, last = await through(records(topic))

    assert values == [b"1"]
    assert [(one.instant, one.seq, one.next_offset) for one in last.places] == [(micros(NOW), 7, 2), (0, 0, 0)]


async def test_what_is_not_committed_is_not_there(topic: Topic) -> None:
    await topic.publish((b"a", b"1"))
    producer = AIOKafkaProducer(**topic.kafka, transactional_id=topic.name)
    await producer.start()
    async with producer.transaction():
        await producer.send_and_wait(topic.name, b"2", b"a", partition=0)
        meanwhile, last = await through(records(topic, committed=True))
    await producer.stop()
    after, _ = await through(records(topic, committed=True), last.place)

    assert (meanwhile, after) == ([b"1"], [b"2"])


async def test_what_was_deleted_before_it_was_read_is_counted(topic: Topic) -> None:
    await topic.publish((b"a", b"1"))
    _, last = await through(records(topic))
    await topic.publish((b"a", b"2"), (b"a", b"3"), (b"a", b"4"))
    admin = AIOKafkaAdminClient(**topic.kafka)
    await admin.start()
    await admin.delete_records({TopicPartition(topic.name, 0): RecordsToDelete(before_offset=3)})
    await admin.close()
    before = MISSED.labels(topic.name)._value.get()
    values, _ = await through(records(topic), last.place)

    assert values == [b"4"]
    assert MISSED.labels(topic.name)._value.get() - before == 2


async def test_a_topic_that_is_not_there_is_waited_for_and_not_made(topic: Topic) -> None:
    missing = f"{topic.name}.later"
    async with asyncio.timeout(20), aclosing(records(topic, missing).batches(None)) as batches:
        assert await anext(batches) == Batch()
    admin = AIOKafkaAdminClient(**topic.kafka)
    await admin.start()
    names = await admin.list_topics()
    await admin.close()

    assert missing not in names


@pytest.fixture
async def topic(kafka: str, topic_prefix: str) -> AsyncIterator[Topic]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    made = Topic(kafka, f"{topic_prefix}suppressions", producer)
    admin = AIOKafkaAdminClient(**made.kafka)
    await admin.start()

    await admin.create_topics([NewTopic(made.name, 2, 1)])
    await admin.close()
    yield made
    await producer.stop()
