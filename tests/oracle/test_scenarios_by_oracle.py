"""The oracle obeys every acceptance scenario, deadline and retention case."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from oracle import law, times

FILE = json.loads((Path(__file__).parents[1] / "data" / "scenarios.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("scenario", FILE["scenarios"], ids=lambda one: one["id"])
def test_a_scenario_gives_the_expected_answers(scenario: dict[str, Any]) -> None:
    said = [
        law.decide(scenario["register"], scenario["events"], one, one.get("as_of", scenario["as_of"]))[:2]
        for one in scenario["expectations"]
    ]

    assert said == [(one["allow"], one["reason"]) for one in scenario["expectations"]]


@pytest.mark.parametrize("case", FILE["deadline_cases"], ids=lambda one: one["id"])
def test_a_request_is_due_on_the_day_the_case_says(case: dict[str, Any]) -> None:
    due = times.art12_due(
        date.fromisoformat(case["received"]), extended=case["extended"], paused_days=case["paused_days"],
        holidays=[date.fromisoformat(day) for day in case["holidays"]],
    )  # fmt: skip

    assert due.isoformat() == case["due"]


@pytest.mark.parametrize("case", FILE["evidence_cases"], ids=lambda one: one["id"])
def test_evidence_is_kept_until_the_day_the_case_says(case: dict[str, Any]) -> None:
    given, used = (case.get(field) and date.fromisoformat(case[field]) for field in ("given", "last_used"))

    until = times.evidence_until(
        date.fromisoformat(case["reliance_ended"]), case["retention"], phone_de=case.get("phone_de", False),
        given=given, last_used=used,
    )  # fmt: skip

    assert until.isoformat() == case["until"]
