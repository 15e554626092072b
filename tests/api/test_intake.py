"""Events over HTTP: what is acknowledged is on Kafka untouched, and who waits hears what the ledger made of it.

Seen to fail: loads of a register let through; sources not looked at; a refusal without a readable source refused; the
value encoded anew; headers dropped; the wait not waited, one offset short, without a limit; one event too many; one
byte too many; 400 for a batch of which every event is wrong; what was refused at the door left out of the results; the
warning dropped; a duplicate told as an entry, a rejected record as an entry, a renamed refusal by the place of the
event that had the id before; a record that is too large for Kafka answered 500.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

import builders
from api.served import BATCH, STRUCTURED, Api, served
from builders import email, event, given, objected
from running import Installation, installation, serving

Address = Callable[[], str]


async def held(installed: Installation, event_id: str) -> ConsumerRecord:
    """Find the record of an event that Kafka holds."""
    partitions = [installed.partition(1), installed.partition(2)]
    async with AIOKafkaConsumer(**installed.settings.kafka()) as consumer:
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        while True:
            found: dict[TopicPartition, list[ConsumerRecord]] = await consumer.getmany(timeout_ms=5000)
            assert found
            for records in found.values():
                for record in records:
                    if event_id.encode() in record.value + b"".join(value or b"" for _, value in record.headers):
                        return record


# -- onto Kafka


async def test_a_structured_event_is_acknowledged_and_on_kafka_byte_for_byte(
    api: Api, installed: Installation, address: Address
) -> None:
    said = given(email(address()))
    body = json.dumps(said, indent=3).encode()

    answer = await api.client.post("/v1/events", content=body, headers={"Content-Type": STRUCTURED})

    assert answer.status_code == 202
    assert answer.json() == {"accepted": [{"id": said["id"]}], "rejected": []}
    assert (await held(installed, said["id"])).value == body


async def test_a_binary_event_keeps_its_attributes_in_the_headers(
    api: Api, installed: Installation, address: Address
) -> None:
    said = given(email(address()))
    attributes = {f"ce-{name}": said[name] for name in ("specversion", "id", "source", "type", "time")}

    answer = await api.client.post("/v1/events", json=said["data"], headers={"Prefer": "wait=20", **attributes})

    assert answer.json()["results"][0]["status"] == "entry"
    record = await held(installed, said["id"])
    assert json.loads(record.value) == said["data"]
    assert dict(record.headers)["ce_source"] == said["source"].encode()


async def test_every_event_of_a_batch_is_judged_by_itself(api: Api, address: Address) -> None:
    good, no_zone, refusal = given(email(address())), given(time="2026-03-01T09:00:00"), objected(email(address()))

    answer = await api.publish(good, no_zone, "nonsense", refusal)

    assert answer.status_code == 202
    said = answer.json()
    assert said["accepted"] == [{"id": good["id"]}, {"id": refusal["id"]}]
    assert [(item["index"], item["id"], item["problem"]["title"]) for item in said["rejected"]] == [
        (1, no_zone["id"], "BAD_TIME"),
        (2, None, "NOT_CLOUDEVENT"),
    ]
    assert said["rejected"][0]["problem"]["type"] == "urn:consent-ledger:problem:bad-time"


async def test_a_malformed_refusal_is_accepted_with_a_warning_and_suppresses(
    api: Api, installed: Installation, address: Address
) -> None:
    said = objected(email(address()), time="yesterday", kind=["?"])

    warned = await api.publish(said)
    (result,) = await api.recorded(objected(email(address()), time="yesterday"))

    assert warned.json() == {"accepted": [{"id": said["id"], "warning": "BAD_TIME"}], "rejected": []}
    assert json.loads((await held(installed, said["id"])).value) == said
    assert (result["status"], result["reason"]) == ("entry", "BAD_TIME")
    assert isinstance(result["position"], int)


async def test_events_of_one_person_share_a_key_that_tells_nothing(
    api: Api, installed: Installation, address: Address
) -> None:
    person = address()
    first, second = given(email(person)), objected(email(person))
    await api.publish(first, second)

    keys = {(await held(installed, said["id"])).key for said in (first, second)}

    (key,) = keys
    assert len(key) == 3
    assert int(key, 16) < 4096


# -- what is refused


async def test_four_hundred_is_only_for_what_cannot_be_read_at_all(api: Api) -> None:
    for content_type in (STRUCTURED, BATCH):
        answer = await api.client.post("/v1/events", content=b"{nonsense", headers={"Content-Type": content_type})

        assert answer.status_code == 400
        assert answer.json()["type"] == "urn:consent-ledger:problem:not-json"
        assert answer.headers["content-type"] == "application/problem+json"


async def test_an_unknown_content_type_is_415(api: Api) -> None:
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/json"}, {}):
        answer = await api.client.post("/v1/events", content=b"{}", headers=headers)

        assert answer.status_code == 415


async def test_loads_of_a_register_are_not_published_over_http(api: Api) -> None:
    answer = await api.publish(given(), builders.register_loaded())

    assert answer.status_code == 422
    assert answer.json()["index"] == 1


async def test_a_body_over_one_mebibyte_is_413_announced_or_not(api: Api) -> None:
    async def unannounced() -> Any:
        for _ in range(17):
            yield b" " * 65_536

    for content in (b" " * (1_048_576 + 1), unannounced()):
        answer = await api.client.post("/v1/events", content=content, headers={"Content-Type": BATCH})

        assert answer.status_code == 413


@pytest.mark.parametrize("announced", ["Content-Length: 1048577\r\nExpect: 100-continue", "Content-Length: 67108865"])
async def test_who_announces_far_too_much_is_told_before_sending_it(api: Api, announced: str) -> None:
    url = api.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    authorization = api.client.headers["authorization"]
    writer.write(
        f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n{announced}\r\n\r\n".encode()
    )

    async with asyncio.timeout(10):
        answer = await reader.read()

    writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


async def test_an_event_that_kafka_finds_too_large_is_413_and_the_next_one_is_taken(api: Api, address: Address) -> None:
    said = given(email(address()), padding="")
    said["data"]["padding"] = "x" * (1_048_576 - len(json.dumps(said)))
    large = await api.client.post("/v1/events", content=json.dumps(said).encode(), headers={"Content-Type": STRUCTURED})

    after = await api.publish(given(email(address())))

    assert large.status_code == 413
    assert after.status_code == 202


async def test_a_thousand_events_are_taken_and_one_more_is_413(api: Api) -> None:
    answer = await api.publish(*[{}] * 1000)
    too_many = await api.publish(*[{}] * 1001)

    assert (answer.status_code, len(answer.json()["rejected"])) == (202, 1000)
    assert too_many.status_code == 413


async def test_a_key_publishes_only_for_its_sources(api: Api, address: Address) -> None:
    mine = await api.key("publish", sources=["web:shop-be"])
    others = given(email(address()), source="web:shop-nl")

    refused = await api.publish(given(email(address())), others, key=mine)
    taken = await api.publish(given(email(address())), key=mine)
    none = await api.publish(given(email(address())), key=await api.key("publish", sources=[]))

    assert (refused.status_code, taken.status_code, none.status_code) == (403, 202, 403)
    assert "shop-nl" not in refused.text


async def test_a_malformed_refusal_without_a_readable_source_passes_any_publisher(api: Api, address: Address) -> None:
    mine = await api.key("publish", sources=["web:shop-be"])

    nameless = await api.publish(objected(email(address()), without="source"), key=mine)
    of_another = await api.publish(objected(email(address()), source="web:shop-nl", time="?"), key=mine)

    assert nameless.json()["accepted"][0]["warning"] == "NOT_CLOUDEVENT"
    assert of_another.status_code == 403


# -- waiting for the ledger


async def test_who_waits_hears_the_place_of_every_entry_in_order(
    api: Api, installed: Installation, address: Address
) -> None:
    said = [given(email(address())) for _ in range(20)]

    answer = await api.publish(*said, wait=20)

    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=20"
    results = answer.json()["results"]
    assert [result["id"] for result in results] == [event["id"] for event in said]
    for result in results:
        rows = await installed.fetch(
            "SELECT shard, pos FROM consent.event WHERE event_id = $1", uuid.UUID(result["id"])
        )
        assert result["status"] == "entry"
        assert (result["shard"], result["position"]) == tuple(rows[0])
        assert result["recorded_at"].endswith("Z")
        assert result["reason"] is None
    assert {result["shard"] for result in results} == {1, 2}


async def test_an_event_that_the_ledger_has_already_is_a_duplicate_with_the_place_of_the_first(
    api: Api, address: Address
) -> None:
    said = given(email(address()))
    (first,) = await api.recorded(said)

    again = await api.recorded(said, said)

    assert [result["status"] for result in again] == ["duplicate", "duplicate"]
    assert {(result["shard"], result["position"]) for result in again} == {(first["shard"], first["position"])}


async def test_a_permission_under_a_used_id_is_rejected_by_the_ledger(api: Api, address: Address) -> None:
    said = given(email(address()))
    await api.recorded(said)

    (result,) = await api.recorded({**given(email(address())), "id": said["id"]})

    assert (result["status"], result["reason"], result["position"]) == ("rejected", "ID_REUSED", None)


async def test_a_refusal_under_a_used_id_is_an_entry_at_a_place_of_its_own(
    api: Api, installed: Installation, address: Address
) -> None:
    said = given(email(address()))
    (first,) = await api.recorded(said)

    (result,) = await api.recorded({**objected(email(address())), "id": said["id"]})

    rows = await installed.fetch(
        "SELECT type, event_id FROM consent.ledger WHERE shard = $1 AND pos = $2", result["shard"], result["position"]
    )
    assert result["status"] == "entry"
    assert (result["shard"], result["position"]) != (first["shard"], first["position"])
    assert rows[0]["type"] == "objection-raised"
    assert str(rows[0]["event_id"]) != said["id"]


async def test_who_waits_hears_of_what_was_refused_at_the_door_as_well(api: Api, address: Address) -> None:
    good = given(email(address()))

    answer = await api.publish(event("no-such-type"), good, wait=20)

    assert [(result["status"], result["reason"]) for result in answer.json()["results"]] == [
        ("rejected", "UNKNOWN_TYPE"),
        ("entry", None),
    ]


@pytest.mark.parametrize("prefer", ["wait=0", "wait", "respond-async", "wait=x"])
async def test_a_preference_that_is_no_wait_is_passed_over(api: Api, address: Address, prefer: str) -> None:
    headers = {"Content-Type": BATCH, "Prefer": prefer}

    answer = await api.client.post("/v1/events", json=[given(email(address()))], headers=headers)

    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


async def test_a_wait_is_among_other_preferences_and_at_most_thirty_seconds(api: Api, address: Address) -> None:
    headers = {"Content-Type": BATCH, "Prefer": 'respond-async, wait="90"; foo'}

    answer = await api.client.post("/v1/events", json=[given(email(address()))], headers=headers)

    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=30"


@pytest.fixture
async def unrecorded(kafka: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An installation in which nobody records."""
    async with installation(kafka, postgres, template, tmp_path_factory.mktemp("unrecorded")) as made:
        yield made


async def test_who_waits_in_vain_gets_202_after_that_time_and_the_entry_all_the_same(
    unrecorded: Installation, address: Address
) -> None:
    said = given(email(address()))
    async with served(unrecorded) as api:
        began = time.monotonic()
        answer = await api.publish(said, wait=1)
        waited = time.monotonic() - began

        assert answer.status_code == 202
        assert answer.json()["accepted"] == [{"id": said["id"]}]
        assert answer.headers["preference-applied"] == "wait=1"
        assert 0.9 < waited < 5
        async with serving(unrecorded.recorder().run()):
            (result,) = await api.recorded(said)
    assert result["status"] == "duplicate"


async def test_without_kafka_it_is_503_and_says_when_to_come_back(
    unrecorded: Installation, address: Address, unused_port: int
) -> None:
    async with served(unrecorded, kafka_bootstrap_servers=f"127.0.0.1:{unused_port}") as api:
        answer = await api.publish(given(email(address())))

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["type"] == "urn:consent-ledger:problem:unavailable"
