"""The last days of the acceptance cases.

Seen to fail: 30 days for a month; weekends and holidays not skipped; pauses dropped; the last use of a call ignored.
"""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from consent_ledger.domain.deadlines import art12_due, evidence_until

FILE = json.loads((Path(__file__).parents[1] / "data" / "scenarios.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in FILE["deadline_cases"]])
def test_a_request_is_answered_by_the_last_day(case: dict[str, Any]) -> None:
    due = art12_due(
        date.fromisoformat(case["received"]),
        extended=case["extended"],
        paused_days=case["paused_days"],
        holidays=[date.fromisoformat(day) for day in case["holidays"]],
    )

    assert due == date.fromisoformat(case["due"])


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in FILE["evidence_cases"]])
def test_evidence_is_kept_to_the_last_day(case: dict[str, Any]) -> None:
    days = {name: date.fromisoformat(case[name]) for name in ("given", "last_used") if case.get(name)}

    until = evidence_until(
        date.fromisoformat(case["reliance_ended"]), case["retention"], german_calls=case.get("phone_de", False), **days
    )

    assert until == date.fromisoformat(case["until"])
