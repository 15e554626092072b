"""The topics are as the ledger needs them, or a service can tell why it must not start.

Seen to fail:
- `message.timestamp.type`, `retention.bytes` or the size of `rejected` left out of the declared settings;
- a look that asks for the topics by name (brokers may make a topic that is asked for, with settings of their own);
- an alteration that does not repeat the settings that are the topic's own;
- `suppressions` declared as growing, and partitions refused only after the other settings were altered;
- `message.timestamp.type` not held to be vital;
- as many copies needed as there are;
- `partition_of` without its mask of the sign, and without its tail; a lane that reaches into the next.
"""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError
from aiokafka.partitioner import murmur2

from consent_ledger.runtime.topics import (
    Difference,
    PartitionsError,
    apply,
    check,
    declared,
    partition_of,
    partitions_of,
)

NOON_OF_2019_07_01_MS = 1_561_982_400_000
POSITIVE = 1 << 31


@pytest.fixture
async def admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await client.start()
    yield client
    await client.close()


async def own_settings(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    of_the_topic = 1
    return {name: value for name, value, _, source, *_ in answer.resources[0][4] if source == of_the_topic}


def named(differences: list[Difference]) -> set[tuple[str, str]]:
    return {(difference.topic, difference.setting) for difference in differences}


async def test_apply_makes_every_topic_and_has_then_nothing_to_do(kafka: str, topic_prefix: str) -> None:
    servers = {"bootstrap_servers": kafka}

    made = await apply(servers, prefix=topic_prefix, partitions=3)

    assert {(each.topic, each.found, each.wanted) for each in made} == {
        (f"{topic_prefix}events", None, "3"),
        (f"{topic_prefix}control", None, "1"),
        (f"{topic_prefix}rejected", None, "3"),
        (f"{topic_prefix}suppressions", None, "3"),
        (f"{topic_prefix}changes", None, "3"),
        (f"{topic_prefix}acks", None, "1"),
        (f"{topic_prefix}checkpoints", None, "1"),
    }
    assert await check(servers, prefix=topic_prefix, partitions=3) == []
    assert await apply(servers, prefix=topic_prefix, partitions=3) == []


async def test_topics_that_are_missing_stop_a_service_and_are_not_made_by_looking(
    kafka: str, topic_prefix: str, admin: AIOKafkaAdminClient
) -> None:
    missing = await check({"bootstrap_servers": kafka}, prefix=topic_prefix, partitions=3)

    assert len(missing) == 7
    assert all(difference.vital for difference in missing)
    assert str(missing[0]) == f"{topic_prefix}events: partitions is missing, wanted 3"
    assert not [topic for topic in await admin.list_topics() if topic.startswith(topic_prefix)]


async def given(admin: AIOKafkaAdminClient, topic: str, **settings: str) -> None:
    """Let a topic of one copy have our settings but for these, and wait until the broker shows it."""
    (ours,) = [each.settings(1) for each in declared("", 1) if topic.endswith(each.name)]
    told = {**ours, **{key.replace("_", "."): value for key, value in settings.items()}}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, told)])
    async with asyncio.timeout(10):
        while await own_settings(admin, topic) != told:
            await asyncio.sleep(0.02)


async def existing(admin: AIOKafkaAdminClient, *topics: NewTopic) -> None:
    """Make topics as somebody else might have, and wait until the broker shows them."""
    await admin.create_topics(list(topics))
    async with asyncio.timeout(10):
        while not {topic.name for topic in topics} <= set(await admin.list_topics()):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("topic", "settings"),
    [
        ("events", {"message_timestamp_type": "CreateTime"}),
        ("events", {"cleanup_policy": "compact"}),
        ("events", {"retention_ms": "60000"}),
        ("events", {"retention_bytes": "1000000"}),
        ("control", {"retention_ms": "604800000"}),
        ("suppressions", {"cleanup_policy": "delete"}),
    ],
)
async def test_a_setting_that_would_lose_events_stops_a_service_until_it_is_mended(
    kafka: str, topic_prefix: str, admin: AIOKafkaAdminClient, topic: str, settings: dict[str, str]
) -> None:
    servers = {"bootstrap_servers": kafka}
    await apply(servers, prefix=topic_prefix, partitions=1)
    await given(admin, topic_prefix + topic, **settings)

    (seen,) = await check(servers, prefix=topic_prefix, partitions=1)
    mended = await apply(servers, prefix=topic_prefix, partitions=1)

    assert (seen.topic, seen.setting.replace(".", "_"), seen.found) == (topic_prefix + topic, *settings.popitem())
    assert seen.vital
    assert mended == [seen]
    assert await check(servers, prefix=topic_prefix, partitions=1) == []


