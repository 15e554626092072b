"""What a publisher has taken reaches the ledger once, whatever was down meanwhile.

Seen to fail: an event not on disk before it counts as taken, and lost with the process; deleted from the outbox before
it was delivered; one that is refused for good holding up the others; a repeated id kept twice; a malformed refusal
refused.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from api.conftest import REGISTER
from api.served import listening, make_key
from builders import SOURCE, email, given, withdrawn
from client.conftest import PARTITIONS, Topic
from client.processes import in_another_process
from consent_ledger.client import HttpTransport, KafkaTransport, Publisher
from consent_ledger.client.outbox import Outbox
from consent_ledger.domain.errors import MalformedError
from consent_ledger.runtime.local.ports import free_port
from running import Installation, SettableClock, installation, serving, until


async def read(topic: Topic) -> list[bytes]:
    """Everything that the topic holds."""
    found = []
    async with AIOKafkaConsumer(**topic.kafka, enable_auto_commit=False) as consumer:
        partitions = [TopicPartition(topic.name, q) for q in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            while await consumer.position(partition) < ends[partition]:
                found += (await consumer.getmany(partition, timeout_ms=100)).get(partition, [])
    return [record.value for record in found]


def to(topic: Topic) -> Callable[[], KafkaTransport]:
    return lambda: KafkaTransport(topic.kafka, topic=topic.name)


async def test_events_are_delivered_to_kafka_in_order_of_declaration(topic: Topic, tmp_path: Path) -> None:
    async with Publisher(tmp_path / "outbox.db", to(topic), source=SOURCE) as publisher:
        ids = [
            await publisher.publish_async("consent-withdrawn", withdrawn(email("an@example.be"))["data"])
            for _ in range(20)
        ]
        await asyncio.to_thread(publisher.flush, 20)
        again = await publisher.publish_async("consent-given", given()["data"], event_id=ids[0])

    found = [UUID(json.loads(value)["id"]) for value in await read(topic)]
    assert found[:20] == ids
    assert again == ids[0]


def test_what_the_ledger_would_reject_is_said_at_once_and_a_refusal_is_always_taken(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path / "outbox.db", lambda: KafkaTransport({}), source=SOURCE)

    with pytest.raises(MalformedError):
        publisher.publish("consent-gven", given()["data"])
    publisher.publish("consent-withdrawn", {"subject": "an@example.be", "purposes": 7})

    assert publisher.waiting() == 1


def test_an_event_with_the_id_of_one_that_waits_is_kept_once(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path / "outbox.db", lambda: KafkaTransport({}), source=SOURCE)
    event_id = uuid4()

    for _ in range(3):
        publisher.publish("consent-withdrawn", withdrawn()["data"], event_id=event_id)

    assert publisher.waiting() == 1


async def test_what_a_killed_process_had_taken_is_delivered_by_the_next(topic: Topic, tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    async with in_another_process("client.form", str(path)) as form:
        assert await form.said() == "taken"
        assert await form.said() == ""

    async with Publisher(path, to(topic), source=SOURCE) as publisher:
        left = publisher.waiting()
        await asyncio.to_thread(publisher.flush, 20)

    assert left == 5
    assert len(await read(topic)) == 5


async def test_an_event_too_large_for_kafka_is_parked_and_the_others_go_on(topic: Topic, tmp_path: Path) -> None:
    long = withdrawn()["data"] | {"note": "x" * 1_100_000}
    async with Publisher(tmp_path / "outbox.db", to(topic), source=SOURCE) as publisher:
        large = publisher.publish("consent-withdrawn", long)
        publisher.publish("consent-withdrawn", withdrawn()["data"])
        await asyncio.to_thread(publisher.flush, 20)

        assert [(one.event_id, one.reason) for one in publisher.parked()] == [(large, "TOO_LARGE")]
    assert len(await read(topic)) == 1


async def test_events_wait_for_a_service_that_is_down_and_reach_the_ledger_when_it_is_back(
    kafka: str, postgres: str, template: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        installation(kafka, postgres, template, tmp_path) as made,
        serving(made.recorder().run()) as recorder,
    ):
        await made.recorded(await made.load_register(REGISTER), service=recorder)
        port, key = free_port(), await make_key(made, ["publish"], [SOURCE], ["*"])
        way = f"http://127.0.0.1:{port}"
        async with Publisher(tmp_path / "outbox.db", lambda: HttpTransport(way, key), source=SOURCE) as publisher:
            first = publisher.publish("consent-withdrawn", withdrawn()["data"])
            await until(lambda: _has_failed(caplog))
            chosen = made.settings.model_copy(update={"api_port": port})
            async with listening(chosen, made.keks, SettableClock()):
                second = publisher.publish("consent-given", given()["data"])
                await asyncio.to_thread(publisher.flush, 30)
            await made.recorded_to_the_end(service=recorder)
            assert await _entries(made) == {first, second}


async def _has_failed(caplog: pytest.LogCaptureFixture) -> bool:
    return "events wait: the ledger is out of reach" in caplog.text


async def _entries(made: Installation) -> set[UUID]:
    return {row["event_id"] for row in await made.fetch("SELECT event_id FROM ledger WHERE shard > 0")}


async def test_what_the_service_refuses_for_good_is_parked_and_may_be_sent_again(
    kafka: str, postgres: str, template: str, tmp_path: Path
) -> None:
    async with installation(kafka, postgres, template, tmp_path) as made:
        key = await make_key(made, ["publish"], ["*"], ["*"])
        outbox = Outbox(tmp_path / "outbox.db")
        control = uuid4()
        outbox.put(control, b"no event at all")
        chosen = made.settings.model_copy(update={"api_port": 0})
        async with (
            listening(chosen, made.keks, SettableClock()) as url,
            Publisher(outbox.path, lambda: HttpTransport(url, key), source=SOURCE) as publisher,
        ):
            publisher.publish("consent-withdrawn", withdrawn()["data"])
            await asyncio.to_thread(publisher.flush, 20)
            parked = publisher.parked()

    assert [one.event_id for one in parked] == [control]
    assert outbox.retry_parked() == 1
    assert len(outbox) == 1
