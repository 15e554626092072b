"""What an answer says, whom a refusal is about, what it means and what ends it, where the scenarios do not look.

Seen to fail: shared identifiers, malformed refusals and devices linking; the typist approving a voiding; a withdrawal
not counting elsewhere, or for a later consent; joint controllers found in one direction, or only for what was refused;
a withdrawal not stopping profiling; objections rejected without grounds; erasures refused without grounds; restrictions
lifted before the subject was told; `due` without the end of a consent or the informing of the subject; `valid_until`
unjudged.
"""

from typing import Any

import pytest

from consent_ledger.domain import durations, register
from consent_ledger.domain.decision import decide
from domain.cases import (
    AN,
    CUSTOMER,
    DEVICE,
    FILE,
    NOON,
    PHONE,
    POST,
    PRIVATE,
    F,
    answer,
    consent,
    on,
    said,
    world,
)


def test_a_no_names_all_reasons_in_order_and_what_caused_the_first() -> None:
    events = [
        consent(at=on(-9)), said("delivery-failed", AN, at=on(1), bounce="hard", channels=["email"]),
        said("objection-raised", AN, at=on(3), kind="direct-marketing"), said("objection-raised", AN, at=on(2)),
    ]  # fmt: skip

    said_no = answer(events)

    assert said_no.reasons == ("OBJECTION_DM", "CONSENT_WITHDRAWN", "HARD_BOUNCE")
    assert said_no.since == durations.instant(on(2))
    assert said_no.entries == ((0, 2), (0, 3))
    assert said_no.articles == ("Art. 21(2)", "Art. 21(3)")
    assert said_no.basis == "consent"
    assert said_no.due is None


def test_a_yes_names_the_entry_it_rests_on_and_when_it_ends() -> None:
    said_yes = answer([consent(at=on(0)), consent(at=on(10))], at=on(20), consent_ttl="P30D")

    assert said_yes.allow
    assert said_yes.entries == ((0, 1),)
    # The end of the first changes nothing.
    assert said_yes.due == said_yes.valid_until == durations.instant(on(40))


def test_an_objection_ended_by_a_consent_is_back_when_the_consent_ends() -> None:
    events = [said("objection-raised", AN, kind="direct-marketing"), consent(at=on(1))]

    assert answer(events, at=on(2), consent_ttl="P5D").valid_until == durations.instant(on(6))
    assert answer(events, at=on(6), consent_ttl="P5D").reasons == (
        "OBJECTION_DM",
        "CONSENT_WITHDRAWN",
        "CONSENT_EXPIRED",
    )


def test_no_identifier_is_no_address_even_where_the_channel_has_none() -> None:
    compiled = register.compile(world(**FILE), 1)

    asked = decide(compiled, (), controller="north", identifiers=[], purpose="news", channel="internal", at=NOON)

    assert asked.reason == "NO_ADDRESS"


def test_one_address_written_twice_is_one_address() -> None:
    assert answer([consent()], AN, ("email", " AN@example.be ")).reason == "CONSENT"


# -- 6.3, 6.5: voiding, links, shared identifiers


def test_a_link_is_undone_only_by_a_source_of_the_controller() -> None:
    link = said("identifiers-linked", AN, PRIVATE, at=on(1), id="link")
    events = [consent(), link, said("objection-raised", PRIVATE, at=on(2), kind="direct-marketing")]

    assert not answer([*events, said("event-voided", at=on(3), voids="link", source="stranger")]).allow
    assert answer([*events, said("event-voided", at=on(3), voids="link")]).allow


def test_a_refusal_typed_for_several_controllers_is_voided_by_a_source_of_all() -> None:
    refusal = said("consent-withdrawn", AN, at=on(1), id="w", controllers=["north", "south"], entered_by="a")
    people = {"entered_by": "a", "approved_by": "b", "voids": "w"}

    assert not answer([consent(), refusal, said("event-voided", at=on(2), **people)]).allow
    assert answer([consent(), refusal, said("event-voided", at=on(2), source="desk", **people)]).allow


@pytest.mark.parametrize(
    ("typist", "first", "second"), [("a", "a", "a"), ("a", "b", "a"), ("a", "b", "b"), (None, "b", "c")]
)
def test_the_second_person_is_neither_the_first_nor_the_typist(typist: str | None, first: str, second: str) -> None:
    refusal = said("consent-withdrawn", AN, at=on(1), id="w", entered_by=typist)
    void = said("event-voided", at=on(2), voids="w", entered_by=first, approved_by=second)

    assert answer([consent(), refusal, void]).reason == "CONSENT_WITHDRAWN"


