"""What time alone does to answers: one person for each act, and the instants at which their answer changes."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import builders

Json = dict[str, Any]

BEGIN: Final = datetime(2026, 3, 1, 9, tzinfo=UTC)
SHOP: Final = "shop"
WEB: Final = "web:shop"
BIRTHDAY: Final = datetime(2026, 3, 20, tzinfo=UTC)
INFORMED: Final = datetime(2026, 3, 5, 10, tzinfo=UTC)


def after(days: int, **more: int) -> datetime:
    """So long after the begin."""
    return BEGIN + timedelta(days=days, **more)


def purpose(name: str, **terms: Any) -> Json:
    """A purpose for marketing by e-mail on consent, but for the given terms."""
    usual = {"controller": SHOP, "id": name, "basis": "consent", "channels": ["email"], "direct_marketing": True}
    return usual | terms


_INTEREST: Final[Json] = {"basis": "legitimate-interest"}
REGISTER: Final[Json] = {
    "controllers": {SHOP: {"name": "Shop", "country": "BE"}},
    "sources": {WEB: {"controllers": [SHOP]}},
    "purposes": [
        purpose("letter"),
        purpose("week", consent_ttl="P7D"),
        purpose("club", double_opt_in=True),
        purpose("mail", **_INTEREST, soft_opt_in=True, inactivity_ttl="P30D"),
        purpose("ask-again", **_INTEREST, repermission_for="mail"),
        purpose("brochure", **_INTEREST, channels=["email", "post"]),
        purpose("study", **_INTEREST, direct_marketing=False),
    ],
    "dnc_registers": {},
}


class Change(NamedTuple):
    """At `instant` the answer comes to be this one, without any event."""

    instant: datetime
    reason: str


class Act(NamedTuple):
    """What happens at the begin, and how the answer goes on."""

    name: str
    events: tuple[Json, ...]
    purpose: str
    channel: str
    address: Json
    first: str
    changes: tuple[Change, ...]

    @property
    def question(self) -> Json:
        """What is asked, again and again."""
        return {"controller": SHOP, "subject": [self.address], "purpose": self.purpose, "channel": self.channel}

    def reason(self, now: datetime) -> str:
        """What must be answered at an instant."""
        return next((one.reason for one in reversed(self.changes) if one.instant <= now), self.first)


ALLOWED: Final = frozenset({"CONSENT", "SOFT_OPT_IN", "REPERMISSION_ONCE", "LEGITIMATE_INTEREST",
                            "LEGITIMATE_INTEREST_COMPELLING"})  # fmt: skip


def event(type: str, *subject: Json, at: datetime = BEGIN, **fields: Any) -> Json:
    """An event from the shop's own site."""
    if subject:
        fields["subject"] = list(subject)
    return builders.event(type, source=WEB, time=at.isoformat(), controllers=[SHOP], **fields)


def given(address: Json, *purposes: str, at: datetime = BEGIN) -> Json:
    """A consent to purposes by e-mail."""
    return event(
        "consent-given", address, at=at, purposes=list(purposes), channels=["email"], origin="data-subject",
        mechanism="unticked-checkbox", evidence={"text_id": "t", "text_version": 1, "ref": "r"},
    )  # fmt: skip


def sold(address: Json) -> Sequence[Json]:
    """A sale with soft opt-in, and the end of the relationship at the same instant, where silence begins."""
    met: Json = dict.fromkeys(("collected_in_sale", "opt_out_offered", "similar_products"), True)
    return (event("relationship-started", address, **met), event("relationship-ended", address))


def acts(prefix: str) -> list[Act]:
    """Every act, by people of one's own."""

    def email(name: str) -> Json:
        return builders.email(f"{prefix}-{name}@example.be")

    post = {"type": "postal", "value": f"BE 1000 BRUSSEL, MARKT {prefix}"}
    objection = event("objection-raised", email("studied"), kind="situation")
    assessed = event(
        "objection-assessed", objection_id=objection["id"], outcome="rejected", grounds="g",
        subject_informed_at=INFORMED.isoformat(),
    )  # fmt: skip
    confirmed = given(email("confirmed"), "club")
    pending = given(email("pending"), "club", at=after(0, hours=-1))
    silent, closed = after(30), after(60)
    return [
        Act("a consent expires", (given(email("week"), "week"),), "week", "email", email("week"), "CONSENT",
            (Change(after(7), "CONSENT_EXPIRED"),)),
        Act("a confirmation does not come", (pending,), "club", "email", email("pending"),
            "CONSENT_PENDING", (Change(after(7, hours=-1, microseconds=1), "CONFIRMATION_EXPIRED"),)),
        Act("a confirmed consent stays", (confirmed, event("consent-confirmed", consent_id=confirmed["id"])), "club",
            "email", email("confirmed"), "CONSENT", ()),
        Act("silence runs out", tuple(sold(email("silent"))), "mail", "email", email("silent"), "SOFT_OPT_IN",
            (Change(silent, "INACTIVE_EXPIRED"),)),
        Act("one may ask again for a while", tuple(sold(email("again"))), "ask-again", "email", email("again"),
            "REPERMISSION_NOT_DUE",
            (Change(silent, "REPERMISSION_ONCE"), Change(closed, "REPERMISSION_WINDOW_CLOSED"))),
        Act("a minor comes of age", (event("age-established", post, birth_date="2008-03-20"),), "brochure", "post",
            post, "MINOR", (Change(BIRTHDAY, "LEGITIMATE_INTEREST"),)),
        Act("the subject is informed", (objection, assessed), "study", "email", email("studied"),
            "OBJECTION_PENDING", (Change(INFORMED, "LEGITIMATE_INTEREST_COMPELLING"),)),
    ]  # fmt: skip
