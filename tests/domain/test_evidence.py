"""Records of a consent and of suppression, made of what was shown.

Seen to fail: a confirmation of another consent taken for this one's; an earlier refusal told as a later one; a consumer
told to have what it has not acknowledged; one of another controller or another channel told; a check before the
refusal, or about another purpose, told as the first that it hit; what is withdrawn together, or reached for want of a
purpose that is known, left out of either.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from consent_ledger.domain import register as registers
from consent_ledger.domain.consent_record import Log, given, record, relevant
from consent_ledger.domain.propagation import Stage, uses
from consent_ledger.domain.suppression_proof import Check, suppression
from domain.test_access import NOON, REGISTER, entry, shown

AT = datetime.fromisoformat(NOON)
NEWS = {"purposes": ["news"], "channels": ["email"]}
OFFERS = {"purposes": ["offers"], "channels": ["email"]}
TOGETHER = registers.compile(
    {
        "controllers": {"shop": {}},
        "purposes": [
            {"controller": "shop", "id": name, "basis": "consent", "channels": ["email"], "withdrawal_group": group}
            for name, group in (("news", "mail"), ("offers", "mail"), ("orders", None))
        ],
    },
    1,
)


def later(type: str, minutes: int = 1, **fields: Any) -> dict[str, Any]:
    return entry(type, **{"recorded_at": (AT + timedelta(minutes=minutes)).isoformat(), **fields})


def test_what_matters_to_a_consent_is_told_with_it() -> None:
    consent = entry(said=NEWS)
    before = later("consent-withdrawn", -1, event_id="before", said=NEWS)
    mine = later("consent-confirmed", event_id="mine", said={"consent_id": consent["event_id"]})
    others = later("consent-confirmed", event_id="others", said={"consent_id": "another"})
    all_ = later("objection-raised", event_id="all", said={"purposes": "all"})
    orders = later("consent-withdrawn", event_id="orders", said={"purposes": ["orders"]})
    look, linked = later("subject-viewed"), later("identifiers-linked")
    history = shown(before, consent, mine, others, all_, orders, look, linked)

    told = relevant(history, consent, REGISTER)
    made = record(history, consent["event_id"], REGISTER, [], Log(verifier_key="k", proofs=[]), NOON)

    assert [one["event_id"] for one in told] == [consent["event_id"], "mine", "all"]
    assert (made.double_opt_in.confirmation, made.notice.found) == ("mine", "unnamed")
    with pytest.raises(LookupError):
        given(history, "before")


def test_a_refusal_that_reaches_a_consent_without_naming_its_purpose_is_told_with_it() -> None:
    """Specification 6.6: what is withdrawn together, and a purpose that nobody knows."""
    consent = entry(said=NEWS)
    together = later("consent-withdrawn", event_id=str(uuid4()), said=OFFERS)
    unknown = later("objection-raised", event_id=str(uuid4()), said={**NEWS, "purposes": ["nobody-knows"]})
    orders = later("consent-withdrawn", event_id=str(uuid4()), said={**NEWS, "purposes": ["orders"]})
    another = later("consent-given", event_id="another", said=OFFERS)
    history = shown(consent, together, unknown, orders, another)

    told = relevant(history, consent, TOGETHER)

    assert told == [consent, together, unknown]


def test_a_check_about_what_is_withdrawn_together_with_what_was_named_hit_the_refusal() -> None:
    refusal = entry("consent-withdrawn", event_id=str(uuid4()), said=OFFERS)
    checks = [
        Check(checked_at=AT + timedelta(seconds=5), campaign=name, purpose=name, channel="email", reason="R")
        for name in ("orders", "news", "offers")
    ]

    told = suppression(TOGETHER, shown(refusal), [Stage(name="published", instant=AT, delays={})], checks, [], NOON)

    assert [one.first_check.campaign for one in told.refusals if one.first_check] == ["news"]


def test_a_refusal_is_told_with_who_has_it_and_the_first_check_it_hit() -> None:
    refusal = entry("consent-withdrawn", event_id=str(uuid4()), said=NEWS)
    topic = Stage(name="published", instant=AT, delays={AT: timedelta(seconds=2)})
    has = Stage(name="has", controllers=frozenset({"shop"}), instant=AT + timedelta(minutes=1), delays={})
    lacks = Stage(name="lacks", instant=AT - timedelta(seconds=1), delays={AT: timedelta(seconds=9)})
    foreign = Stage(name="foreign", controllers=frozenset({"other"}), instant=AT, delays={})
    posts = Stage(name="posts", uses=uses(REGISTER, ["shop"], [], ["post"]), instant=AT, delays={})
    checks = [
        Check(checked_at=AT + timedelta(seconds=at), campaign=name, purpose=purpose, channel="email", reason="R")
        for at, name, purpose in [
            (-5, "early", "news"),
            (5, "orders", "orders"),
            (6, "first", "news"),
            (7, "x", "news"),
        ]
    ]

    told = suppression(REGISTER, shown(refusal), [topic, has, lacks, foreign, posts], checks, [], NOON)

    (one,) = told.refusals
    assert (one.published.arrived, one.published.within_seconds) == (True, 2.0)
    assert [(each.name, each.arrived, each.within_seconds) for each in one.consumers] == [
        ("has", True, None), ("lacks", False, None),
    ]  # fmt: skip
    assert one.first_check is not None
    assert one.first_check.campaign == "first"
    assert AT.tzinfo == UTC


def test_only_a_hard_bounce_is_a_refusal() -> None:
    bounces = [
        entry("delivery-failed", event_id=str(uuid4()), said={"bounce": kind, **NEWS}) for kind in ("soft", "hard")
    ]
    topic = Stage(name="published", instant=None, delays={})

    told = suppression(REGISTER, shown(*bounces), [topic], [], [], NOON)

    assert [one.event_id for one in told.refusals] == [bounces[1]["event_id"]]