def test_what_stands_for_a_malformed_refusal_binds_all_its_identifiers_and_links_none() -> None:
    synthetic = {"id": "m", "malformed": True, "controllers": None, "source": "desk"}
    events = [consent(), consent(PRIVATE), said("objection-raised", AN, CUSTOMER, at=on(1), **synthetic)]
    later = said("consent-withdrawn", CUSTOMER, at=on(40), purposes=["news"])

    assert answer(events).reason == "OBJECTION_DM"
    assert answer([*events, said("identifiers-linked", CUSTOMER, PRIVATE)], PRIVATE).reason == "OBJECTION_DM"
    assert "CONSENT_WITHDRAWN" not in answer([consent(at=on(2)), *events[2:], later], at=on(50)).reasons


def test_two_people_can_void_what_stands_for_a_malformed_refusal() -> None:
    synthetic = said("objection-raised", AN, at=on(1), id="m", malformed=True)
    void = said("event-voided", at=on(2), voids="m", entered_by="a", approved_by="b")

    assert answer([consent(), synthetic, void]).allow


def test_a_device_is_not_linked_by_standing_beside_an_address() -> None:
    events = [consent(AN, DEVICE), said("objection-raised", DEVICE, at=on(1), kind="direct-marketing")]

    assert answer(events).allow
    assert answer([*events, said("identifiers-linked", AN, DEVICE)]).reason == "OBJECTION_DM"


def test_a_refusal_by_a_shared_number_binds_the_number_alone() -> None:
    shared = [{"type": "phone", "value": PHONE[1], "shared": True}, {"type": "email", "value": AN[1]}]
    events = [consent(subject=shared), said("consent-withdrawn", PHONE, at=on(1))]

    assert answer(events, AN, PHONE).allow
    assert answer(events, AN, PHONE, channel="phone", channels=["email", "phone"], dnc=[]).reason == "CONSENT_WITHDRAWN"


# -- 6.4: controllers of a refusal


def test_a_withdrawal_counts_wherever_the_same_consent_was_named() -> None:
    both = consent(controllers=["north", "south"], source="desk")
    withdrawn = said("consent-withdrawn", AN, at=on(1), purposes=["news"])

    assert answer([both, withdrawn], controller="south").reason == "CONSENT_WITHDRAWN"
    assert answer([both, withdrawn | {"type": "objection-raised"}], controller="south").allow
    assert answer([both, withdrawn | {"purposes": ["other"]}], controller="south").reason == "CONSENT_WITHDRAWN"
    assert answer(
        [consent(at=on(2), controllers=["north", "south"], source="desk"), withdrawn], controller="south"
    ).allow


def test_a_withdrawal_does_not_count_elsewhere_for_a_consent_that_was_not_given_yet() -> None:
    imported = consent(at=on(2), controllers=["north", "south"], source="desk", origin="import")

    assert answer([imported, said("consent-withdrawn", AN, at=on(1))], controller="south").allow
    assert not answer([imported, said("consent-withdrawn", AN, at=on(3))], controller="south").allow


@pytest.mark.parametrize(
    ("type", "reason"),
    [
        ("erasure-executed", "ERASED"), ("restriction-placed", "RESTRICTED"),
        ("erasure-requested", "ERASURE_REQUESTED"),
        ("objection-raised", "OBJECTION_PENDING"),
    ],
)  # fmt: skip
def test_joint_controllers_share_what_was_refused_to_one(type: str, reason: str) -> None:
    document = world(**FILE)
    document["purposes"][0]["joint_with"] = ["south"]

    assert answer([said(type, AN)], controller="south", channel="internal", document=document).reason == reason
    assert answer([said(type, AN)], controller="south", channel="internal", **FILE).allow


def test_what_a_refusal_for_another_purpose_links_is_one_person_to_the_joint_controllers_too() -> None:
    document = world(**FILE)
    document["purposes"] += [{"controller": "north", "id": "survey", "basis": "consent", "channels": ["email"]}]
    document["purposes"][0]["joint_with"] = ["south"]
    linking = said("consent-withdrawn", AN, CUSTOMER, purposes=["survey"])
    refusing = said("restriction-placed", CUSTOMER, controllers=["south"], source="desk")

    joined = answer([linking, refusing], controller="south", channel="internal", document=document)
    apart = answer([refusing], controller="south", channel="internal", document=document)

    assert joined.reason == "RESTRICTED"
    assert apart.allow


