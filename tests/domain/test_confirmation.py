"""Whether the one mail of a double opt-in may go out.

Seen to fail: a second mail within thirty days, or none on the thirtieth; a mail after an import, or by a source that is
not the controller's; to somebody who refused after they signed up; for a consent that counts already, or no longer can;
for a purpose that asks for no confirmation; no mail because of an older objection.
"""

from typing import Any

import pytest

from consent_ledger.domain import confirmation, durations, register
from consent_ledger.domain.scenario import Ledger
from domain.histories import Event, numbered

TERMS: dict[str, Any] = {"basis": "consent", "channels": ["email"], "direct_marketing": True}
REGISTER = register.parse(
    {
        "controllers": {"shop": {"country": "BE"}},
        "sources": {"web": {"controllers": ["shop"]}, "elsewhere": {"controllers": []}},
        "purposes": [
            {"controller": "shop", "id": "club", **TERMS, "double_opt_in": True},
            {"controller": "shop", "id": "news", **TERMS},
        ],
    }
)
AN = {"type": "email", "value": "an@example.be"}


def said(type: str, day: str, **fields: Any) -> Event:
    instant = f"{day}T10:00:00Z"
    plain = {"source": "web", "controllers": ["shop"], "subject": [AN], "purposes": ["club"], "channels": ["email"]}
    return {"type": type, "occurred_at": instant, "recorded_at": instant, **plain, **fields}


def entered(day: str, **fields: Any) -> Event:
    evidence = {"text_id": "t", "text_version": 1, "ref": "r"}
    return said(
        "consent-given", day, **{"origin": "data-subject", "mechanism": "button", "evidence": evidence, **fields}
    )


def asked(*events: Event, of: int = -1, at: str | None = None, email: str = "an@example.be") -> str:
    """Ask about the consent at a place in the history, at the instant of the last event or on another day."""
    numbered_ = numbered(list(events))
    facts = Ledger(REGISTER, numbered_).facts("shop")
    now = durations.instant(f"{at}T10:00:00Z" if at else events[-1]["recorded_at"])
    return confirmation.may_ask(
        REGISTER, facts, controller="shop", token=f"email|{email}".encode(),
        consent_id=str(numbered_[of]["id"]).encode(), at=now,
    )  # fmt: skip


OBJECTION = said("objection-raised", "2026-01-01", kind="direct-marketing", purposes="all", channels=None)
REFUSED = {**OBJECTION, "occurred_at": "2026-02-02T10:00:00Z", "recorded_at": "2026-02-02T10:00:00Z"}
CONFIRMED = {
    name: value for name, value in said("consent-confirmed", "2026-02-02", consent_id="e0").items() if name != "subject"
}


@pytest.mark.parametrize(
    ("events", "of", "at", "answer"),
    [
        ([entered("2026-02-01")], 0, None, "CONFIRM"),
        ([OBJECTION, entered("2026-02-01")], 1, None, "CONFIRM"),
        ([entered("2026-02-01")], 0, "2026-02-08", "CONFIRM"),
        ([entered("2026-02-01")], 0, "2026-02-09", "NOT_PENDING"),
        ([entered("2026-02-01"), REFUSED], 0, None, "NOT_PENDING"),
        ([entered("2026-02-01"), CONFIRMED], 0, None, "NOT_PENDING"),
        ([entered("2026-02-01", mechanism="pre-ticked")], 0, None, "NOT_PENDING"),
        ([entered("2026-02-01", origin="import")], 0, None, "NOT_FROM_FORM"),
        ([entered("2026-02-01", origin="third-party")], 0, None, "NOT_FROM_FORM"),
        ([entered("2026-02-01", source="elsewhere")], 0, None, "NOT_FROM_FORM"),
        ([entered("2026-02-01", purposes=["news"])], 0, None, "NO_SUCH_CONSENT"),
        ([entered("2026-02-01", channels=["phone"])], 0, None, "NO_SUCH_CONSENT"),
        ([REFUSED], 0, None, "NO_SUCH_CONSENT"),
        ([entered("2026-02-01"), entered("2026-02-02")], 0, None, "CONFIRM"),
        ([entered("2026-02-01"), entered("2026-02-02")], 1, None, "ASKED_ALREADY"),
        ([entered("2026-02-01"), entered("2026-03-02")], 1, None, "ASKED_ALREADY"),
        ([entered("2026-02-01"), entered("2026-03-03")], 1, None, "CONFIRM"),
        ([entered("2026-02-01"), entered("2026-03-02"), entered("2026-03-03")], 2, None, "CONFIRM"),
        ([entered("2026-02-01", origin="import"), entered("2026-02-02")], 1, None, "CONFIRM"),
        ([entered("2026-02-01", subject=[AN, {"type": "customer_no", "value": "7"}]), entered("2026-02-02")], 1, None,
         "ASKED_ALREADY"),
    ],
)  # fmt: skip
def test_one_mail_for_a_pending_consent_and_one_to_an_address_in_thirty_days(
    events: list[Event], of: int, at: str | None, answer: str
) -> None:
    assert asked(*({k: v for k, v in one.items() if v is not None} for one in events), of=of, at=at) == answer


def test_another_address_is_not_asked_on_behalf_of_this_one() -> None:
    assert asked(entered("2026-02-01"), email="bert@example.be") == "NO_SUCH_CONSENT"
