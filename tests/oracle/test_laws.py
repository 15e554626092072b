"""The laws of specification 6.13 over random registers, which `domain.test_decision_laws` asks of one.

Law 2, replay, is every question of the comparison that has an `as_of`; law 6, time, is its waiting. A failure names its
seed; CONSENT_ORACLE_SEED takes it again.

Seen to fail: a waiver for one channel lifting all; only the last refusal obeyed; a consent counted at every address, or
for every channel; a consumer that is not told to wait for a refusal by which its answer changed: a bounce that names a
purpose, one of a purpose that is not registered, and one of the purpose that it asks about anew.
"""

import os
import uuid
from datetime import UTC, datetime
from random import Random
from typing import Any

from consent_ledger.domain import register as registers
from consent_ledger.domain.decision import Decision
from consent_ledger.domain.propagation import Refusal, Stage, refusal, uses
from consent_ledger.domain.reach import reach
from consent_ledger.domain.register import Register
from consent_ledger.domain.scenario import Ledger
from oracle import lives, times, worlds
from oracle.identifiers import normal
from oracle.lives import Life

SEED = int(os.environ.get("CONSENT_ORACLE_SEED") or Random().randrange(10**9))
SEEDS = range(SEED, SEED + 500)
REFUSALS = ("consent-withdrawn", "objection-raised", "complaint-received", "erasure-requested", "erasure-executed",
            "restriction-placed", "delivery-failed")  # fmt: skip
Object = dict[str, Any]


def _life(seed: int) -> tuple[Object, Life, list[Object]]:
    """Make a life in which nothing repeats an id: the laws speak of unique events."""
    chance = Random(seed)
    document = worlds.register(chance)
    life = Life(chance, document, seed)
    events = {event["id"]: event for event in life.history(8)}
    return document, life, list(events.values())


def _ask(document: Object, events: list[Object], questions: list[Object]) -> list[Decision]:
    ledger = Ledger(registers.compile(document, 1), events)
    return [ledger.answer(question, None) for question in questions]


def _arriving(events: list[Object]) -> list[Object]:
    """Record everything long after it happened, in this order."""
    return [
        event | {"occurred_at": _happened(event), "recorded_at": f"2099-01-01T00:00:{place:02}+00:00"}
        for place, event in enumerate(events)
    ]


def _happened(event: Object) -> str:
    return min(times.instant(event["occurred_at"]), times.instant(event["recorded_at"])).isoformat()


def test_the_order_of_arrival_changes_no_answer() -> None:
    for seed in SEEDS:
        document, life, events = _life(seed)
        questions = [life.question() for _ in range(6)]

        straight = _ask(document, _arriving(events), questions)
        shuffled = _ask(document, _arriving(life.chance.sample(events, len(events))), questions)

        assert [one.allow for one in straight] == [one.allow for one in shuffled], seed
        if len({_happened(event) for event in events}) == len(events):
            assert [one.reasons for one in straight] == [one.reasons for one in shuffled], seed


def test_a_refusal_never_turns_a_no_into_a_yes() -> None:
    for seed in SEEDS:
        document, life, events = _life(seed)
        questions = [life.question() for _ in range(6)]
        refusal = _refusal(life)

        before, after = _ask(document, events, questions), _ask(document, [*events, refusal], questions)

        assert all(old.allow or not new.allow for old, new in zip(before, after, strict=True)), (seed, refusal)


def test_who_asks_waits_for_every_refusal_that_turns_an_answer_to_no() -> None:
    turned, spared = 0, 0
    for seed in SEEDS:
        document, life, events = _life(seed)
        register = registers.compile(document, 1)
        questions = [life.question() for _ in range(6)]
        said = _refusal(life)
        spreads = _spreading(register, said)

        before, after = _ask(document, events, questions), _ask(document, [*events, said], questions)

        for question, old, new in zip(questions, before, after, strict=True):
            waits = _asking(register, question).concerns(spreads)
            assert waits or old.reasons == new.reasons, (seed, question, said)
            turned += old.reasons != new.reasons
            spared += not waits
    assert min(turned, spared) > len(SEEDS) // 10


def _spreading(register: Register, said: Object) -> Refusal:
    reached, _ = reach(
        register, type=said["type"], source=said["source"], controllers=said.get("controllers"),
        controller_scope=said.get("controller_scope"),
    )  # fmt: skip
    now = datetime.now(UTC)
    return refusal(
        register, said, event_id=uuid.uuid4(), type=said["type"], declared_at=now, recorded_at=now, controllers=reached
    )


def _asking(register: Register, question: Object) -> Stage:
    controller, purpose, channel = (question[name] for name in ("controller", "purpose", "channel"))
    asked = uses(register, [controller], [purpose], [channel])
    return Stage(name="tool", controllers=frozenset({controller}), uses=asked, instant=None, delays={})


def _refusal(life: Life) -> Object:
    """Make a refusal by one identifier: by two it would link, and a contact of the one keep the other's clock."""
    kind = life.chance.choice(REFUSALS)
    kind_of = {"bounce": "hard"} if kind == "delivery-failed" else {"kind": "direct-marketing", "request_id": "e0"}
    person = [one | {"shared": False} for one in life._subject(marks=0)[:1]]
    return {"id": "new", "type": kind, **life._when(), **life._whom(kind), "subject": person, **kind_of}


def test_a_consent_opens_nothing_but_what_it_names() -> None:
    for seed in SEEDS:
        document, life, events = _life(seed)
        events = [event for event in events if event["type"] not in ("identifier-changed", "event-voided")]
        questions = [life.question() for _ in range(6)]
        consent = {"id": "new", "type": "consent-given", **life._when(), **life._whom("consent-given")}
        consent |= life._consent_given() | {"subject": life._subject(marks=0)[:1]}

        before, after = _ask(document, events, questions), _ask(document, [*events, consent], questions)

        for question, old, new in zip(questions, before, after, strict=True):
            assert old.allow or not new.allow or _names(consent, question), (seed, question, consent)


def _names(consent: Object, question: Object) -> bool:
    named = question["purpose"] in consent["purposes"] and question["channel"] in consent["channels"]
    # The question after silence is about the consent to another purpose.
    return (
        question["controller"] in consent["controllers"]
        and (named or question["purpose"] == "ask")
        and _address(consent["subject"][0]) in map(_address, question["subject"])
    )


def _address(one: Object) -> tuple[str, str]:
    return one["type"], normal(one["type"], one["value"])[0]


def test_events_of_other_people_change_nothing() -> None:
    for seed in SEEDS:
        document, life, events = _life(seed)
        questions = [life.question() for _ in range(6)]
        strange = [_of_a_stranger(event) for event in events if event["type"] != "preference-register-imported"]

        alone, among = _ask(document, events, questions), _ask(document, [*events, *strange], questions)

        assert [(one.allow, one.reasons) for one in alone] == [(one.allow, one.reasons) for one in among], seed


def _of_a_stranger(event: Object) -> Object:
    """Give the same event to somebody else."""
    references = {"id", "consent_id", "objection_id", "restriction_id", "request_id", "voids"}
    other: Object = {field: f"s-{value}" if field in references else value for field, value in event.items()}
    if "subject" in other:
        other["subject"] = [one | {"value": f"x{one['value']}"} for one in other["subject"]]
    return other | {
        role: other[role] | {"value": f"x{other[role]['value']}"} for role in ("old", "new") if role in other
    }


def test_the_pools_hold_what_the_laws_speak_of() -> None:
    assert set(REFUSALS) <= {*lives.PERMITTING, *lives.REFUSING}
