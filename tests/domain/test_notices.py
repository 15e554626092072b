"""Recipients are told of what was done at a subject's request, within their days.

Seen to fail: recipients told late by a day, of a refused rectification, of purposes that nobody touched; nobody but
those told.
"""

from typing import Any

import pytest

from consent_ledger.domain import durations, notices, requests
from consent_ledger.domain.requests import Step
from consent_ledger.runtime.calendars import of_controllers
from domain.steps import ONE, REGISTER, at, received, step


def told(*steps: Step, now: str) -> list[tuple[str, str, bool]]:
    found = notices.fold(requests.by_request(steps), REGISTER, of_controllers(REGISTER), durations.instant(at(now)))
    return [(one.recipient, one.state, one.overdue) for one in found]


def test_an_erasure_is_told_to_all_recipients_within_seven_days() -> None:
    steps = [
        step("erasure-requested", "2026-03-10", id=ONE),
        step("erasure-executed", "2026-03-12"),
        step("recipient-notified", "2026-03-13", recipient="Printer NV"),
        step("recipient-notified", "2026-03-13", recipient="Post NV"),
        step("recipient-notified", "2026-03-15", recipient="Post NV", outcome="acknowledged"),
    ]

    assert told(steps[0], now="2026-03-20") == []
    assert told(*steps, now="2026-03-19") == [
        ("Dialler BV", "open", False), ("Post NV", "acknowledged", False), ("Printer NV", "told", False)
    ]  # fmt: skip
    assert told(*steps, now="2026-03-20")[0] == ("Dialler BV", "open", True)


@pytest.mark.parametrize(
    "steps",
    [
        [step("restriction-placed", "2026-03-10", id=ONE, purposes=["calls"])],
        [received("2026-03-10", "16", purposes=["calls"]), step("request-answered", "2026-03-10", outcome="done")],
        [
            step("consent-withdrawn", "2026-03-10", id=ONE, purposes=["calls"]),
            step("recipient-notified", "2026-03-10", recipient="Bank NV"),
        ],
    ],
)
def test_only_recipients_of_the_purposes_concerned_are_to_be_told(steps: list[Step]) -> None:
    found = told(*steps, now="2026-03-11")

    assert found[0] == ("Dialler BV", "open", False)
    assert {one[0] for one in found[1:]} <= {"Bank NV"}


@pytest.mark.parametrize("closing", [{"outcome": "refused"}, {"outcome": "done", "source": "stranger"}])
def test_what_was_not_done_is_not_told(closing: dict[str, Any]) -> None:
    steps = [received("2026-03-10", "16"), step("request-answered", "2026-03-12", **closing)]

    assert told(*steps, now="2026-04-20") == []
