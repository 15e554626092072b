"""What a person is told of themselves, and what of others never.

Seen to fail: an address of somebody else told; names of staff told; a shared address taken for one person's; another
controller's purposes told; purposes on legitimate interest in what the person provided.
"""

import json
from typing import Any

import jsonschema
import msgspec
import pytest

from consent_ledger.domain import access, schemas
from consent_ledger.domain import register as registers
from consent_ledger.domain.access import SharedError

REGISTER = registers.compile(
    {
        "controllers": {"shop": {"name": "Shop", "country": "BE", "dpo": "dpo@shop.example"}, "other": {}},
        "purposes": [
            {"controller": "shop", "id": "news", "basis": "consent", "channels": ["email"], "direct_marketing": True,
             "doc": {"description": "news", "recipients": ["Mailer", "Mailer"], "retention_in_seed": "till withdrawn"}},
            {"controller": "shop", "id": "orders", "basis": "contract", "channels": ["email"]},
            {"controller": "shop", "id": "research", "basis": "legitimate-interest", "channels": ["post"]},
            {"controller": "other", "id": "secret", "basis": "consent", "channels": ["email"]},
        ],
    },
    3,
)  # fmt: skip
NOON = "2026-03-01T12:00:00Z"
ME = {"type": "email", "value": "me@example.be"}
ELSE = {"type": "email", "value": "somebody.else@example.be"}
DESK = {"type": "phone", "value": "+3212345678"}


def entry(type: str = "consent-given", *named: dict[str, Any], **fields: Any) -> dict[str, Any]:
    plain = {
        "event_id": f"id-{type}", "type": type, "source": "web:shop", "occurred_at": NOON, "recorded_at": NOON,
        "position": {"shard": 1, "position": 7}, "register_version": 3, "entered_by": None,
        "identifiers": [{"role": "subject", **one} for one in named or (ME,)], "personal": "shown", "said": {},
        "voided": False, "malformed": False, "waits_for": None, "conflicts_with": None, "in_quarantine": [],
    }  # fmt: skip
    return plain | fields


def shown(*entries: dict[str, Any], identifiers: tuple[dict[str, Any], ...] = (ME,), asked: int = 1) -> dict[str, Any]:
    return {
        "controller": "shop",
        "entries": list(entries),
        "next": None,
        "identifiers": [
            {**one, "asked": number < asked, "positions": [{"shard": 1, "position": 7}]}
            for number, one in enumerate(identifiers)
        ],
        "answers": [
            {**ME, "decisions": [{"purpose": "news", "channel": "email", "allow": True, "reason": "CONSENT",
                                  "reasons": ["CONSENT"]}]}
        ],
        "suppression": [{**ME, "hash": "ab" * 32, "position": {"shard": 1, "position": 7}, "recorded_at": NOON}],
    }  # fmt: skip


def text(document: Any) -> str:
    return json.dumps(msgspec.to_builtins(document), ensure_ascii=False)


def valid(name: str, document: Any) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(document)
    jsonschema.validate(built, schemas.export_schema(name), cls=jsonschema.Draft202012Validator)
    return built


def test_a_person_is_told_what_is_on_record_and_what_is_done_with_it() -> None:
    said = {"purposes": ["news"], "channels": ["email"], "origin": "data-subject", "ip": "192.0.2.1"}

    told = access.access(REGISTER, shown(entry(said=said)), NOON)

    document = valid("access", told)
    assert document["controller"]["dpo"] == "dpo@shop.example"
    assert document["events"][0]["said"] == said
    assert [one["purpose"] for one in document["processing"]] == ["news"]
    assert (document["processing"][0]["recipients"], document["processing"][0]["retention"]) == (
        ["Mailer"], "till withdrawn",
    )  # fmt: skip
    assert document["answers"][0]["text"].startswith("The person consented")
    assert document["suppression"][0]["hash"] == "ab" * 32
    assert "Autorité" in document["authority"]
    assert document["withheld"] == 0


