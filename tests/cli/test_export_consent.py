"""Proof of a consent: what was said, which text was shown, what came later, and that the log has it."""

import base64
import copy
import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cli.boutique import (
    DOCUMENT,
    TEXT,
    confirmed,
    decided,
    email,
    export,
    gave,
    load,
    notice,
    publish,
    register,
    said,
    withdrew,
)  # fmt: skip
from cli.installed import Up
from cli.people import somebody
from consent_ledger.domain import schemas
from consent_ledger.verifier.note import VerifierKey
from consent_ledger.verifier.proof import check_proof


@pytest.fixture(scope="module", autouse=True)
def boutique(up: Up, tmp_path_factory: pytest.TempPathFactory) -> None:
    load(up, tmp_path_factory.mktemp("boutique"))


def valid(name: str, document: dict[str, Any]) -> None:
    jsonschema.validate(document, schemas.export_schema(name), cls=jsonschema.Draft202012Validator)


def test_a_consent_is_proved_with_text_both_steps_and_what_came_later(up: Up, tmp_path: Path) -> None:
    person, other = somebody(), somebody()
    given, others = gave(email(person.upper())), gave(email(other))
    step = confirmed(given)
    publish(up, given, others, step, confirmed(others))
    decided(up, person, "CONSENT")
    end, elsewhere = withdrew(email(person)), withdrew(email(person), purposes=["orders"])
    publish(up, end, elsewhere)
    decided(up, person, "CONSENT_WITHDRAWN")
    newer = tmp_path / "newer.txt"
    newer.write_text("another text")
    notice(up, newer, version=3)

    answer = export(up, "consent", given["id"])

    assert answer.status == 0, answer.err
    record = answer.data
    valid("consent", record)
    assert record["schema_version"] == "ISO/IEC TS 27560:2023"
    assert record["record_id"] == given["id"]
    assert record["pii_principal_id"] == [{"type": "email", "value": person.upper(), "hash": None}]
    (processing,) = record["pii_processing"]
    assert processing["purpose_description"] == "news of the shop"
    assert (processing["lawful_basis"], processing["retention_period"]) == ("consent", "P5Y")
    assert processing["withdrawal_method"] == "link in every mail"
    assert record["notice"]["text"] == TEXT
    assert record["notice"]["hash"] == "sha256:" + hashlib.sha256(TEXT.encode()).hexdigest()
    assert (record["notice"]["language"], record["notice"]["found"], record["notice"]["kept_before"]) == (
        "nl", "version", True,
    )  # fmt: skip
    assert record["double_opt_in"] == {
        "required": True, "requested_at": "2026-11-02T10:00:00Z", "confirmed_at": "2026-11-02T11:30:00Z",
        "confirmation": step["id"],
    }  # fmt: skip
    assert (record["collection"]["default_state"], record["collection"]["evidence_ref"]) == ("unticked", "snapshot-17")
    assert [(one["event_id"], one["event_state"]) for one in record["event"]] == [
        (given["id"], "given"), (step["id"], "confirmed"), (end["id"], "withdrawn"),
    ]  # fmt: skip
    assert record["event"][0]["validity_duration"] == "P3Y"


def test_every_event_and_the_text_are_proved_by_the_log_alone(up: Up) -> None:
    person = somebody()
    given = gave(email(person))
    publish(up, given, confirmed(given))
    decided(up, person, "CONSENT")

    record = export(up, "consent", given["id"]).data

    key = VerifierKey.parse(record["log"]["verifier_key"])
    proven = {one["event_id"]: (one, check_proof(one["proof"].encode(), key)) for one in record["log"]["proofs"]}
    assert proven.keys() == {*(one["event_id"] for one in record["event"]), record["notice"]["event_id"]}
    for event_id, (one, proof) in proven.items():
        assert str(uuid.UUID(bytes=proof.entry.event_id)) == event_id
        assert proof.entry.leaf().hex() == one["leaf_hash"]
    opening = base64.b64decode(proven[given["id"]][0]["opening"])
    assert hashlib.sha256(opening).digest() == proven[given["id"]][1].entry.commitment
    assert json.loads(opening[32:])["subject"] == [email(person)]
    assert proven[record["notice"]["event_id"]][1].body[-1]["text"] == TEXT


@pytest.mark.parametrize(
    ("evidence", "found"),
    [
        ({"text_id": "newsletter-text", "text_version": 1}, "version"),
        ({"text_id": "newsletter-text", "text_version": 1, "text_hash": hashlib.sha256(TEXT.encode()).hexdigest()},
         "exact"),
        ({"text_id": "newsletter-text", "text_version": 1, "text_hash": "0" * 64}, "differs"),
        ({"text_id": "newsletter-text", "text_version": 77}, "unregistered"),
        ({"text_id": "newsletter-text", "text_version": 1, "language": "ro"}, "unregistered"),
        ({"ref": "somewhere"}, "unnamed"),
    ],
)  # fmt: skip
def test_a_text_that_is_not_certain_is_not_shown(up: Up, evidence: dict[str, Any], found: str) -> None:
    given = gave(email(somebody()), evidence=evidence)
    publish(up, given, confirmed(given))

    record = until_exported(up, given["id"])

    assert record["notice"]["found"] == found
    assert (record["notice"]["text"] is not None) == (found in ("exact", "version"))


def until_exported(up: Up, event_id: str) -> dict[str, Any]:
    """Export a consent that may be on its way into the ledger."""
    for _ in range(100):
        answer = export(up, "consent", event_id)
        if answer.status == 0:
            valid("consent", answer.data)
            found: dict[str, Any] = answer.data
            return found
    raise AssertionError(answer)


def test_what_is_no_consent_has_no_proof(up: Up) -> None:
    person = somebody()
    refusal = said("objection-raised", email(person), kind="direct-marketing")
    publish(up, refusal)
    decided(up, person, "OBJECTION_DM")

    assert export(up, "consent", refusal["id"]).status == 1
    assert export(up, "consent", str(uuid.uuid4())).status == 1


def test_the_purpose_is_described_as_when_the_consent_was_recorded(up: Up, tmp_path: Path) -> None:
    person = somebody()
    given = gave(email(person))
    publish(up, given, confirmed(given))
    decided(up, person, "CONSENT")
    newer = copy.deepcopy(DOCUMENT)
    newer["purposes"][0]["doc"]["description"] = "something else"
    register(up, newer, tmp_path)

    record = export(up, "consent", given["id"]).data
    register(up, DOCUMENT, tmp_path)

    assert record["pii_processing"][0]["purpose_description"] == "news of the shop"
