"""When a consent counts, what a basis asks for and what stands against an address, where the scenarios do not look.

Seen to fail: a typed date outweighing a report of minority; the law's age, or the subject's country, ignored; the flaw
of the oldest consent reported, of two the last; a sale before an erasure; `due` without the birthday, the end of a
pending opt-in, of silence, of the window to ask again; a listing without doubt; a chain of changes out of order;
the last of two snapshots of one instant taken; the question after silence without the do-not-call registers, or
without the marketing, of what it asks for.
"""

from typing import Any

import pytest

from consent_ledger.domain import durations
from consent_ledger.domain.decision import Decision
from domain.cases import (
    AN,
    CALL,
    MAIL,
    PHONE,
    POST,
    PRIVATE,
    Event,
    F,
    answer,
    changed,
    consent,
    on,
    said,
    sale,
    snapshot,
    world,
)

# -- 6.7: consents


@pytest.mark.parametrize(
    ("terms", "age", "reason"),
    [
        ({"min_age": 16, "age_gate": "declared"}, {"declared_min_age": 16}, "CONSENT"),
        ({"min_age": 16, "age_gate": "signal"}, {"declared_min_age": 13}, "AGE_UNKNOWN"),
        ({"min_age": 16}, {}, "AGE_UNKNOWN"),
        ({"min_age": 16, "age_gate": "signal"}, {}, "CONSENT"),
        ({"min_age": 16}, {"birth_date": "2010-03-01"}, "CONSENT"),
        ({"min_age": 16}, {"birth_date": "2010-03-02"}, "MINOR"),
        ({"iss": True}, {"birth_date": "2013-03-01"}, "CONSENT"),
        ({"iss": True}, {"birth_date": "2013-03-02"}, "MINOR"),
        ({"iss": True, "min_age": 14}, {"birth_date": "2013-03-01"}, "MINOR"),
        ({}, {"birth_date": "2015-01-01"}, "CONSENT"),
    ],
)
def test_the_age_on_the_day_of_the_consent_decides(terms: dict[str, Any], age: dict[str, Any], reason: str) -> None:
    assert answer([consent(age=age)], **terms).reason == reason


def test_a_report_of_minority_weighs_more_than_the_date_typed_in_a_form() -> None:
    typed = consent(age={"birth_date": "1990-01-01"})
    reported = said("age-established", AN, is_minor=True, at=on(1))

    assert answer([typed, reported]).reason == "MINOR"
    assert answer([typed, reported, said("age-established", AN, birth_date="1990-01-01", at=on(2))]).allow


@pytest.mark.parametrize(("country", "reason"), [("BE", "CONSENT"), ("NL", "MINOR"), ("dk", "MINOR"), ("US", "MINOR")])
def test_the_subjects_country_sets_the_age(country: str, reason: str) -> None:
    assert answer([consent(age={"birth_date": "2012-03-01"}, country=country)], iss=True).reason == reason


def test_a_text_without_a_number_is_outdated_where_a_version_is_asked_for() -> None:
    unnumbered = consent(evidence={"text_id": "t", "text_version": "two", "ref": "r"})

    assert answer([unnumbered]).allow
    assert answer([unnumbered], min_text_version=2).reason == "CONSENT_OUTDATED"


def test_the_flaw_of_the_newest_consent_is_reported_and_of_two_the_first_in_the_ledger() -> None:
    old, expired = consent(at=on(-40)), consent(at=on(-30), mechanism="pre-ticked")
    same = consent(at=on(-30), id="same")

    assert answer([old, expired, same], consent_ttl="P10D").reason == "CONSENT_INVALID"
    assert answer([old, same, expired], consent_ttl="P10D").reason == "CONSENT_EXPIRED"


def test_a_double_opt_in_is_pending_to_the_very_end_of_seven_days() -> None:
    last = durations.instant(on(7))
    pending = answer([consent()], at=on(7), double_opt_in=True)

    assert pending.reason == "CONSENT_PENDING"
    assert pending.due == last + 1
    assert answer([consent()], at=on(7, 1), double_opt_in=True).reason == "CONFIRMATION_EXPIRED"


# -- 6.9: basis


def test_soft_opt_in_is_asked_for_where_mail_is_sent_and_not_for_post() -> None:
    assert answer([sale()], **MAIL).reason == "SOFT_OPT_IN"
    assert answer([sale(PHONE)], PHONE, channel="sms", **MAIL).reason == "SOFT_OPT_IN"
    assert answer([sale()], PHONE, channel="sms", **MAIL).reason == "SOFT_OPT_IN_MISSING"
    assert answer([], POST, channel="post", **MAIL).reason == "LEGITIMATE_INTEREST"
    assert answer([sale(PHONE)], PHONE, channel="phone", **MAIL).reason == "EPRIVACY_NO_BASIS"


