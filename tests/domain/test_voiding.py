"""Who may void what, each obstacle with its reason; and a look is no act of anybody.

Seen to fail: the typist, or who proposes, let approve; the subject's own word voided; the source not looked at; a look
voided.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consent_ledger.domain import durations, register
from consent_ledger.domain.facts import Fact, fact
from consent_ledger.domain.voiding import obstacle
from domain import histories
from domain.cases import world
from domain.histories import END, PEOPLE, Event, numbered

REGISTER = register.compile(world(), 1)


def made(type: str, *, source: str = "web", **fields: Any) -> Fact:
    return fact(
        event_id=b"x" * 16, type=type, source=source, occurred_at=0, recorded_at=0, shard=1, pos=0, register_version=1,
        identifiers=(), body={"controllers": ["north"], **fields},
    )  # fmt: skip


def voiding(source: str = "web", **fields: Any) -> Fact:
    return made("event-voided", source=source, **{"entered_by": "a", "approved_by": "b", **fields})


@pytest.mark.parametrize(
    ("target", "void", "why"),
    [
        (made("consent-given"), voiding("elsewhere", approved_by=None), None),
        (made("consent-withdrawn", entered_by="c"), voiding(), None),
        (made("consent-withdrawn", entered_by="a"), voiding(), None),
        (made("objection-raised", entered_by="c", controllers=[]), voiding("desk"), None),
        (made("objection-raised", malformed=True, controllers=None), voiding("desk"), None),
        (made("objection-raised", malformed=True, source="?", controllers=None), voiding("web"), "does not serve"),
        (made("consent-withdrawn"), voiding(), "the subject's own word"),
        (made("consent-withdrawn", entered_by="c"), voiding("elsewhere"), "does not serve"),
        (made("consent-withdrawn", entered_by="c"), voiding(approved_by=None), "two people"),
        (made("consent-withdrawn", entered_by="c"), voiding(entered_by=None), "two people"),
        (made("consent-withdrawn", entered_by="c"), voiding(approved_by="a"), "than who proposes"),
        (made("consent-withdrawn", entered_by="b"), voiding(), "than who typed"),
        (made("repermission-sent", purpose="news"), voiding(), "the subject's own word"),
        (made("identifiers-linked"), voiding("elsewhere"), "does not serve"),
        (made("identifiers-linked"), voiding(approved_by=None), None),
        (made("event-voided"), voiding(), "a voiding cannot be voided"),
        (made("subject-viewed"), voiding(), "a look cannot be voided"),
    ],
)
def test_a_voiding_has_effect_or_a_reason_why_not(target: Fact, void: Fact, why: str | None) -> None:
    found = obstacle(REGISTER, target, void)

    assert (found is None) == (why is None)
    assert (why or "") in (found or "")


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(histories.histories(), st.sampled_from(PEOPLE), st.sampled_from(["desk", "web:north"]))
def test_a_look_changes_no_answer(events: list[Event], who: tuple[str, str], source: str) -> None:
    last = max([END.isoformat(), *(one["recorded_at"] for one in events)], key=durations.instant)
    look = {
        "type": "subject-viewed", "source": source, "controllers": ["north", "south"],
        "subject": [{"type": who[0], "value": who[1]}], "entered_by": "a", "reason": "why", "shown": 1, "digest": "d",
        "occurred_at": END.isoformat(), "recorded_at": last,
    }  # fmt: skip

    after = histories.answers(numbered([*events, look]), END.isoformat())

    assert after == histories.answers(numbered(events), END.isoformat())
