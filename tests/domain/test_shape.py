"""Histories of one shape: the answer that is given again is the one that would be decided.

Seen to fail:
- the order of the facts, what is certainly later, or what the events say left out of the shape;
- tokens not told apart, or the asked one not told from the others;
- clocks whose state, or whose order, is not compared; a clock, or the law of the day, not noted by the rules;
- clocks that end together given a pattern;
- a shape for facts of one instant, for a consent with a birth date, for types that start or refer to something.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_ledger.domain import durations, register, suppression
from consent_ledger.domain.decision import history_of
from consent_ledger.domain.facts import SKEW, Fact
from consent_ledger.domain.register import Register
from consent_ledger.domain.scenario import Ledger
from consent_ledger.domain.shape import shape_of
from domain import histories
from domain.cases import AN, F, consent, on, said, world
from domain.histories import END, PEOPLE, REGISTER, Event, numbered
from domain.test_decision_laws import slowly

TOKEN = b"email|an@example.be"
Own = tuple[bytes, int | None]

short = st.lists(
    st.one_of(histories.consents(PEOPLE[:3]), histories.refusals(PEOPLE[:3]), histories.others(PEOPLE[:3])),
    min_size=1, max_size=4,
).map(lambda found: numbered(sorted(found, key=lambda one: one["recorded_at"])))  # fmt: skip
gaps = st.sampled_from([0, 1, SKEW - 1, SKEW, SKEW + 1, durations.DAY, 8 * durations.DAY, 31 * durations.DAY])
afterwards = st.sampled_from([0, 1, 7 * durations.DAY, 20 * durations.DAY, 40 * durations.DAY, 4000 * durations.DAY])


def own(facts: Sequence[Fact], at: int, token: bytes = TOKEN, *, compiled: Register) -> Own:
    """Ask as the viewer does."""
    return suppression.decide_own(compiled, facts, controller="north", type="email", token=token, at=at)


def decided(facts: Sequence[Fact], at: int, controller: str, type: str, token: bytes) -> Own:
    """Decide without any memory."""
    history = history_of(REGISTER, facts, controller=controller, at=at)
    return suppression.encode_touched(history, type, token)


@slowly
@given(short, st.lists(gaps, min_size=4, max_size=4), afterwards, afterwards)
def test_another_history_of_the_same_shape_is_answered_as_if_decided(
    events: list[Event], between: list[int], late: int, later: int
) -> None:
    ledger = Ledger(REGISTER, events)
    for controller in REGISTER.controllers:
        for kind, value in PEOPLE[:3]:
            token = f"{kind}|{value}".encode()
            facts = ledger.dossier(controller, [token])
            asked: dict[str, Any] = {"controller": controller, "type": kind}
            for one, name, wait in ((facts, token, late), (_others(facts, between), b"x" + token, later)):
                at = max((fact.recorded for fact in one), default=0) + wait

                found = suppression.decide_own(REGISTER, one, at=at, token=name, **asked)

                assert found == decided(one, at, controller, kind, name)


def _others(facts: Sequence[Fact], between: Sequence[int]) -> list[Fact]:
    """Give facts that say the same of other people, at other places and instants."""
    start = durations.instant(END)
    moved = []
    for number, (fact, gap) in enumerate(zip(facts, between, strict=False)):
        start += gap
        moved.append(
            msgspec.structs.replace(
                fact, event_id=b"x" + fact.event_id, time=start, recorded=start, shard=2, pos=100 + number, version=9,
                refers_to=fact.refers_to and b"x" + fact.refers_to,
                identifiers=tuple((role, kind, b"x" + one, shared) for role, kind, one, shared in fact.identifiers),
            )
        )  # fmt: skip
    return moved


def facts_of(*events: Event, compiled: Register) -> list[Fact]:
    """Read events as one controller has them."""
    return list(Ledger(compiled, list(events)).facts("north"))


def test_what_was_decided_once_is_not_decided_again(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = register.compile(world(), 1)
    first = facts_of(consent(), said("objection-raised", AN, at=on(1), kind="direct-marketing"), compiled=compiled)
    now = durations.instant(END)
    before = own(first, now, compiled=compiled)

    monkeypatch.setattr(suppression, "encode_touched", None)
    other, due = own(_others(first, [0, durations.DAY]), now, token=b"x" + TOKEN, compiled=compiled)

    assert own(first, now, compiled=compiled) == before
    assert (other, due) == (before[0].replace(b"2026-03-02T12", b"2026-06-02T00"), None)


def test_the_instants_of_an_answer_are_those_of_its_own_history() -> None:
    compiled = register.compile(world(consent_ttl="P30D"), 1)
    first = facts_of(consent(), compiled=compiled)
    other = _others(first, [durations.DAY])

    answers = [
        suppression.decode_own(own(facts, facts[0].time, token=token, compiled=compiled)[0])["news"]["email"]
        for facts, token in ((first, TOKEN), (other, b"x" + TOKEN))
    ]

    assert [answer.valid_until for answer in answers] == [
        durations.rfc3339(durations.moment(durations.after(facts[0].time, "P30D"))) for facts in (first, other)
    ]


@pytest.mark.parametrize("wait", [29, 31])
def test_a_clock_that_ran_out_changes_the_answer(wait: int) -> None:
    compiled = register.compile(world(consent_ttl="P30D"), 1)
    facts = facts_of(consent(), compiled=compiled)
    for days in (0, 60):
        own(facts, facts[0].time + days * durations.DAY, compiled=compiled)

    found, due = own(facts, facts[0].time + wait * durations.DAY, compiled=compiled)

    assert (b"CONSENT_EXPIRED" in found, due is None) == (wait > 30, wait > 30)


@pytest.mark.parametrize(
    "event",
    [
        consent(at=on(1), age={"birth_date": "2001-05-05"}),
        said("age-established", AN, at=on(1), birth_date="2001-05-05"),
        said("relationship-started", AN, at=on(1)),
        said("event-voided", AN, at=on(1), voids="e"),
    ],
)
def test_what_may_say_more_than_its_shape_has_none(event: Event) -> None:
    compiled = register.compile(world(**F), 1)

    assert shape_of(facts_of(consent(), event, compiled=compiled), TOKEN) is None


def _reasons(compiled: Register, *histories_: list[Fact]) -> list[str]:
    """Ask about the newsletter in several histories, one after the other."""
    reasons = []
    for facts in histories_:
        found = suppression.decode_own(own(facts, facts[-1].recorded, compiled=compiled)[0])
        reasons.append(found["news"]["email"].reason)
    return reasons


def test_the_order_of_the_facts_is_part_of_the_shape() -> None:
    compiled = register.compile(world(), 1)
    facts = facts_of(consent(), said("consent-withdrawn", AN, at=on(1)), compiled=compiled)
    turned = [msgspec.structs.replace(facts[0], time=facts[1].time + 1, recorded=facts[1].time + 1), facts[1]]

    assert _reasons(compiled, facts, turned) == ["CONSENT_WITHDRAWN", "CONSENT"]


def test_what_is_certainly_later_is_part_of_the_shape() -> None:
    compiled = register.compile(world(), 1)
    close, apart = (
        facts_of(said("consent-withdrawn", AN), consent(at=on(0, minutes), source="desk"), compiled=compiled)
        for minutes in (4, 6)
    )

    assert _reasons(compiled, close, apart) == ["CONSENT_WITHDRAWN", "CONSENT"]


def test_a_law_that_changed_is_asked_for_the_day_of_each_consent() -> None:
    compiled = register.compile(world(iss=True), 1)
    before, after = (
        facts_of(consent(at=f"{year}-06-01T12:00:00Z", country="DK", age={"declared_min_age": 13}), compiled=compiled)
        for year in (2023, 2025)
    )

    assert _reasons(compiled, before, after) == ["CONSENT", "AGE_UNKNOWN"]


def test_the_order_in_which_clocks_run_out_is_compared() -> None:
    document = world(consent_ttl="P30D")
    document["purposes"].append(document["purposes"][0] | {"id": "club", "consent_ttl": "P10D"})
    compiled = register.compile(document, 1)
    soon, late = (facts_of(consent(), consent(at=on(day), purposes=["club"]), compiled=compiled) for day in (1, 25))

    dues = [own(facts, facts[1].time, compiled=compiled)[1] for facts in (soon, late, soon)]

    assert dues == [durations.after(facts[place].time, ttl) for facts, place, ttl in (
        (soon, 1, "P10D"), (late, 0, "P30D"), (soon, 1, "P10D"),
    )]  # fmt: skip


def test_clocks_that_end_together_tell_nothing_of_those_that_do_not() -> None:
    document = world(consent_ttl="P30D")
    document["purposes"].append(document["purposes"][0] | {"id": "club", "consent_ttl": "P10D"})
    compiled = register.compile(document, 1)
    together, soon, late = (
        facts_of(consent(), consent(at=on(day), purposes=["club"]), compiled=compiled) for day in (20, 19, 21)
    )

    dues = [own(facts, facts[1].time, compiled=compiled)[1] for facts in (together, soon, together, late)]

    assert dues == [durations.instant(on(day)) for day in (30, 29, 30, 30)]


def test_two_facts_of_one_instant_have_no_shape() -> None:
    compiled = register.compile(world(), 1)
    facts = facts_of(consent(), said("consent-withdrawn", AN, at=on(1)), compiled=compiled)

    assert shape_of(_others(facts, [0, 1]), b"x" + TOKEN) is not None
    assert shape_of(_others(facts, [0, 0]), b"x" + TOKEN) is None