def test_after_an_erasure_soft_opt_in_needs_a_later_sale_and_the_objection_taken_back() -> None:
    erased = said("erasure-executed", AN, at=on(1))
    back = said("objection-withdrawn", AN, at=on(3), purposes=["news"], channels=["email"], origin="data-subject")

    assert answer([sale(), erased, back], **MAIL).reason == "SOFT_OPT_IN_MISSING"
    assert answer([sale(), erased, sale(at=on(2))], **MAIL).reason == "ERASED"
    assert answer([sale(), erased, sale(at=on(2)), back], **MAIL).reason == "SOFT_OPT_IN"
    assert answer([sale(), erased | {"purposes": ["other"]}, back], **MAIL).reason == "SOFT_OPT_IN_MISSING"


def test_marketing_on_legitimate_interest_waits_for_the_eighteenth_birthday() -> None:
    born = said("age-established", AN, birth_date="2008-03-20")

    young = answer([sale(), born], at=on(1), **MAIL)

    assert young.reason == "MINOR"
    assert young.due == durations.instant("2026-03-20T00:00:00Z")
    assert answer([sale(), born], at="2026-03-20T00:00:00Z", **MAIL).allow


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        ([], "RETENTION_UNPROVEN"),
        ([("contact", -40)], "INACTIVE_EXPIRED"),
        ([("contact", -40), ("contact", -5)], "INACTIVE_EXPIRED"),
        ([("contact", -40), ("contact", -20), ("contact", 0)], "LEGITIMATE_INTEREST"),
        ([("sale", -400)], "LEGITIMATE_INTEREST"),
        ([("sale", -400), ("end", -40)], "INACTIVE_EXPIRED"),
        ([("sale", -400), ("end", -40), ("sale", -1)], "LEGITIMATE_INTEREST"),
        ([("sale", -1), ("end", -1)], "LEGITIMATE_INTEREST"),
        ([("sale", -40), ("end", -40)], "INACTIVE_EXPIRED"),
        ([("end", -1)], "LEGITIMATE_INTEREST"),
        ([("open", -1)], "RETENTION_UNPROVEN"),
        ([("ours", -1)], "RETENTION_UNPROVEN"),
    ],
)  # fmt: skip
def test_the_silence_clock_runs_from_the_last_sign_of_the_person(history: list[tuple[str, int]], reason: str) -> None:
    signs: dict[str, dict[str, Any]] = {
        "contact": {"type": "contact-recorded", "initiated_by": "subject", "kind": "call"},
        "open": {"type": "contact-recorded", "initiated_by": "subject", "kind": "open"},
        "ours": {"type": "contact-recorded", "initiated_by": "controller", "kind": "call"},
        "sale": {"type": "relationship-started"},
        "end": {"type": "relationship-ended"},
    }
    events = [
        said("", POST, at=on(day)) | signs[sign] | {"id": str(place)} for place, (sign, day) in enumerate(history)
    ]

    decided = answer(events, POST, channel="post", at=on(20), inactivity_ttl="P30D", **(F | {"channels": ["post"]}))

    assert decided.reason == reason


def test_the_one_question_is_asked_once_within_thirty_days_of_the_silence() -> None:
    document = world(inactivity_ttl="P10D", channels=["email"])
    document["purposes"].append(
        {"controller": "north", "id": "ask", **F, "channels": ["email"], "repermission_for": "news"}
    )
    events = [consent(at=on(0)), said("repermission-sent", AN, at=on(20), purpose="news", source="stranger")]

    def asked(day: int, minutes: int = 0) -> Decision:
        return answer(events, purpose="ask", at=on(day, minutes), document=document)

    assert asked(9).reason == "REPERMISSION_NOT_DUE"
    assert asked(9).due == durations.instant(on(10))
    assert asked(10).reason == "REPERMISSION_ONCE"
    assert asked(10).valid_until == durations.instant(on(40))
    assert asked(20).reason == "REPERMISSION_ALREADY_SENT"
    assert asked(40).reasons == ("REPERMISSION_ALREADY_SENT", "REPERMISSION_WINDOW_CLOSED")


def asking(*, own: list[str], named: list[str]) -> dict[str, Any]:
    """A world in which the question after silence may be put by phone."""
    document = world(inactivity_ttl="P10D", channels=["phone"], dnc=named)
    document["purposes"].append(
        {"controller": "north", "id": "ask", **F, "channels": ["phone"], "dnc": own, "repermission_for": "news"}
    )
    return document


def test_the_one_question_by_phone_needs_the_do_not_call_register_of_what_it_asks_for() -> None:
    document = asking(own=[], named=["list"])

    def asked(day: int, *listed: dict[str, str]) -> Decision:
        events = [consent(PHONE, at=on(0)), snapshot(5, *listed)]
        return answer(events, PHONE, purpose="ask", channel="phone", at=on(day), document=document)

    assert (asked(9).reason, asked(9).needs_dnc) == ("REPERMISSION_NOT_DUE", "list")
    assert (asked(11).reason, asked(11).needs_dnc) == ("REPERMISSION_ONCE", "list")
    assert (asked(12).allow, asked(12).reason) == (False, "DNC_STALE")
    assert asked(11, {"value": PHONE[1]}).reason == "DNC_LISTED"


