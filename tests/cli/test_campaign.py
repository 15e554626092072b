"""`consent campaign show` on a running installation."""

import uuid
from typing import Any

import httpx
import pytest

from cli.installed import Answer, Up, consent
from cli.people import somebody


def ask(up: Up, campaign: str, *people: str) -> list[dict[str, Any]]:
    asked = [
        {
            "controller": "vloet",
            "subject": [{"type": "email", "value": one}],
            "purpose": "newsletter",
            "channel": "email",
        }
        for one in people
    ]
    answer = httpx.post(
        f"{up.said['api']}/v1/decisions",
        json={"questions": asked, "campaign": campaign},
        headers={"Authorization": f"Bearer {up.said['api_key']}"},
    )
    assert answer.status_code == 200, answer.text
    decisions: list[dict[str, Any]] = answer.json()["decisions"]
    return decisions


def show(up: Up, campaign: str, *options: str, said_in: str | None = None) -> Answer:
    return consent("campaign", "show", campaign, *options, data=up.data, said_in=said_in)


@pytest.fixture
def campaign() -> str:
    return f"autumn-{uuid.uuid4().hex}"


def test_answers_are_counted_by_reason(up: Up, campaign: str) -> None:
    (one, *_) = ask(up, campaign, somebody(), somebody())

    answer, table = show(up, campaign, "--json"), show(up, campaign)

    (count,) = answer.data["counts"]
    assert (answer.status, table.status) == (0, 0)
    assert (count["allow"], count["reason"], count["answers"]) == (one["allow"], one["reason"], 2)
    assert answer.data["requests"] == 1
    assert one["reason"] in table.out


def test_an_address_is_found_by_what_was_answered_and_is_never_printed(up: Up, campaign: str) -> None:
    person = somebody()
    ((said),) = ask(up, campaign, person)

    answer = show(up, campaign, "--address", "--json", said_in=f"  {person.upper()}\n")
    table = show(up, campaign, "--address", said_in=person)

    (about,) = answer.data["about"]
    assert (answer.status, about["reason"], about["allow"]) == (0, said["reason"], said["allow"])
    assert said["reason"] in table.out
    assert person not in (answer.out + table.out + table.err).lower()


def test_an_address_that_was_never_asked_about_is_status_1(up: Up, campaign: str) -> None:
    person = somebody()
    ask(up, campaign, somebody())
    ask(up, f"{campaign}-other", person)

    answer, table = (
        show(up, campaign, "--address", "--json", said_in=person),
        show(up, campaign, "--address", said_in=person),
    )

    assert (answer.status, answer.data["about"]) == (1, [])
    assert (table.status, table.err) == (1, "This address was never asked about.\n")


def test_a_campaign_that_nobody_knows_is_status_1(up: Up, campaign: str) -> None:
    assert show(up, campaign).status == 1
    assert show(up, campaign, "--json").data["requests"] == 0


def test_what_is_no_address_is_a_usage_error(up: Up, campaign: str) -> None:
    assert show(up, campaign, "--address", said_in="nothing").status == 2
    assert show(up, campaign, "--address", "--type", "pigeon", said_in="x").status == 2
