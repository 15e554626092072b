"""Around the calls: the register, readiness, errors that tell nothing, and the document that describes it all.

Seen to fail: the register shown whole; ready without a horizon, and before the view has come to the register; the
exception's message in the answer, and in the log; the access log; requests counted by path.
"""

import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from api.conftest import REGISTER
from api.served import Api, bearer, question, served
from builders import email, given
from consent_ledger.api import app as app_module
from consent_ledger.api.decisions import Decisions
from running import Installation, installation, serving

Address = Callable[[], str]


# -- the register


async def test_the_register_in_force_is_shown_with_its_versions(api: Api) -> None:
    said = (await api.client.get("/v1/register")).json()

    assert said["register"]["controllers"].keys() >= REGISTER["controllers"].keys()
    assert [one["version"] for one in said["versions"]] == list(range(1, said["version"] + 1))
    assert said["versions"][0]["position"] == {"shard": 0, "position": 0}
    assert len(said["versions"][0]["digest"]) == 64


async def test_a_key_sees_of_the_register_what_concerns_its_controllers_and_sources(api: Api) -> None:
    async def seen_by(**bounds: list[str]) -> dict[str, Any]:
        key = await api.key("publish", **{"sources": [], "controllers": [], **bounds})
        shown: dict[str, Any] = (await api.client.get("/v1/register", headers=bearer(key))).json()["register"]
        return shown

    by_controller = await seen_by(controllers=["shop-nl"])
    by_source = await seen_by(sources=["web:garage-be"])
    by_nothing = await seen_by()

    assert list(by_controller["controllers"]) == ["shop-nl"]
    assert {one["controller"] for one in by_controller["purposes"]} == {"shop-nl"}
    assert list(by_controller["sources"]) == ["web:shop-nl"]
    assert list(by_source["controllers"]) == ["garage-be"]
    assert "shop" not in json.dumps(by_source)
    assert [len(by_nothing[part]) for part in ("controllers", "purposes", "sources")] == [0, 0, 0]


# -- health


@pytest.fixture
async def empty(
    kafka: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """An installation without a register, in which no service runs."""
    async with installation(kafka, postgres, template, tmp_path_factory.mktemp("empty")) as made:
        yield made


async def test_ready_means_that_servers_answer_and_the_view_is_level(api: Api) -> None:
    answer = await api.client.get("/readyz", headers={"Authorization": ""})

    assert answer.status_code == 200
    said = answer.json()
    assert said["ready"] is True
    age = said["checks"].pop("horizon_age_s")
    assert said["checks"] == {"kafka": True, "database": True, "register": True}
    assert 0 <= age < 60


async def test_without_a_horizon_it_is_not_ready_but_alive(empty: Installation) -> None:
    async with served(empty) as api:
        ready, alive = await api.client.get("/readyz"), await api.client.get("/healthz")

    assert ready.status_code == 503
    assert ready.json() == {
        "ready": False,
        "checks": {"kafka": True, "database": True, "register": True, "horizon_age_s": None},
    }
    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})


async def test_a_register_that_the_view_has_not_come_to_is_not_ready(empty: Installation) -> None:
    async with served(empty) as api, serving(empty.recorder().run()):
        await empty.recorded(await empty.load_register())
        said = (await api.client.get("/readyz")).json()
        empty_register = (await api.client.get("/v1/register")).json()

    assert said["checks"]["register"] is False
    assert empty_register["version"] == 1


async def test_servers_that_are_away_are_named_and_it_is_still_alive(empty: Installation, unused_port: int) -> None:
    away = {
        "database_url": SecretStr(f"postgresql://nobody@127.0.0.1:{unused_port}/none"),
        "kafka_bootstrap_servers": f"127.0.0.1:{unused_port}",
    }
    async with served(empty, **away) as api:
        ready, alive = await api.client.get("/readyz"), await api.client.get("/healthz")

    assert ready.status_code == 503
    assert ready.json()["checks"] == {"kafka": False, "database": False, "register": False, "horizon_age_s": None}
    assert alive.status_code == 200


async def test_the_register_is_empty_before_the_first_load(empty: Installation) -> None:
    async with served(empty) as api:
        answer = await api.client.get("/v1/register")

    assert answer.json() == {"version": 0, "register": {}, "versions": [], "scheduled": []}


# -- errors


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/v1/decisions", 405), ("DELETE", "/v1/events", 405), ("GET", "/docs", 404),
     ("GET", "/metrics", 404)],
)  # fmt: skip
async def test_errors_of_the_framework_are_problems_too(api: Api, method: str, path: str, status: int) -> None:
    answer = await api.client.request(method, path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said["status"] == status
    assert said["type"].startswith("urn:consent-ledger:problem:")


async def test_what_nobody_expected_tells_nothing_to_caller_or_log(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret@example.be")

    monkeypatch.setattr(Decisions, "_answer", fail)
    with caplog.at_level(logging.DEBUG):
        answer = await api.ask(question())

    assert answer.status_code == 500
    assert answer.json() == {
        "type": "urn:consent-ledger:problem:internal",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "the request could not be answered",
    }
    (logged,) = [record for record in caplog.records if record.name == app_module.__name__]
    assert vars(logged)["error"] == "RuntimeError"
    assert "post:" in vars(logged)["at"]
    assert not any("secret" in str(vars(record)) for record in caplog.records)


async def test_no_address_comes_into_the_log(
    api: Api, address: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    person = address()
    with caplog.at_level(logging.INFO):
        await api.recorded(given(email(person)))
        await api.decide(question(person))
        await api.ask(question(person, purpose=7))
        await api.client.get(f"/v1/nothing?address={person}")

    # The client, which is ours only here, logs what it asks for.
    ours = [record for record in caplog.records if not record.name.startswith("http")]
    assert not any(person in str(vars(record)) for record in ours)


# -- figures and description


async def test_requests_are_counted_by_call_and_status_and_never_by_path(api: Api) -> None:
    def counted(call: str, status: str) -> float:
        return REGISTRY.get_sample_value("consent_http_requests_total", {"call": call, "status": status}) or 0.0

    before = counted("/v1/decisions", "200"), counted("other", "404")
    await api.decide(question())
    await api.client.get("/secret@example.be")

    assert counted("/v1/decisions", "200") == before[0] + 1
    assert counted("other", "404") == before[1] + 1


async def test_the_openapi_document_describes_every_call(api: Api) -> None:
    described = (await api.client.get("/openapi.json")).json()

    assert described["openapi"].startswith("3.1")
    assert set(described["paths"]) == {
        "/v1/events",
        "/v1/decisions",
        "/v1/changes",
        "/v1/confirmations",
        "/v1/subjects/lookup",
        "/v1/register",
        "/v1/requests",
        "/u/{token}",
        "/v1/entries/{shard}/{position}",
        "/v1/entries/{shard}/{position}/proof",
        "/checkpoint",
        "/tile/{path}",
        "/healthz",
        "/readyz",
    }
    decisions = described["paths"]["/v1/decisions"]["post"]
    asked = decisions["requestBody"]["content"]["application/json"]["schema"]
    assert set(asked["properties"]["questions"]["items"]["properties"]) == {
        "controller", "subject", "purpose", "channel", "at",
    }  # fmt: skip
    assert {"200", "401", "403", "413", "422", "503"} <= set(decisions["responses"])
    assert "$ref" not in json.dumps(described)
