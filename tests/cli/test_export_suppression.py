"""Proof of suppression, with what a real consumer acknowledged, and the first check that was answered no."""

import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from cli.boutique import confirmed, decided, email, export, gave, load, publish, said, withdrew
from cli.installed import Up, consent
from cli.people import somebody
from consent_ledger.client import SuppressionView, load_keys
from consent_ledger.domain import schemas


@pytest.fixture(scope="module", autouse=True)
def boutique(up: Up, tmp_path_factory: pytest.TempPathFactory) -> None:
    load(up, tmp_path_factory.mktemp("boutique"))


def check(up: Up, campaign: str, address: str, purpose: str) -> bool:
    question = {"controller": "boutique", "subject": [email(address)], "purpose": purpose, "channel": "email"}
    answer = httpx.post(
        f"{up.said['api']}/v1/decisions", json={"questions": [question], "campaign": campaign},
        headers={"Authorization": f"Bearer {up.said['api_key']}"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    allowed: bool = answer.json()["decisions"][0]["allow"]
    return allowed


def proof(up: Up, address: str) -> dict[str, Any]:
    answer = export(up, "suppression", address=address)
    assert answer.status == 0, answer.err
    document: dict[str, Any] = answer.data
    jsonschema.validate(document, schemas.export_schema("suppression"), cls=jsonschema.Draft202012Validator)
    return document


def has_arrived(document: dict[str, Any], consumer: str) -> bool:
    """Tell whether the topic and the consumer are known to have a refusal; either may say so first."""
    (refusal,) = document["refusals"]
    known = {one["name"] for one in refusal["consumers"] if one["arrived"]}
    return consumer in known and bool(refusal["published"]["arrived"])


def test_a_refusal_is_proved_from_receipt_to_the_first_send_it_stopped(up: Up, tmp_path: Path) -> None:
    person, mark = somebody(), uuid.uuid4().hex[:8]
    names = {f"{what}-{mark}": controller for what, controller in
             (("follows", "boutique"), ("sleeps", "boutique"), ("other", "vloet"))}  # fmt: skip
    for name, controller in names.items():
        assert consent("consumers", "add", name, "--controller", controller, data=up.data).status == 0
    given = gave(email(person))
    publish(up, given, confirmed(given))
    decided(up, person, "CONSENT")
    assert check(up, f"before-{mark}", person, "newsletter")
    refusal, soft = withdrew(email(person)), said("delivery-failed", email(person), channels=["email"], bounce="soft")
    publish(up, refusal, soft)
    decided(up, person, "CONSENT_WITHDRAWN")
    check(up, f"orders-{mark}", person, "orders")
    assert not check(up, f"first-{mark}", person, "newsletter")
    assert not check(up, f"second-{mark}", person, "newsletter")
    keys = load_keys(consent("keys", "export", "--consumer", f"follows-{mark}", "--json", data=up.data).data)
    kafka = {"bootstrap_servers": up.said["kafka"]}
    with SuppressionView(tmp_path, keys, kafka, consumer=f"follows-{mark}", instance="copy") as followed:
        followed.wait_ready(40)
        deadline = time.monotonic() + 40
        while not has_arrived(document := proof(up, person), f"follows-{mark}"):
            assert time.monotonic() < deadline, document

    (one,) = document["refusals"]
    assert (one["event_id"], one["received_at"], one["type"]) == (
        refusal["id"], "2026-11-03T10:00:00Z", "consent-withdrawn",
    )  # fmt: skip
    assert one["published"]["arrived"]
    found = {consumer["name"]: consumer for consumer in one["consumers"]}
    assert set(found) & set(names) == {f"follows-{mark}", f"sleeps-{mark}"}
    assert found[f"follows-{mark}"]["arrived"]
    known, recorded = (datetime.fromisoformat(text) for text in (
        found[f"follows-{mark}"]["acknowledged_to"], one["recorded_at"],
    ))  # fmt: skip
    assert known >= recorded
    assert (found[f"sleeps-{mark}"]["arrived"], found[f"sleeps-{mark}"]["acknowledged_to"]) == (False, None)
    assert (one["first_check"]["campaign"], one["first_check"]["reason"]) == (f"first-{mark}", "CONSENT_WITHDRAWN")
    assert [(entry["type"], entry["value"]) for entry in document["entries"]] == [("email", person)]
    for name in names:
        assert consent("consumers", "remove", name, data=up.data).status == 0


def test_who_was_told_of_an_erasure_stands_with_it(up: Up) -> None:
    person = somebody()
    request = said("erasure-requested", email(person))
    told = said("recipient-notified", request_id=request["id"], recipient="Mailer GmbH (processor)", article="19",
                source="staff:boutique")  # fmt: skip
    done = said("erasure-executed", email(person), request_id=request["id"], source="staff:boutique")
    publish(up, request, done, told)
    decided(up, person, "ERASED")

    deadline = time.monotonic() + 30
    while not (document := proof(up, person))["refusals"][0]["notices"]:
        assert time.monotonic() < deadline, document

    notices = {one["recipient"]: one["state"] for one in document["refusals"][0]["notices"]}
    assert notices["Mailer GmbH (processor)"] == "told"


def test_who_refused_nothing_has_no_refusals(up: Up) -> None:
    person = somebody()
    given = gave(email(person))
    publish(up, given, confirmed(given))
    decided(up, person, "CONSENT")

    assert proof(up, person)["refusals"] == []
    assert export(up, "suppression", address=somebody()).status == 1
