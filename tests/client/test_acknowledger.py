"""A view reports what it has applied, and goes on following when it cannot.

Seen to fail: reported once only; every report under one partition; a name that no consumer can have.
"""

from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from client.conftest import PARTITIONS, Topic
from client.topic import KEY, NOW, SHOP, Clock, address, purposes, watermark, yes
from consent_ledger.client import SuppressionView
from consent_ledger.client.acknowledger import instance_of
from consent_ledger.domain.acks import Ack, read_ack
from consent_ledger.domain.durations import rfc3339
from running import until

AN = "an@example.be"
YES = {"newsletter": {"email": yes()}}


async def reports(topic: Topic, name: str) -> list[Ack]:
    partition = TopicPartition(name, 0)
    found: list[Ack] = []
    async with AIOKafkaConsumer(**topic.kafka, enable_auto_commit=False) as consumer:
        consumer.assign([partition])
        consumer.seek(partition, 0)
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            some = (await consumer.getmany(partition, timeout_ms=100)).get(partition, [])
            found += [read_ack(record.key, record.value) for record in some]
    return found


async def test_a_view_reports_each_partition_again_whenever_its_watermark_moves(topic: Topic, tmp_path: Path) -> None:
    name = f"{topic.name}.acks"
    admin = AIOKafkaAdminClient(**topic.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs={"cleanup.policy": "compact"})])
    await admin.close()
    await topic.publish(purposes(), address(AN, YES))
    await topic.publish_everywhere([watermark()])

    async def are_reported(seq: int) -> bool:
        return {ack.partition for ack in await reports(topic, name) if ack.seq == seq} == set(range(PARTITIONS))

    async with SuppressionView(
        tmp_path, [KEY], topic.kafka, topic=topic.name, clock=Clock(), consumer="tool", acks=name
    ) as view:
        await view.ready(20)
        await until(lambda: are_reported(1))
        await topic.publish_everywhere([watermark(seq=2)])
        later = NOW.replace(minute=1)
        await topic.publish_everywhere([watermark(later, seq=3)])
        await until(lambda: are_reported(3))

    found = await reports(topic, name)
    assert {(ack.consumer, ack.instance) for ack in found} == {("tool", instance_of(tmp_path))}
    assert {rfc3339(ack.instant) for ack in found if ack.seq == 3} == {rfc3339(later)}
    assert [ack.offset for ack in found if ack.seq == 3 and ack.partition == 0] == [5]


async def test_a_view_that_cannot_report_follows_all_the_same(
    topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Ack] = []

    def fail(ack: Ack) -> tuple[bytes, bytes]:
        tried.append(ack)
        raise msgspec.MsgspecError

    monkeypatch.setattr("consent_ledger.client.acknowledger.write_ack", fail)
    async with SuppressionView(tmp_path, [KEY], topic.kafka, topic=topic.name, clock=Clock(), consumer="tool") as view:
        await topic.publish(purposes(), address(AN, YES))
        await topic.publish_everywhere([watermark()])
        await until(lambda: _came(tried))
        await topic.publish(address("bo@example.be", YES, version=2))
        await topic.publish_everywhere([watermark(seq=2)])

        async def is_allowed() -> bool:
            return bool(view.decide(SHOP, "bo@example.be", "newsletter", "email"))

        await until(is_allowed)


async def _came(tried: list[Ack]) -> bool:
    return bool(tried)


@pytest.mark.parametrize("name", ["", "an@example.be", "a/b", "Tool", "x" * 64])
def test_a_name_that_no_consumer_can_have_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        SuppressionView(tmp_path, [KEY], {}, consumer=name)
