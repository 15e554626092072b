"""Somebody who consents and withdraws hundreds of times costs as many looks, not the square of them.

Seen to fail: every earlier consent judged again at each instant at which one of them ends; every waiver asked
anew by each objection.
"""

from typing import Any

import pytest

from consent_ledger.domain import durations, register, rules_consent
from consent_ledger.domain.case import Case
from consent_ledger.domain.decision import Decision, decide_address
from consent_ledger.domain.facts import Fact
from consent_ledger.domain.scenario import Ledger
from domain.histories import numbered

REGISTER = register.parse(
    {
        "controllers": {"shop": {"country": "BE"}},
        "sources": {"web": {"controllers": ["shop"]}, "desk": {"controllers": ["shop"]}},
        "purposes": [
            {"controller": "shop", "id": "news", "basis": "consent", "channels": ["email"], "direct_marketing": True,
             "consent_ttl": "P1Y"},
        ],
    }
)  # fmt: skip
TIMES = 400


def said(type: str, minute: int, **fields: Any) -> dict[str, Any]:
    instant = durations.rfc3339(durations.moment(durations.instant("2026-01-01T00:00:00Z") + minute * 60_000_000))
    plain = {
        "type": type, "source": "web", "occurred_at": instant, "recorded_at": instant, "controllers": ["shop"],
        "subject": [{"type": "email", "value": "an@example.be"}], "purposes": ["news"], "channels": ["email"],
    }  # fmt: skip
    return plain | fields


def consented(minute: int, **fields: Any) -> dict[str, Any]:
    evidence = {"text_id": "t", "text_version": 1, "ref": "r"}
    return said(
        "consent-given", minute, **({"origin": "data-subject", "mechanism": "button", "evidence": evidence} | fields)
    )


def decided(events: list[dict[str, Any]]) -> Decision:
    facts = Ledger(REGISTER, numbered(events)).facts("shop")
    return decide_address(
        REGISTER, facts, controller="shop", type="email", token=b"email|an@example.be",
        at=durations.instant("2026-02-01T00:00:00Z"),
    )["news", "email"]  # fmt: skip


@pytest.mark.parametrize("withdraws", [False, True])
def test_each_consent_is_looked_at_a_few_times(monkeypatch: pytest.MonkeyPatch, withdraws: bool) -> None:  # noqa: FBT001
    events = [
        said("consent-withdrawn", minute) if withdraws and minute % 2 == 0 else consented(minute)
        for minute in range(TIMES)
    ]
    looks: list[Fact] = []
    flaw = rules_consent._flaw

    def counted(case: Case, consent: Fact) -> str | None:
        looks.append(consent)
        return flaw(case, consent)

    monkeypatch.setattr(rules_consent, "_flaw", counted)

    found = decided(events)

    last = durations.instant("2026-01-01T00:00:00Z") + (TIMES - 1) * 60_000_000
    assert (found.allow, found.valid_until) == (True, durations.after(last, "P1Y"))
    assert len(looks) <= 3 * TIMES


def test_another_s_consent_that_is_later_does_not_stand_for_the_person_s_own() -> None:
    """It ends no refusal: the earlier one does, as long as it lasts."""
    events = [
        said("consent-withdrawn", 0), consented(1),
        consented(2, origin="import"), consented(3, origin="import", source="desk"),
    ]  # fmt: skip

    found = decided(events)

    assert (found.allow, found.reason) == (True, "CONSENT")
    assert found.valid_until == durations.instant("2027-01-01T00:01:00Z")


def test_each_waiver_is_looked_at_once_for_a_purpose_and_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it names another purpose than the one in question."""
    subject_and_more = {"purposes": ["other"], "origin": "data-subject"}
    events = [
        said("objection-withdrawn", minute, **subject_and_more)
        if minute % 2
        else said("objection-raised", minute, kind="direct-marketing", purposes=["news", "other"])
        for minute in range(TIMES)
    ]
    looks: list[Fact] = []
    is_named_in = Case.is_named_in

    def counted(case: Case, permission: Fact) -> bool:
        looks.append(permission)
        return is_named_in(case, permission)

    monkeypatch.setattr(Case, "is_named_in", counted)

    found = decided(events)

    assert found.reason == "OBJECTION_DM"
    assert len(looks) <= TIMES
