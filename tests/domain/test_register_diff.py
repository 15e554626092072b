"""What is different between two registers, and what another register would change for people.

Seen to fail: additions, removals, nested fields and sources passed over; a dossier counted once per address; answers
that stay counted; a purpose that is not registered taken for a channel that is not covered; nobody's answers left out;
do-not-call snapshots passed over.
"""

from copy import deepcopy
from typing import Any

from consent_ledger.domain import durations, register
from consent_ledger.domain.impact import Impact, Shift
from consent_ledger.domain.register_diff import differences
from consent_ledger.domain.scenario import Ledger
from domain.cases import AN, PHONE, PRIVATE, consent, on, said, world

BEFORE: dict[str, Any] = {
    "controllers": {"north": {"country": "BE"}, "south": {"country": "NL"}},
    "purposes": [
        {"controller": "north", "id": "newsletter", "basis": "consent", "channels": ["email"],
         "doc": {"retention": "P1Y"}},
        {"controller": "north", "id": "calls", "basis": "consent", "channels": ["phone"]},
    ],
    "sources": {"web": {"controllers": ["north"]}},
    "dnc_registers": {"be-dncm": {"max_age": "P7D"}},
}  # fmt: skip


def test_equal_registers_do_not_differ() -> None:
    assert list(differences(BEFORE, deepcopy(BEFORE))) == []


def test_differences_are_found_field_by_field_whatever_their_order() -> None:
    after = deepcopy(BEFORE)
    after["controllers"] = {"south": {"country": "DE"}, "east": {}}
    after["purposes"] = [
        {"controller": "north", "id": "post", "basis": "contract", "channels": ["post"]},
        {**after["purposes"][0], "doc": {"retention": "P2Y"}, "consent_ttl": "P1Y"},
    ]
    after["sources"]["web"]["controllers"] = ["north", "south"]
    after["dnc_registers"] = {}

    found = list(differences(BEFORE, after))

    assert [(one.what, one.part, one.name, one.field) for one in found] == [
        ("added", "controllers", "east", None),
        ("removed", "controllers", "north", None),
        ("changed", "controllers", "south", "country"),
        ("removed", "purposes", "north/calls", None),
        ("changed", "purposes", "north/newsletter", "consent_ttl"),
        ("changed", "purposes", "north/newsletter", "doc.retention"),
        ("added", "purposes", "north/post", None),
        ("changed", "sources", "web", "controllers"),
        ("removed", "dnc_registers", "be-dncm", None),
    ]
    assert [(one.before, one.after) for one in found if one.field in ("country", "consent_ttl", "doc.retention")] == [
        ("NL", "DE"), (None, "P1Y"), ("P1Y", "P2Y"),
    ]  # fmt: skip


def impact(before: dict[str, Any], after: dict[str, Any], *people: tuple[dict[str, Any], ...]) -> Impact:
    """Decide on people, each with events of their own, under two registers."""
    old, new = register.compile(before, 1), register.compile(after, 2)
    found = Impact(old, new, durations.instant(on(30)))
    for events in people:
        found.add("north", Ledger(old, events).facts("north"), {})
    return found


def test_a_stricter_rule_takes_permission_from_those_who_gave_it_under_an_older_text() -> None:
    before, after = world(double_opt_in=False), world(min_text_version=2)
    evidence = {"text_id": "t", "text_version": 2, "ref": "r"}

    found = impact(
        before, after, (consent(),), (consent(PHONE, AN),), (consent(PRIVATE, evidence=evidence),),
        (consent(AN), said("consent-withdrawn", AN, at=on(1))),
    )  # fmt: skip

    lost = [
        Shift("north", "news", channel, (True, "CONSENT"), (False, "CONSENT_OUTDATED"))
        for channel in ("email", "internal")
    ]
    assert dict(found.dossiers) == dict.fromkeys(lost, 2)
    assert dict(found.addresses) == {lost[0]: 2, lost[1]: 3}
    assert all(one.loses and not one.gains for one in found.dossiers)


def test_a_dossier_with_two_addresses_is_one_person() -> None:
    found = impact(world(), world(min_text_version=2), (consent(AN, PRIVATE),))

    shift = Shift("north", "news", "email", (True, "CONSENT"), (False, "CONSENT_OUTDATED"))
    assert (found.dossiers[shift], found.addresses[shift]) == (1, 2)


def test_what_a_register_does_not_know_and_what_it_does_not_cover_are_told_apart() -> None:
    narrow = world(channels=["email"])
    fresh = {**narrow, "purposes": [*narrow["purposes"], {**narrow["purposes"][0], "id": "club"}]}

    found = impact(narrow, {**fresh, "purposes": [world()["purposes"][0], *fresh["purposes"][1:]]}, (consent(),))

    assert {(one.purpose, one.channel, one.before[1], one.after[1]) for one in found.dossiers} == {
        ("club", "email", "UNKNOWN_PURPOSE", "CONSENT_ABSENT"),
        ("news", "internal", "CHANNEL_NOT_COVERED", "CONSENT"),
    }
    assert [one.gains for one in found.dossiers if one.purpose == "news"] == [True]


def test_what_changes_for_people_nobody_has_heard_of_stands_apart() -> None:
    post = {"basis": "legitimate-interest", "channels": ["post"]}

    found = impact(world(**post), world(**post, inactivity_ttl="P1Y"))

    assert not found.dossiers
    assert set(found.of_nobody()) == {
        Shift(name, "news", "post", (True, "LEGITIMATE_INTEREST"), (False, "RETENTION_UNPROVEN"))
        for name in ("north", "south")
    }


def test_an_impact_knows_what_do_not_call_registers_say_of_a_number() -> None:
    calls = {"controller": "north", "id": "calls", "basis": "legitimate-interest", "direct_marketing": True,
             "channels": ["phone"], "dnc": ["be-dncm"]}  # fmt: skip
    before = {**BEFORE, "purposes": [calls]}
    after = {**BEFORE, "purposes": [{**calls, "dnc": []}]}
    events = [
        said("preference-register-imported", at=on(29), register="be-dncm", numbers=[]),
        said("contact-recorded", PHONE, at=on(1), kind="call", initiated_by="subject"),
    ]
    ledger = Ledger(register.compile(before, 1), events)
    found = Impact(register.compile(before, 1), register.compile(after, 2), durations.instant(on(30)))

    found.add("north", ledger.facts("north"), ledger.snapshots)

    lost = Shift("north", "calls", "phone", (True, "LEGITIMATE_INTEREST"), (False, "EPRIVACY_NO_BASIS"))
    assert found.addresses == {lost: 1}
