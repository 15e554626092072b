"""Answers over HTTP that say why, and what would change them.

Seen to fail: an address that is none, or a service that is behind, explained by what is on record; more than a hundred
answers explained; the other identifiers of the person named; an explanation given whose look is not recorded.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.served import Api, question
from builders import email, given, linked, objected, withdrawn
from consent_ledger.api.decisions import EXPLAINED_MAX
from consent_ledger.store import history

Address = Callable[[], str]


async def explained(api: Api, *questions: Any) -> list[dict[str, Any]]:
    answer = await api.client.post("/v1/decisions?explain=true", json={"questions": questions, "reason": "a call"})
    assert answer.status_code == 200, answer.text
    decisions: list[dict[str, Any]] = answer.json()["decisions"]
    return decisions


async def test_an_explanation_stands_beside_the_answer_it_explains(api: Api, address: Address) -> None:
    person = address()
    await api.recorded(given(email(person)))
    (refusal,) = await api.recorded(withdrawn(email(person), time="2026-03-02T09:00:00Z"))

    (plain,), (answer,) = await api.decide(question(person)), await explained(api, question(person))

    explanation = answer.pop("explanation")
    assert answer == plain
    assert explanation["reason"] == "CONSENT_WITHDRAWN"
    (reason,) = explanation["reasons"]
    (entry,) = reason["entries"]
    assert (entry["shard"], entry["position"], entry["type"], entry["source"]) == (
        refusal["shard"], refusal["position"], "consent-withdrawn", "web:shop-be",
    )  # fmt: skip
    assert reason["articles"] == ["Art. 7(3)"]
    assert "came in" in entry["notes"][0]
    assert [step["event"] for step in explanation["changes"][0]["steps"]] == ["consent-given"]
    assert explanation["changes"][0]["later_than"] == "2026-03-02T09:00:00.000Z"
    assert explanation["without_effect"][0]["notes"] == ["not later than the refusal"]
    assert person not in json.dumps(explanation)


async def test_defaults_gates_and_open_questions_are_explained_too(api: Api, address: Address) -> None:
    person = address()
    await api.recorded(given(email(person)))

    nothing, invoice, nobody, none, bad, every = await explained(
        api,
        question(address()),
        question(address(), purpose="invoice"),
        question(person, controller="nobody"),
        question(person, subject=[]),
        question("no address"),
        question(person, purpose=None),
    )

    answers = [nothing, invoice, nobody, none, bad, *every["decisions"]]
    assert [answer["explanation"]["reason"] for answer in answers] == [answer["reason"] for answer in answers]
    assert all(answer["explanation"]["outlook"] for answer in answers)
    assert nothing["explanation"]["changes"][0]["steps"][0]["event"] == "consent-given"
    assert invoice["explanation"]["reasons"][0]["entries"] == []


async def test_several_identifiers_are_explained_together(api: Api, address: Address) -> None:
    first, second = address(), address()
    number = {"type": "customer_no", "value": first}
    await api.recorded(given(email(first)), linked(number, email(second)), objected(email(second)))

    (answer,) = await explained(api, question(first, subject=[email(first), number]))

    (entry,) = answer["explanation"]["reasons"][0]["entries"]
    assert answer["reason"] == "OBJECTION_DM"
    assert "made by another identifier of the same person" in entry["notes"]
    assert second not in json.dumps(answer)


async def test_what_the_service_cannot_tell_is_explained_as_that(api: Api, address: Address) -> None:
    api.clock.instant = datetime.now(UTC) + timedelta(hours=1)
    (answer,) = await explained(api, question(address()))
    api.clock.instant = None

    assert (answer["reason"], answer["final"]) == ("STALE", False)
    assert answer["explanation"]["outlook"] == "Ask again in a moment."


@pytest.mark.parametrize(
    ("query", "count", "status"),
    [
        ("true", EXPLAINED_MAX, 200),
        ("true", EXPLAINED_MAX + 1, 413),
        ("false", EXPLAINED_MAX + 1, 200),
        ("maybe", 1, 422),
    ],
)
async def test_a_hundred_answers_are_explained_and_no_more(api: Api, query: str, count: int, status: int) -> None:
    questions = [question(f"crowd{number}@example.be") for number in range(count)]

    answer = await api.client.post(f"/v1/decisions?explain={query}", json={"questions": questions, "reason": "r"})

    assert answer.status_code == status
    assert ("explanation" in answer.text) == (query == "true" and status == 200)


async def test_who_is_shown_entries_as_an_explanation_is_recorded_with_the_reason(api: Api, address: Address) -> None:
    person, nobody = address(), address()
    await api.recorded(given(email(person)), withdrawn(email(person), time="2026-03-02T09:00:00Z"))
    asked = {"questions": [question(person), question(nobody)], "reason": "the customer called", "viewer": "staff:eva"}

    answer = await api.client.post("/v1/decisions?explain=true", json=asked)
    unexplained = await api.client.post("/v1/decisions", json=asked)
    unreasoned = await api.client.post("/v1/decisions?explain=true", json={"questions": asked["questions"]})
    blank = await api.client.post("/v1/decisions?explain=true", json=asked | {"reason": " "})

    assert (answer.status_code, unexplained.status_code) == (200, 200)
    assert (unreasoned.status_code, blank.status_code) == (422, 422)
    looks = await looks_at(api, person)
    assert [(look["entered_by"], look["said"]["reason"]) for look in looks] == [("staff:eva", "the customer called")]
    assert looks[0]["said"]["shown"] == 2
    assert looks[0]["said"]["digest"].startswith("hmac-sha256:")
    assert await looks_at(api, nobody) == []


async def test_nothing_is_explained_that_cannot_be_recorded(
    api: Api, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = address()
    await api.recorded(given(email(person)), withdrawn(email(person), time="2026-03-02T09:00:00Z"))

    async def never(*_: object) -> None:
        return None

    monkeypatch.setattr(history, "place", never)
    asked = {"questions": [question(person)], "reason": "the customer called"}
    answer = await api.client.post("/v1/decisions?explain=true", json=asked, headers={"Prefer": "wait=1"})

    assert (answer.status_code, answer.json()["type"]) == (503, "urn:consent-ledger:problem:not-recorded")


async def looks_at(api: Api, value: str) -> list[dict[str, Any]]:
    said = {"controller": "shop-be", "subject": [email(value)], "reason": "test"}
    shown = (await api.client.post("/v1/subjects/lookup", json=said)).json()["shown"]
    return [entry for entry in shown["entries"] if entry["type"] == "subject-viewed"]
