"""What a file of scenarios may say of a do-not-call register that no import says: a number twice, sources that differ.

Seen to fail: the last line of a number that is listed twice counting alone; the clock of the last source taken for that
of all snapshots of one date.
"""

import itertools
from typing import Any

import pytest

from consent_ledger.domain.scenario import evaluate

_NUMBER = {"type": "phone", "value": "+32470112233"}
_REGISTER = {
    "controllers": {"north": {"country": "BE"}},
    "purposes": [
        {"controller": "north", "id": "calls", "basis": "consent", "channels": ["phone"], "direct_marketing": True,
         "dnc": ["be-dncm"]}
    ],
    "sources": {name: {"controllers": ["north"]} for name in ("web", "feed")},
    "dnc_registers": {"be-dncm": {"max_age": "P7D"}},
}  # fmt: skip


def answer(*events: dict[str, Any]) -> tuple[bool, str]:
    asked = {
        "controller": "north", "subject": [_NUMBER], "purpose": "calls", "channel": "phone",
        "at": "2026-06-02T09:00:00Z",
    }  # fmt: skip
    (found,) = evaluate({"register": _REGISTER, "events": list(events), "expectations": [asked]})
    return found


def given(at: str) -> dict[str, Any]:
    return {
        "id": f"consent {at}", "type": "consent-given", "source": "web", "occurred_at": at, "recorded_at": at,
        "controllers": ["north"], "subject": [_NUMBER], "purposes": ["calls"], "channels": ["phone"],
        "origin": "data-subject", "mechanism": "button", "evidence": {"text_id": "text", "text_version": 1, "ref": "r"},
    }  # fmt: skip


def imported(source: str, *numbers: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"snapshot {source}", "type": "preference-register-imported", "source": source, "register": "be-dncm",
        "occurred_at": "2026-06-01T00:00:00Z", "recorded_at": "2026-06-01T06:00:00Z", "numbers": list(numbers),
    }  # fmt: skip


@pytest.mark.parametrize(
    "numbers",
    list(
        itertools.permutations(
            [
                {"value": "+32470112233", "registered_at": "2026-05-20T00:00:00Z"},
                {"value": "0032 470 11 22 33", "registered_at": "2026-03-01T00:00:00Z"},
                {"value": "+32470112233"},
            ]
        )
    ),
)
def test_a_number_listed_twice_is_listed_since_its_later_registration(numbers: list[dict[str, Any]]) -> None:
    assert answer(given("2026-05-10T09:00:00Z"), imported("feed", *numbers)) == (False, "DNC_LISTED")
    assert answer(given("2026-05-25T09:00:00Z"), imported("feed", *numbers)) == (True, "CONSENT")


@pytest.mark.parametrize("naming", [("web",), ("feed",), ("web", "feed")])
def test_of_snapshots_of_one_date_by_several_sources_none_has_the_clock_of_a_consent(naming: tuple[str, ...]) -> None:
    lists = [imported(source, *([_NUMBER] if source in naming else ())) for source in ("feed", "web")]
    soon, later = given("2026-06-01T00:03:00Z"), given("2026-06-01T00:06:00Z")

    for snapshots in itertools.permutations(lists):
        assert answer(soon, *snapshots) == (False, "DNC_LISTED")
        assert answer(later, *snapshots) == (True, "CONSENT")
    assert answer(soon, imported("web", _NUMBER)) == (True, "CONSENT")
