"""The documents say what the code does, are valid, and break nobody who relies on the version before.

Seen to fail: a member renamed in a record of the topic and in a question; a field taken out of the catalogue; an
operation left out; a topic without a channel; a message of a webhook without an example, an example of another shape;
the manifest of a list edited by hand.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from pydantic import SecretStr

from builders import REGISTER
from consent_ledger.api.app import create_app
from consent_ledger.cli import contract
from consent_ledger.domain import durations, schemas, suppression, webhook
from consent_ledger.domain import register as registers
from consent_ledger.domain.catalogue import SHAPES
from consent_ledger.runtime import asyncapi, topics
from consent_ledger.runtime.clock import SystemClock
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.settings import Settings
from contract.compatible import problems

SCHEMAS = Path(__file__).parents[2] / "schemas"
SHOP = registers.compile(REGISTER, 3)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HASH = bytes(range(32))
YES = suppression.Answer(
    allow=True,
    reason="CONSENT",
    reasons=("CONSENT",),
    since=durations.rfc3339(NOON),
    valid_until=durations.rfc3339(NOON),
)
RECORDS: dict[str, tuple[bytes, bytes]] = {
    "address": (
        suppression.suppression_key("shop-be", "email", HASH),
        suppression.record(
            SHOP, controller="shop-be", type="email", hash_=HASH, kid="k1", place=(1, 7), version=9, recorded_at=NOON,
            own=msgspec.json.encode({"newsletter": {"email": YES}}),
        ),
    ),
    "purposes": (
        suppression.purposes_key("shop-be"),
        suppression.purposes_record(
            SHOP, controller="shop-be", kid="k1", check="ab" * 32, version=4, needs={"newsletter": 3}
        ),
    ),
    "dnc": (
        suppression.call_register_key("be"),
        suppression.call_register_record("be", suppression.call_register_state(NOON, NOON), 5),
    ),
    "watermark": (suppression.WATERMARK_KEY, suppression.watermark_record(NOON, 8, 2)),
}  # fmt: skip


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    return contract.contract()


def test_the_documents_are_those_of_the_code() -> None:
    there = {name: (SCHEMAS / name).read_text(encoding="utf-8") for name in contract.files()}

    assert there == contract.files(), "stale: run `uv run poe schemas`"


def test_nobody_who_relies_on_the_version_before_is_broken(now: dict[str, Any]) -> None:
    before = json.loads((SCHEMAS / contract.BASELINE).read_text(encoding="utf-8"))

    assert problems(before, now) == []


def test_the_commands_write_them(tmp_path: Path, now: dict[str, Any]) -> None:
    (tmp_path / "lists").mkdir()
    for baseline in (False, True):
        contract.main(tmp_path, baseline=baseline)

    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in contract.files()} == contract.files()
    assert json.loads((tmp_path / contract.BASELINE).read_text(encoding="utf-8")) == json.loads(json.dumps(now))


# -- HTTP


def test_the_openapi_document_is_valid(now: dict[str, Any]) -> None:
    validate(now["openapi.json"], cls=OpenAPIV31SpecValidator)


def test_every_call_says_who_may_make_it_and_what_is_answered(now: dict[str, Any]) -> None:
    for path, calls in now["openapi.json"]["paths"].items():
        for call in calls.values():
            is_open = path in {"/healthz", "/readyz", "/u/{token}", "/checkpoint", "/tile/{path}"}
            assert ("security" in call) != is_open, path
            assert call["summary"]
            good = next(response for status, response in call["responses"].items() if status.startswith("2"))
            for media, content in good["content"].items():
                if media.endswith("json"):
                    assert content["schema"].keys() - {"description", "title"} != {"type"}, path


# -- webhooks and lists


def test_every_message_of_a_webhook_is_shown_by_an_example_that_is_one(now: dict[str, Any]) -> None:
    said = now["openapi.json"]["webhooks"]

    for message, (name, call) in zip(webhook.MESSAGES, said.items(), strict=True):
        content = call["post"]["requestBody"]["content"]["application/json"]
        jsonschema.validate(content["example"], content["schema"], cls=jsonschema.Draft202012Validator)
        read = msgspec.convert(content["example"], type=message)
        assert (read.type, json.loads(msgspec.json.encode(read))) == (name, content["example"])


def test_the_proof_that_is_shown_is_one(now: dict[str, Any]) -> None:
    answer = now["openapi.json"]["webhooks"]["endpoint.challenge"]["post"]["responses"]["2XX"]
    content = answer["content"]["application/json"]

    assert msgspec.convert(content["example"], type=webhook.ChallengeAnswer).signature.startswith("v1,")
    jsonschema.validate(content["example"], content["schema"], cls=jsonschema.Draft202012Validator)


# -- topics


def test_every_topic_is_a_channel_and_is_read_or_sent(now: dict[str, Any]) -> None:
    document = now["asyncapi.json"]
    declared = {topic.name: topic for topic in topics.declared("{prefix}", 1)}

    operations = [one["channel"]["$ref"] for one in document["operations"].values()]

    assert {channel["address"] for channel in document["channels"].values()} == declared.keys()
    assert sorted(operations) == sorted(f"#/channels/{name}" for name in document["channels"])
    for channel in document["channels"].values():
        said = channel["bindings"]["kafka"]["topicConfiguration"]
        assert ",".join(said["cleanup.policy"]) == declared[channel["address"]].config["cleanup.policy"]


def test_the_asyncapi_document_has_the_members_that_version_3_asks_for(now: dict[str, Any]) -> None:
    document = now["asyncapi.json"]

    assert document["asyncapi"] == "3.0.0"
    assert document["info"].keys() >= {"title", "version"}
    for channel in document["channels"].values():
        assert channel["messages"]
        named = {part for part in channel["parameters"] if f"{{{part}}}" in channel["address"]}
        assert named == channel["parameters"].keys()
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"}


def test_every_type_of_event_is_a_message_whose_schema_and_example_are_there(now: dict[str, Any]) -> None:
    channels = now["asyncapi.json"]["channels"]

    messages = channels["events"]["messages"] | channels["control"]["messages"]

    assert messages.keys() == SHAPES.keys()
    there = dict(schemas.files())
    for message in messages.values():
        assert message["payload"]["$ref"] in there
        assert message["examples"][0]["payload"]["$ref"] in there


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_of_the_suppressions_topic_is_as_described(name: str) -> None:
    described = asyncapi.document()["channels"]["suppressions"]["messages"][name]
    key, value = RECORDS[name]

    jsonschema.validate(json.loads(value), described["payload"], cls=jsonschema.Draft202012Validator)
    jsonschema.validate(key.decode(), described["bindings"]["kafka"]["key"])
    others = [one for other, (one, _) in RECORDS.items() if other != name]
    for other in others:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(other.decode(), described["bindings"]["kafka"]["key"])


def test_all_kinds_of_records_are_described() -> None:
    assert asyncapi.document()["channels"]["suppressions"]["messages"].keys() == RECORDS.keys()


async def test_the_service_shows_the_document_that_is_written(now: dict[str, Any], tmp_path: Path) -> None:
    settings = Settings(database_url=SecretStr("postgresql://"), kafka_bootstrap_servers="localhost:9")
    app = create_app(settings, KeyFile.create(tmp_path / "keys.json"), SystemClock())

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ledger") as client:
        answer = await client.get("/openapi.json")

    assert answer.json() == json.loads(json.dumps(now["openapi.json"]))