async def test_a_setting_that_only_costs_space_stops_nothing_and_one_that_is_not_ours_stays(
    kafka: str, topic_prefix: str, admin: AIOKafkaAdminClient
) -> None:
    servers, name = {"bootstrap_servers": kafka}, f"{topic_prefix}suppressions"
    await apply(servers, prefix=topic_prefix, partitions=1)
    await given(admin, name, compression_type="lz4", segment_bytes="20971520")

    (seen,) = await apply(servers, prefix=topic_prefix, partitions=1)

    assert (seen.setting, seen.vital) == ("compression.type", False)
    assert (await own_settings(admin, name))["segment.bytes"] == "20971520"


async def test_the_events_topic_grows_and_never_shrinks(
    kafka: str, topic_prefix: str, admin: AIOKafkaAdminClient
) -> None:
    servers = {"bootstrap_servers": kafka}
    await existing(admin, NewTopic(f"{topic_prefix}events", 2, 1))

    grown = await apply(servers, prefix=topic_prefix, partitions=3)

    assert (f"{topic_prefix}events", "partitions") in named(grown)
    assert await check(servers, prefix=topic_prefix, partitions=3) == []
    with pytest.raises(PartitionsError, match=r"events has 3 partitions and cannot be given 2"):
        await apply(servers, prefix=topic_prefix, partitions=2)


async def test_the_topic_of_addresses_keeps_its_partitions_and_nothing_else_is_touched(
    kafka: str, topic_prefix: str, admin: AIOKafkaAdminClient
) -> None:
    servers = {"bootstrap_servers": kafka}
    await existing(admin, NewTopic(f"{topic_prefix}suppressions", 2, 1), NewTopic(f"{topic_prefix}events", 3, 1))
    before = await check(servers, prefix=topic_prefix, partitions=3)

    with pytest.raises(PartitionsError, match=r"suppressions has 2 partitions and cannot be given 3"):
        await apply(servers, prefix=topic_prefix, partitions=3)

    assert await check(servers, prefix=topic_prefix, partitions=3) == before


async def published(kafka: str, topic: str, value: bytes, **producing: int) -> ConsumerRecord:
    async with AIOKafkaProducer(bootstrap_servers=kafka, max_request_size=4 << 20) as producer:
        sent = await producer.send_and_wait(topic, value, key=b"socomec/email/9f2c", **producing)
    async with AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest") as consumer:
        record = await consumer.getone()
    assert (record.partition, record.offset) == (sent.partition, sent.offset)
    return record


async def test_a_record_dated_2019_is_as_old_as_its_arrival(kafka: str, topic_prefix: str) -> None:
    await apply({"bootstrap_servers": kafka}, prefix=topic_prefix, partitions=3)

    record = await published(kafka, f"{topic_prefix}events", b"{}", timestamp_ms=NOON_OF_2019_07_01_MS)

    appended = 1
    assert record.timestamp_type == appended
    assert record.timestamp > NOON_OF_2019_07_01_MS
    assert record.partition == partition_of(b"socomec/email/9f2c", 3)


async def test_a_message_over_a_mebibyte_is_no_event_but_fits_among_the_rejected(kafka: str, topic_prefix: str) -> None:
    await apply({"bootstrap_servers": kafka}, prefix=topic_prefix, partitions=3)
    body = os.urandom(1 << 20)

    with pytest.raises(MessageSizeTooLargeError):
        await published(kafka, f"{topic_prefix}events", body)

    assert (await published(kafka, f"{topic_prefix}rejected", body)).value == body


def test_one_copy_of_several_may_be_away() -> None:
    (events, *_) = declared("consent.", 8)

    assert [events.settings(copies)["min.insync.replicas"] for copies in (1, 2, 3)] == ["1", "2", "2"]


@pytest.mark.parametrize(
    ("key", "java"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_a_key_has_the_partition_that_java_gives_it(key: bytes, java: int) -> None:
    assert partition_of(key, POSITIVE) == java & (POSITIVE - 1)


@pytest.mark.parametrize("length", range(90))
def test_a_key_has_the_partition_that_other_clients_give_it(length: int) -> None:
    key = os.urandom(length)

    assert partition_of(key, POSITIVE) == murmur2(key) & (POSITIVE - 1)


def test_many_keys_have_the_partitions_that_each_has_alone() -> None:
    keys = [os.urandom(length) for length in (0, 3, 4, 79, 79, 81, 4, 79, 0)]

    assert partitions_of(keys, POSITIVE) == [murmur2(key) & (POSITIVE - 1) for key in keys]
    assert partitions_of([], POSITIVE) == []


async def test_brokers_that_do_not_answer_are_an_error() -> None:
    with pytest.raises(KafkaConnectionError):
        await check({"bootstrap_servers": "127.0.0.1:1"}, prefix="consent.", partitions=3)