def test_an_address_of_somebody_else_in_the_same_entry_is_withheld() -> None:
    link = entry("identifiers-linked", ME, ELSE, source="crm:stranger")
    change = entry("identifier-changed", ME, ELSE, said={"old": ME, "new": ELSE, "origin": "third-party"})

    told = access.access(REGISTER, shown(link, change), NOON)

    assert ELSE["value"] not in text(told)
    assert told.withheld == 2
    assert [(one.value, one.withheld) for one in told.events[0].identifiers] == [(ME["value"], False), (None, True)]
    assert told.sources == ["web:shop"]


def test_a_linked_address_and_a_shared_one_that_the_person_gave_are_theirs() -> None:
    other = {"type": "email", "value": "me.too@example.be"}
    given = entry("consent-given", ME, other, {**DESK, "shared": True})

    told = access.access(REGISTER, shown(given, identifiers=(ME, other)), NOON)

    assert [one.value for one in told.events[0].identifiers] == [ME["value"], other["value"], DESK["value"]]
    assert told.withheld == 0


def test_a_shared_address_says_of_nobody_whose_data_are_asked_for() -> None:
    first = entry("consent-given", ME, {**DESK, "shared": True})
    second = entry("consent-given", ELSE, {**DESK, "shared": True})
    both = shown(first, second, identifiers=(DESK,))

    for make in (access.access, access.portability):
        with pytest.raises(SharedError):
            make(REGISTER, both, NOON)


def test_no_name_of_staff_is_told() -> None:
    by = {"entered_by": "staff:jan.janssens", "approved_by": "eva"}
    typed = entry("objection-raised", entered_by="staff:jan.janssens", said={**by, "reason": "asked by phone"})
    made = entry("objection-raised", entered_by="ledger", said={"entered_by": "ledger"})
    looked = {"entered_by": "eva.maes", "reason": "request 4", "shown": 3, "digest": "x", "api_key": "k"}
    look = entry("subject-viewed", entered_by="eva.maes", said=looked)
    erased = entry("subject-viewed", said={"reason": True, "shown": 1, "digest": "x"}, personal="erased")

    told = access.access(REGISTER, shown(typed, made, look, erased), NOON)

    document = text(told)
    assert not any(name in document for name in ("jan", "eva", "maes"))
    assert [one.entered_by for one in told.events] == ["staff", "ledger"]
    assert [(one.reason, one.by, one.entries) for one in told.looks] == [("request 4", "staff", 3), (None, "staff", 1)]
    assert told.events[0].said == {"reason": "asked by phone"}


def test_what_was_provided_is_for_consent_and_contract_and_is_the_persons_own_word() -> None:
    consented = {"purposes": ["news", "research"], "channels": ["email"], "origin": "data-subject", "ip": "192.0.2.1",
                 "evidence": {"text_id": "t"}, "age": {"declared_min_age": 18}}  # fmt: skip
    entries = [
        entry(said=consented),
        entry(said=consented | {"origin": "import"}),
        entry(said=consented | {"purposes": ["research"]}),
        entry(said=consented, voided=True),
        entry("consent-withdrawn", said={"purposes": "all"}),
        entry("objection-raised", said={"purposes": ["research"]}),
        entry("age-established", said={"is_minor": True}),
        entry("contact-recorded", said={"initiated_by": "subject", "kind": "order"}),
        entry("contact-recorded", said={"initiated_by": "controller", "kind": "call"}),
        entry("identifier-changed", ME, ELSE, said={"origin": "data-subject"}),
    ]

    told = access.portability(REGISTER, shown(*entries), NOON)

    valid("portability", told)
    assert [(one.type, one.said) for one in told.provided] == [
        ("consent-given", {"purposes": ["news"], "channels": ["email"], "age": {"declared_min_age": 18}}),
        ("consent-withdrawn", {"purposes": "all"}),
        ("contact-recorded", {"kind": "order"}),
        ("identifier-changed", {}),
    ]
    assert ELSE["value"] not in text(told)


def test_another_controllers_purposes_are_not_told() -> None:
    told = access.access(REGISTER, shown(entry(said={"purposes": ["secret", "orders"]})), NOON)

    assert [one.purpose for one in told.processing] == ["news", "orders"]