def test_the_one_question_says_when_the_list_of_what_it_asks_for_grows_stale() -> None:
    document = asking(own=["other"], named=["list"])
    events = [consent(PHONE, at=on(0)), snapshot(0), snapshot(0, name="other")]

    def asked(day: int, minutes: int = 0) -> Decision:
        return answer(events, PHONE, purpose="ask", channel="phone", at=on(day, minutes), document=document)

    assert (asked(6).reason, asked(6).due, asked(6).needs_dnc) == (
        "REPERMISSION_NOT_DUE", durations.instant(on(7)), "other",
    )  # fmt: skip
    assert asked(7, -1).reason == "REPERMISSION_NOT_DUE"
    assert asked(7).reason == "DNC_STALE"


# -- 6.10: do-not-call, address


def test_a_listing_counts_from_its_own_date_where_the_register_gives_one() -> None:
    listed = snapshot(28, {"value": PHONE[1], "registered_at": on(5)})

    assert answer([consent(PHONE, at=on(6)), listed], PHONE, channel="phone", **CALL).allow
    assert answer([consent(PHONE, at=on(5, 5)), listed], PHONE, channel="phone", **CALL).reason == "DNC_LISTED"
    assert (
        answer([consent(PHONE, at=on(6)), snapshot(28, {"value": PHONE[1]})], PHONE, channel="phone", **CALL).reason
        == "DNC_LISTED"
    )


def test_a_decision_names_the_register_it_needs_instead_of_carrying_its_date() -> None:
    fresh = answer([consent(PHONE), snapshot(28)], PHONE, channel="phone", **CALL)

    assert fresh.allow
    assert fresh.needs_dnc == "list"
    assert (fresh.valid_until, fresh.due) == (None, None)
    assert answer([consent()]).needs_dnc is None


@pytest.mark.parametrize("order", [1, -1])
def test_two_snapshots_of_one_instant_stand_together_whichever_came_last(order: int) -> None:
    snapshots = [snapshot(28, {"value": PHONE[1]}), snapshot(28) | {"id": "empty"}]

    said_no = answer([consent(PHONE), *snapshots[::order]], PHONE, channel="phone", **CALL)

    assert said_no.reason == "DNC_LISTED"


def test_a_second_register_ends_the_yes_at_the_age_of_its_snapshot() -> None:
    both: dict[str, Any] = {"channels": ["phone"], "dnc": ["list", "other"]}
    events = [consent(PHONE), snapshot(28), snapshot(5, name="other")]

    assert answer(events[:2], PHONE, channel="phone", **both).reason == "DNC_STALE"
    assert answer(events, PHONE, channel="phone", **both).valid_until == durations.instant(on(35))


@pytest.mark.parametrize("how", [{}, {"origin": "staff"}, {"verified": False}, {"source": "stranger"}])
def test_a_replaced_address_is_retired_whoever_says_so(how: dict[str, Any]) -> None:
    moved = changed(AN, PRIVATE, at=on(1), **how)

    assert answer([moved], basis="contract", direct_marketing=False).reason == "ADDRESS_RETIRED"


@pytest.mark.parametrize(
    ("since", "reason"),
    [
        (said("identifier-verified", AN, at=on(2)), "CONSENT"),
        (said("identifier-verified", AN, at=on(1, 4), source="desk"), "ADDRESS_RETIRED"),
        (changed(PRIVATE, AN, at=on(2)), "CONSENT"),
        (consent(at=on(2)), "CONSENT"),
        (consent(at=on(2), origin="import"), "ADDRESS_RETIRED"),
        (consent(at=on(2), purposes=["other"]), "ADDRESS_RETIRED"),
    ],
)
def test_a_retired_address_comes_back_only_by_proof_or_the_subjects_new_consent(since: Event, reason: str) -> None:
    assert answer([consent(at=on(-9)), changed(AN, PRIVATE, at=on(1)), since]).reason == reason


def test_a_consent_moves_along_a_chain_of_changes_in_their_order_only() -> None:
    second = ("email", "an.b@example.be")
    events = [consent(), changed(AN, PRIVATE, at=on(1), id="1")]

    assert answer([*events, changed(PRIVATE, second, at=on(2), id="2")], second).allow
    assert answer([*events, changed(PRIVATE, second, at=on(0, 5), id="2")], second).reason == "CONSENT_ABSENT"


def test_an_address_changed_back_may_still_bounce() -> None:
    bounced = said("delivery-failed", AN, at=on(1), bounce="hard", channels=["email"])

    assert answer([consent(), bounced, changed(PRIVATE, AN, at=on(2))]).reason == "HARD_BOUNCE"
    assert answer([consent(), bounced, said("identifier-verified", AN, at=on(2))]).allow


def test_a_confirmed_opt_in_proves_the_address_after_a_bounce() -> None:
    bounced = said("delivery-failed", AN, at=on(1), bounce="hard", channels=["email"])
    again = consent(at=on(1, 30), id="c", purposes=["other"])
    confirmed = said("consent-confirmed", at=on(1, 40), consent_id="c")

    assert answer([consent(), bounced, again]).reason == "HARD_BOUNCE"
    assert answer([consent(), bounced, again, confirmed]).allow
    assert answer([consent(), bounced, again, confirmed | {"occurred_at": on(9)}]).reason == "HARD_BOUNCE"
