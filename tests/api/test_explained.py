"""Answers over HTTP that say why, and what would change them.

Seen to fail: an address that is none, or a service that is behind, explained by what is on record; more than a hundred
answers explained; the other identifiers of the person named.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.served import Api, question
from builders import email, given, linked, objected, withdrawn
from consent_ledger.api.decisions import EXPLAINED_MAX

Address = Callable[[], str]


async def explained(api: Api, *questions: Any) -> list[dict[str, Any]]:
    answer = await api.client.post("/v1/decisions?explain=true", json={"questions": questions})
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

    answer = await api.client.post(f"/v1/decisions?explain={query}", json={"questions": questions})

    assert answer.status_code == status
    assert ("explanation" in answer.text) == (query == "true" and status == 200)
