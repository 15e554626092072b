"""What an executed erasure takes of a dossier: everything personal up to it, and never a refusal.

Seen to fail: what happened later taken; links of later followed; the controller's name and its source not asked for;
what was voided, or is still to come, obeyed; holds ignored, placed or lifted by anybody; refusals forgotten; marks of
shared identifiers forgotten; linked identifiers not bound; names and birth dates left; what refers to the person left;
a part taken for the whole; steps of a request not found by its name, or taken by who used its name again; the deciding
before and after left out; a birth date that is gone taken for none.
"""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as for_all
from hypothesis import strategies as st

from consent_ledger.domain import durations, erasure, holds
from consent_ledger.domain.decision import decide_address
from consent_ledger.domain.erasure import Plan
from consent_ledger.domain.facts import UNREADABLE, Fact
from consent_ledger.domain.scenario import Ledger
from domain import histories
from domain.histories import REGISTER, Event, numbered

AN = {"type": "email", "value": "an@example.be"}
PRIVATE = {"type": "email", "value": "an.prive@example.be"}
PHONE = {"type": "phone", "value": "+3221112233"}
NOW = durations.instant("2027-01-01T00:00:00Z")


def said(type: str, month: int, *subject: Event, **fields: Any) -> Event:
    instant = f"2026-{month:02}-01T10:00:00Z"
    plain: Event = {
        "type": type, "source": "web:north", "occurred_at": instant, "recorded_at": instant, "controllers": ["north"],
        "subject": list(subject) or [AN],
    }  # fmt: skip
    return {name: value for name, value in (plain | fields).items() if value is not None}


def erased(month: int = 6, *subject: Event, **fields: Any) -> Event:
    return said("erasure-executed", month, *subject, **{"request_id": "r", **fields})


def facts_of(*events: Event, controller: str = "north") -> tuple[Fact, ...]:
    return tuple(Ledger(REGISTER, numbered(list(events))).facts(controller))


def plans(*events: Event, controller: str = "north") -> list[Plan]:
    return erasure.plans(REGISTER, facts_of(*events, controller=controller), controller, NOW)


def names(plan: Plan, facts: tuple[Fact, ...]) -> set[str]:
    return {one.event_id.decode() for one in facts if one.place in plan.places}


@pytest.mark.parametrize(
    "erasure_",
    [
        erased(controllers=None), erased(controllers=["south"], source="web:south"), erased(source="web:south"),
        erased(source="nobody"), erased(occurred_at="2028-01-01T00:00:00Z", recorded_at="2028-01-01T00:00:00Z"),
    ],
    ids=["names nobody", "names another", "by another's source", "by an unknown source", "not yet"],
)  # fmt: skip
def test_an_erasure_takes_nothing_where_nobody_who_may_has_ordered_it(erasure_: Event) -> None:
    assert plans(said("consent-given", 1, purposes=["news"]), erasure_) == []


def test_only_what_happened_up_to_the_erasure_goes() -> None:
    events = [said("consent-given", 1), said("consent-withdrawn", 2), erased(6), said("consent-given", 7)]
    (plan,) = plans(*events)

    assert names(plan, facts_of(*events)) == {"e0", "e1", "e2"}


def test_steps_of_a_request_go_with_whoever_received_its_name_first() -> None:
    def step(type: str, month: int) -> Event:
        return said(type, month, request_id="r1", subject=None)

    shared = said("consent-given", 1, AN, {**PHONE, "shared": True}), said("consent-given", 1, PRIVATE, PHONE)
    events = [
        *shared,
        said("request-received", 2, AN, request_id="r1"), said("request-received", 3, PRIVATE, request_id="r1"),
        step("identity-requested", 4), step("request-answered", 5), erased(6),
    ]  # fmt: skip
    (plan,) = plans(*events)
    (of_other,) = plans(*events[:-1], erased(6, PRIVATE))

    assert names(plan, facts_of(*events)) == {"e0", "e2", "e4", "e5", "e6"}
    assert names(of_other, facts_of(*events)) == {"e1", "e3", "e6"}


def test_what_was_linked_later_is_not_taken() -> None:
    events = [said("consent-given", 1, PRIVATE), erased(6), said("identifiers-linked", 7, AN, PRIVATE)]
    (plan,) = plans(*events)

    assert names(plan, facts_of(*events)) == {"e1"}
    assert [kind for kind, _ in plan.identifiers] == ["email"]


def test_who_shares_an_identifier_is_not_taken() -> None:
    family = {**PHONE, "shared": True}
    events = [said("relationship-started", 1, family, AN), said("relationship-started", 1, family, PRIVATE), erased(6)]
    (plan,) = plans(*events)

    assert names(plan, facts_of(*events)) == {"e0", "e2"}
    assert plan.forgotten == frozenset()


def test_what_links_and_what_was_done_is_forgotten_and_proofs_and_refusals_stay() -> None:
    events = [
        said("consent-given", 1, AN, purposes=["news"]), said("identifiers-linked", 2, AN, PRIVATE),
        said("contact-recorded", 3, PRIVATE, initiated_by="subject", kind="call"),
        said("consent-withdrawn", 4, PRIVATE), erased(6),
    ]  # fmt: skip
    facts = facts_of(*events)
    (plan,) = plans(*events)

    assert {one.event_id.decode() for one in facts if one.place in plan.forgotten} == {"e1", "e2"}
    assert {one.event_id.decode() for one in plan.facts} == {"e0", "e3", "e4"}
    assert len(plan.bound) == 1


