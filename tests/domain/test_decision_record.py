"""The record of one address, and the facts that a dossier keeps.

Seen to fail: a lagging clock hiding a refusal; the do-not-call register asked only for named purposes; a written record
that leaves out the channels a row says nothing of, or that prefers the default; words of a lifted restriction kept for
another instant.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from consent_ledger.domain import durations, register, suppression
from consent_ledger.domain.catalogue import KINDS
from consent_ledger.domain.decision import decide_address, defaults
from consent_ledger.domain.facts import BY_INSTANT, Dossier, fact, words
from consent_ledger.domain.scenario import Ledger
from domain.cases import AN, CALL, NOON, PHONE, PRIVATE, F, changed, consent, on, said, snapshot, world

# -- the record of an address


def test_a_clock_that_lags_behind_the_ledger_hides_no_refusal() -> None:
    compiled = register.compile(world(), 1)
    events = [consent(), said("consent-withdrawn", AN, at=on(1))]
    facts = Ledger(compiled, events).facts("north")

    record = decide_address(compiled, facts, controller="north", type="email", token=b"email|an@example.be", at=NOON)

    assert record["news", "email"].reason == "CONSENT_WITHDRAWN"


def test_what_nothing_can_touch_keeps_the_default_as_the_same_object() -> None:
    document = world()
    document["purposes"].append(document["purposes"][0] | {"id": "club"})
    compiled = register.compile(document, 1)
    facts = Ledger(compiled, [consent()]).facts("north")

    record = decide_address(compiled, facts, controller="north", type="email", token=b"email|an@example.be", at=NOON)

    assert record["club", "email"] is defaults(compiled, "north", "email")["club", "email"]
    assert record["news", "email"].reason == "CONSENT"


def test_a_record_of_a_number_asks_the_do_not_call_register_for_every_purpose_that_has_one() -> None:
    document = world(**(F | CALL))
    document["purposes"].append(document["purposes"][0] | {"id": "service", "basis": "contract", "dnc": []})
    compiled = register.compile(document, 1)
    unrelated = said("request-received", PHONE, request_id="r")
    ledger = Ledger(compiled, [unrelated, snapshot(-2)])
    asked: dict[str, Any] = {"controller": "north", "type": "phone", "token": b"phone|+3221112233", "at": NOON}

    record = decide_address(compiled, ledger.facts("north"), dnc=ledger.snapshots, **asked)

    assert record["news", "phone"].reason == "LEGITIMATE_INTEREST"
    assert record["news", "phone"].needs_dnc == "list"
    assert decide_address(compiled, ledger.facts("north"), **asked)["news", "phone"].reason == "DNC_STALE"


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"club": {"email": {"allow": True, "reason": "CONSENT", "since": "2026-03-01T12:00:00.000Z"}}},
        {"news": {"email": {"allow": False, "reason": "OBJECTION", "reasons": ["OBJECTION"]}}, "gone": {"sms": {}}},
    ],
)
def test_the_record_is_written_from_pieces_as_it_would_be_from_answers(own: dict[str, Any]) -> None:
    document = world()
    document["purposes"].append(document["purposes"][0] | {"id": "club", "channels": ["email", "sms"]})
    compiled = register.compile(document, 1)
    answer = {"allow": False, "reason": "NO_CONSENT"}
    kept = msgspec.json.encode(
        {purpose: {name: answer | one for name, one in said.items()} for purpose, said in own.items()}
    )

    written = suppression.record(
        compiled, controller="north", type="email", hash_=b"h", kid="k", place=(1, 2), version=3,
        recorded_at=datetime(2026, 3, 1, tzinfo=UTC), own=kept,
    )  # fmt: skip

    answers = suppression.expand(compiled, "north", "email", kept)
    encoded = msgspec.json.encode(answers, order="sorted")
    assert answers.keys() > own.keys() - {"gone"}
    assert b'"decisions":' + encoded in written
    assert msgspec.json.encode(msgspec.json.decode(written), order="sorted") == written


# -- facts


@pytest.mark.parametrize("type", sorted(KINDS))
def test_the_same_words_say_the_same_at_any_instant_unless_their_type_says_so(type: str) -> None:
    body = {"subject_informed_at": on(0), "restriction_id": "r", "objection_id": "o", "purposes": ["news"]}

    early, late = (words(type, body, None, durations.instant(on(day))) for day in (-1, 1))

    assert (early != late) == (type in BY_INSTANT)


def test_a_dossier_survives_being_stored_and_takes_every_entry_once() -> None:
    facts = Ledger(register.compile(world(), 1), [consent(), changed(AN, PRIVATE, at=on(1))]).facts("north")

    stored = Dossier().add(facts[1:]).dumps()

    assert Dossier.loads(stored).add(facts).facts == facts
    assert stored[:2] == b"\x92\x01"


def test_a_refusal_whose_fields_cannot_be_read_is_the_wider_for_it() -> None:
    body = {"controllers": "north", "purposes": ["news", 5], "channels": ["email", "fax"], "controller_scope": 7}

    read = fact(
        event_id="e", type="objection-raised", source="web", occurred_at=None, recorded_at=on(0), shard=0, pos=0,
        register_version=1, identifiers=[], body=body,
    )  # fmt: skip

    assert read.controllers == ("north", "")
    assert (read.purposes, read.channels, read.controller_scope) == (None, None, None)
    assert read.time == durations.instant(on(0))


def test_a_permission_whose_fields_cannot_be_read_lists_less() -> None:
    body = {"controllers": "north", "purposes": ["news", 5], "channels": "all", "evidence": "yes", "age": 16}

    read = fact(
        event_id="e", type="consent-given", source="web", occurred_at="2026-03-01T12:00:00Z", recorded_at=on(0),
        shard=0, pos=0, register_version=1, identifiers=[], body=body,
    )  # fmt: skip

    assert (read.controllers, read.purposes, read.channels, read.evident) == (None, ("news",), None, False)
