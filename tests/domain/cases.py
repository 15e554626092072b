"""Small worlds and events for single rules: every field has a plain default."""

from datetime import UTC, datetime, timedelta
from typing import Any

from consent_ledger.domain import register
from consent_ledger.domain.decision import Decision
from consent_ledger.domain.scenario import Ledger

AN, PRIVATE, PHONE = ("email", "an@example.be"), ("email", "an.prive@example.be"), ("phone", "+3221112233")
CUSTOMER, POST, DEVICE = ("customer_no", "C-1"), ("postal", "1000 Brussel, X 1"), ("device", "d-1")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Event = dict[str, Any]
Told = tuple[str, str]


def on(day: int, minutes: int = 0) -> str:
    """So many days, and minutes, after noon of 1 March 2026."""
    return (NOON + timedelta(days=day, minutes=minutes)).isoformat()


def world(**terms: Any) -> dict[str, Any]:
    """Two joint controllers, one purpose each on these terms, and one source each."""
    purpose = {"id": "news", "basis": "consent", "channels": ["email", "internal"], "direct_marketing": True} | terms
    return {
        "controllers": {"north": {"country": "BE"}, "south": {"country": "NL"}},
        "purposes": [{"controller": "north"} | purpose, {"controller": "south"} | purpose],
        "sources": {"web": {"controllers": ["north"]}, "desk": {"controllers": ["north", "south"]}},
        "dnc_registers": {"list": {"max_age": "P7D"}, "other": {"max_age": "P30D"}},
    }


def said(type: str, *subject: Told, at: str | None = None, **fields: Any) -> Event:
    """An event from the first controller's own form, at noon of 1 March unless told otherwise."""
    event: Event = {"type": type, "source": "web", "occurred_at": at or on(0), "controllers": ["north"]} | fields
    if subject and "subject" not in fields:
        event["subject"] = [{"type": kind, "value": value} for kind, value in subject]
    return {"id": f"{type} {at}", "recorded_at": event["occurred_at"]} | event


def consent(*subject: Told, at: str | None = None, **fields: Any) -> Event:
    usual: Event = {
        "purposes": ["news"], "channels": ["email", "internal", "phone"], "origin": "data-subject",
        "mechanism": "button", "evidence": {"text_id": "t", "text_version": 1, "ref": "r"},
    }  # fmt: skip
    return said("consent-given", *(subject or (AN,)), at=at, **(usual | fields))


def sale(*subject: Told, at: str | None = None, **fields: Any) -> Event:
    met: Event = dict.fromkeys(("collected_in_sale", "opt_out_offered", "similar_products"), True)
    return said("relationship-started", *(subject or (AN,)), at=at, **(met | fields))


def changed(old: Told, new: Told, **fields: Any) -> Event:
    ends: Event = {role: {"type": kind, "value": value} for role, (kind, value) in (("old", old), ("new", new))}
    usual: Event = {"origin": "data-subject", "verified": True}
    return said("identifier-changed", **(usual | ends | fields))


def snapshot(day: int, *numbers: Any, name: str = "list") -> Event:
    fields = {"register": name, "numbers": list(numbers), "source": "feed", "controllers": None}
    return said("preference-register-imported", at=on(day), id=f"{name} {day}", **fields)


def answer(
    events: list[Event], *asked: Told, channel: str = "email", at: str = on(30), controller: str = "north",
    as_of: str | None = None, purpose: str = "news", **terms: Any,
) -> Decision:  # fmt: skip
    ledger = Ledger(register.compile(terms.pop("document", None) or world(**terms), 1), events)
    subject = [{"type": kind, "value": value} for kind, value in asked or (AN,)]
    return ledger.answer(
        {"controller": controller, "purpose": purpose, "channel": channel, "at": at, "subject": subject}, as_of
    )


F: dict[str, Any] = {"basis": "legitimate-interest"}
FILE: dict[str, Any] = F | {"channels": ["internal"], "direct_marketing": False}
MAIL: dict[str, Any] = F | {"channels": ["email", "sms", "post", "phone"], "soft_opt_in": True}
CALL: dict[str, Any] = {"channels": ["phone"], "dnc": ["list"]}