def test_what_refers_to_the_person_goes_too() -> None:
    events = [
        said("consent-given", 1, purposes=["club"]), said("consent-confirmed", 1, subject=None, consent_id="e0"),
        said("request-received", 2, request_id="q"), erased(6),
    ]  # fmt: skip
    (plan,) = plans(*events)

    assert names(plan, facts_of(*events)) == {"e0", "e1", "e2", "e3"}


def test_names_and_birth_dates_are_taken_out_of_what_stays() -> None:
    consent = said("consent-given", 1, purposes=["news"], entered_by="jan", approved_by="els", birth_date="2001-02-03")
    (plan,) = plans(consent, erased(6))

    kept = plan.facts[0]
    assert (kept.type, kept.entered_by, kept.approved_by) == ("consent-given", None, None)
    assert kept.birth_day == UNREADABLE


def test_a_birth_date_that_is_gone_lets_nobody_become_old_enough() -> None:
    """Another address of an entry stays, and was too young; that some date was given, the ledger still says."""
    young = said(
        "consent-given", 1, AN, PRIVATE, purposes=["talent"], channels=["internal"], birth_date="2012-05-05",
        origin="data-subject", mechanism="button", evidence={"text_id": "t", "text_version": 2, "ref": "r"},
    )  # fmt: skip
    facts = facts_of(young, erased(6, identifier_scope="identifier"))
    (plan,) = erasure.plans(REGISTER, facts, "north", NOW)
    private = next(token for _, kind, token, _ in facts[0].identifiers if token not in plan.cause.tokens)

    before, after = (_answers(known, "email", private)[("talent", "internal")] for known in (facts, plan.facts))

    assert (before.reason, after.reason) == ("MINOR", "AGE_UNKNOWN")


@pytest.mark.parametrize(
    ("lifting", "number"),
    [
        (None, 0),
        (said("hold-lifted", 8, subject=None, hold_id="e1"), 1),
        (said("hold-lifted", 8, subject=None, hold_id="e1", source="web:south"), 0),
        (said("hold-lifted", 8, subject=None, hold_id="e0"), 0),
    ],
)
def test_a_hold_keeps_everything_until_whoever_may_lifts_it(lifting: Event | None, number: int) -> None:
    events = [said("identifiers-linked", 1, AN, PRIVATE), said("hold-placed", 2, PRIVATE), erased(6)]

    assert len(plans(*events, *([lifting] if lifting else []))) == number


@pytest.mark.parametrize("fields", [{"controllers": ["south"]}, {"source": "web:south"}])
def test_a_hold_of_another_controller_keeps_nothing_here(fields: Event) -> None:
    facts = facts_of(said("consent-given", 1), said("hold-placed", 2, **fields), erased(6))

    assert holds.held(REGISTER, facts, "north", NOW) == frozenset()


def test_an_erasure_of_one_purpose_takes_what_is_for_nothing_else() -> None:
    events = [
        said("consent-given", 1, purposes=["news"]), said("consent-given", 1, purposes=["news", "club"]),
        said("consent-withdrawn", 2, purposes=["news"]),
        said("contact-recorded", 3, initiated_by="subject", kind="call"), erased(6, purposes=["news"]),
    ]  # fmt: skip
    (plan,) = plans(*events)

    assert not plan.whole
    assert names(plan, facts_of(*events)) == {"e0"}
    assert plan.forgotten == frozenset()


def test_a_voided_erasure_takes_nothing() -> None:
    mistake = erased(6, entered_by="jan")
    voiding = said("event-voided", 6, subject=None, voids="e1", entered_by="els", approved_by="kim")

    assert len(plans(said("consent-given", 1), mistake)) == 1
    assert plans(said("consent-given", 1), mistake, voiding) == []


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@for_all(events=histories.histories(most=8), subject=st.sampled_from(histories.PEOPLE), month=st.integers(2, 6))
def test_whatever_was_taken_no_address_gets_a_yes_it_had_not(
    events: list[Event], subject: tuple[str, str], month: int
) -> None:
    """And what is planned once more is what is left already."""
    kind, value = subject
    history = [*events, erased(month, {"type": kind, "value": value})]
    facts = facts_of(*history)
    for plan in erasure.plans(REGISTER, facts, "north", NOW):
        assert not _more(facts, plan.facts)
        (again,) = [
            one for one in erasure.plans(REGISTER, plan.facts, "north", NOW) if one.cause.place == plan.cause.place
        ]
        assert again.facts == plan.facts
        assert (
            msgspec.structs.replace(again, facts=(), cause=plan.cause, forgotten=plan.forgotten).identifiers
            == plan.identifiers
        )


def _more(before: tuple[Fact, ...], after: tuple[Fact, ...]) -> list[Any]:
    """The questions that are answered by yes after, and were by no before."""
    return [
        (kind, pair)
        for kind, token in {(kind, token) for one in before for _, kind, token, _ in one.identifiers}
        for pair, answer in _answers(after, kind, token).items()
        if answer.allow and not _answers(before, kind, token)[pair].allow
    ]


def _answers(facts: tuple[Fact, ...], kind: str, token: Any) -> Any:
    return decide_address(REGISTER, facts, controller="north", type=kind, token=token, at=NOW)