def test_joint_controllers_do_not_share_bounces() -> None:
    document = world(basis="contract", channels=["email"], direct_marketing=False)
    document["purposes"][0]["joint_with"] = ["south"]
    bounced = said("delivery-failed", AN, bounce="hard", channels=["email"])

    assert answer([bounced], document=document).reason == "HARD_BOUNCE"
    assert answer([bounced], controller="south", document=document).allow


# -- 6.6, 6.8: meaning and end of refusals


def test_direct_marketing_can_be_objected_to_on_any_basis() -> None:
    terms: dict[str, Any] = {"basis": "contract", "channels": ["post"]}

    assert answer([], POST, channel="post", **terms).reason == "CONTRACT"
    assert answer([said("objection-raised", POST)], POST, channel="post", **terms).reason == "OBJECTION_DM"


def test_a_withdrawal_of_mail_stops_profiling_that_rests_on_legitimate_interest() -> None:
    withdrawn = said("consent-withdrawn", AN, channels=["email"])

    assert answer([withdrawn], channel="internal", **F).reason == "OBJECTION_DM"
    assert answer([consent(), withdrawn | {"occurred_at": on(1)}], channel="internal").allow


def test_an_objection_taken_back_is_no_objection_whatever_was_assessed() -> None:
    objection = said("objection-raised", AN, id="o")
    rejected = said(
        "objection-assessed", at=on(1), objection_id="o", outcome="rejected", grounds="g", subject_informed_at=on(1)
    )
    upheld = rejected | {"id": "u", "outcome": "upheld"}
    back = said("objection-withdrawn", AN, at=on(3), purposes=["news"], channels=["internal"], origin="data-subject")

    assert answer([objection, rejected], channel="internal", **FILE).reason == "LEGITIMATE_INTEREST_COMPELLING"
    assert answer([objection, rejected, upheld], channel="internal", **FILE).reason == "OBJECTION_UPHELD"
    assert answer([objection, rejected, upheld, back], channel="internal", **FILE).reason == "LEGITIMATE_INTEREST"


@pytest.mark.parametrize(
    "lacking",
    [{"grounds": None}, {"subject_informed_at": None}, {"source": "stranger"}, {"outcome": "partly"}, {"purposes": []}],
)
def test_an_objection_is_rejected_only_with_grounds_to_an_informed_subject_by_the_controller(
    lacking: dict[str, Any],
) -> None:
    rejected = said("objection-assessed", objection_id="o", outcome="rejected", grounds="g", subject_informed_at=on(0))
    objection = said("objection-raised", AN, id="o")

    assert answer([objection, rejected], channel="internal", **FILE).allow
    assert answer([objection, rejected | lacking], channel="internal", **FILE).reason == "OBJECTION_PENDING"


def test_an_assessment_changes_the_answer_when_the_subject_is_informed() -> None:
    objection = said("objection-raised", AN, id="o")
    rejected = said(
        "objection-assessed", at=on(1), objection_id="o", outcome="rejected", grounds="g", subject_informed_at=on(9)
    )

    pending = answer([objection, rejected], channel="internal", at=on(5), **FILE)

    assert pending.reason == "OBJECTION_PENDING"
    assert pending.due == durations.instant(on(9))
    assert answer([objection, rejected], channel="internal", at=on(9), **FILE).allow


def test_a_public_task_that_outweighs_an_objection_is_still_a_public_task() -> None:
    terms = FILE | {"basis": "public-task"}
    rejected = said("objection-assessed", objection_id="o", outcome="rejected", grounds="g", subject_informed_at=on(0))

    assert answer([said("objection-raised", AN, id="o"), rejected], channel="internal", **terms).reason == "PUBLIC_TASK"


@pytest.mark.parametrize("missing", [{"grounds": None}, {"source": "stranger"}, {"controllers": ["south"]}])
def test_a_refused_erasure_needs_grounds_and_the_controllers_own_source(missing: dict[str, Any]) -> None:
    refused = said("erasure-refused", at=on(1), request_id="q", grounds="Art. 17(3)(e)")

    assert answer([said("erasure-requested", AN, id="q"), refused], channel="internal", **FILE).allow
    assert not answer([said("erasure-requested", AN, id="q"), refused | missing], channel="internal", **FILE).allow


def test_a_restriction_ends_only_after_the_subject_was_told() -> None:
    placed = said("restriction-placed", AN, id="r")
    lifted = said("restriction-lifted", at=on(5), restriction_id="r", subject_informed_at=on(5))

    assert answer([placed, lifted], channel="internal", **FILE).allow
    assert not answer([placed, lifted | {"subject_informed_at": on(5, 1)}], channel="internal", **FILE).allow
    assert not answer([placed, lifted | {"subject_informed_at": None}], channel="internal", **FILE).allow
