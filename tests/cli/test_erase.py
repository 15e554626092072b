"""`consent erase` on a running installation, from the request to a certificate that `consent verify` checks."""

import json
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli.installed import Answer, Up, consent
from cli.people import NEWSLETTER, gave, somebody
from consent_ledger.cli import erase as command

WHO = ("--controller", "dekra-be", "--source", "staff:dekra-be", "--as", "staff:jan")


def publish(up: Up, *lines: str) -> None:
    assert consent("publish", "-", data=up.data, said_in="\n".join(lines)).status == 0


def erase(up: Up, *arguments: str, **more: Any) -> Answer:
    return consent("erase", *WHO, *arguments, data=up.data, **more)


def envelope(type: str, id_: str, data: dict[str, Any]) -> dict[str, Any]:
    """A CloudEvent of the staff, now."""
    now = datetime.now(UTC).isoformat()
    return {"specversion": "1.0", "id": id_, "type": type, "source": "staff:dekra-be", "time": now, "data": data}


def reason(up: Up, address: str, expected: str) -> bool:
    """Ask until the answer is the one expected."""
    deadline = time.monotonic() + 30
    while consent("decide", *NEWSLETTER, address, "--json", data=up.data).data["reason"] != expected:
        assert time.monotonic() < deadline, expected
        time.sleep(0.1)
    return True


def key(up: Up) -> str:
    return str(consent("keys", "log-public", "--json", data=up.data).data["verifier_key"])


def verify(up: Up, file: Path) -> Answer:
    return consent("verify", str(file), "--key", key(up), "--json", data=up.data)


@pytest.fixture(scope="module")
def erased(up: Up, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, dict[str, Any]]:
    """A person who was erased without a question asked, the certificate, and what was said."""
    person, file = somebody(), tmp_path_factory.mktemp("erased") / "certificate.json"
    publish(up, gave(person))
    assert reason(up, person, "CONSENT")
    answer = erase(up, person, "--yes", "--json", "--told", "Salesforce", "-o", str(file))
    assert answer.status == 0, answer.err
    return person, file, answer.data


def test_a_person_is_erased_and_the_certificate_proves_it(up: Up, erased: tuple[str, Path, dict[str, Any]]) -> None:
    person, file, said = erased

    verified = verify(up, file)

    assert reason(up, person, "ERASED")
    assert (said["keys"], said["personal_parts"], said["told"]) == (1, 3, ["Salesforce"])
    assert said["to_tell"]
    assert "Salesforce" not in said["to_tell"]
    assert (said["person"]["consents"], said["person"]["holds"]) == (1, [])
    assert "legal-claims" in said["person"]["exempt"]
    assert verified.status == 0, verified.err
    assert verified.data["claims"]["erasure"] == said["erasure"]
    assert verified.data["claims"]["personal_parts"] == 3
    assert verified.data["erasure"]["type"] == "erasure-executed"
    assert person not in file.read_text() + json.dumps(said)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("personal_parts", 2),
        ("controller", "dekra-se"),
        ("erasure", "6f9d3f0e-2f0c-4c57-9a39-0d6a0a3f5b11"),
        ("request_id", "f3c1a9b4-51de-4b5c-8c0f-7a1f52d0e6c2"),
    ],
)
def test_a_certificate_that_was_touched_is_refused(
    up: Up, erased: tuple[str, Path, dict[str, Any]], tmp_path: Path, part: str, value: Any
) -> None:
    certificate = json.loads(erased[1].read_text())
    certificate["claims"][part] = value
    file = tmp_path / "touched.json"
    file.write_text(json.dumps(certificate))

    assert verify(up, file).status == 1


def test_a_certificate_with_the_proof_of_something_else_is_refused(
    up: Up, erased: tuple[str, Path, dict[str, Any]], tmp_path: Path
) -> None:
    certificate = json.loads(erased[1].read_text())
    proofs = certificate["proofs"]
    file = tmp_path / "touched.json"
    for other in ({**proofs, "erasure": proofs["answer"]}, {**proofs, "answer": proofs["erasure"]}, {}):
        file.write_text(json.dumps({**certificate, "proofs": other}))
        assert verify(up, file).status == 1


def test_a_certificate_is_given_again_word_for_word_and_takes_notices_along(
    up: Up, erased: tuple[str, Path, dict[str, Any]], tmp_path: Path
) -> None:
    _, file, said = erased
    again = tmp_path / "again.json"

    answer = erase(up, "--certify", said["erasure"], "--told", said["to_tell"][0], "-o", str(again))

    assert answer.status == 0, answer.err
    assert json.loads(again.read_text())["claims"] == json.loads(file.read_text())["claims"]
    shown = consent("requests", "show", said["request_id"], "--json", data=up.data)
    told = {one["recipient"] for one in shown.data["notices"] if one["state"] == "told"}
    assert told == {"Salesforce", said["to_tell"][0]}


def test_a_person_is_led_through_it(up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person, file = somebody(), tmp_path / "certificate.json"
    publish(up, gave(person))
    assert reason(up, person, "CONSENT")
    monkeypatch.setattr(command, "somebody_is_there", lambda: True)

    refused = erase(up, person, "-o", str(file), said_in="n\n")
    still = consent("decide", *NEWSLETTER, person, "--json", data=up.data).data["reason"]
    done = erase(up, person, "-o", str(file), said_in="y\n" + "y\n" * 40)

    assert (refused.status, still) == (1, "ERASURE_REQUESTED")
    assert done.status == 0, done.err
    assert "Destroy it for good?" in done.err
    assert "Recipients to tell" not in done.out
    assert verify(up, file).status == 0
    assert reason(up, person, "ERASED")


def test_a_hold_stands_against_it_until_it_is_lifted(up: Up, tmp_path: Path) -> None:
    person, hold, file = somebody(), str(uuid.uuid4()), tmp_path / "certificate.json"
    data = {"controllers": ["dekra-be"], "subject": [{"type": "email", "value": person}], "reason": "a claim"}
    publish(up, gave(person), json.dumps(envelope("hold-placed", hold, data)))
    assert reason(up, person, "CONSENT")

    held = erase(up, person, "--yes", "-o", str(file))
    lift = envelope("hold-lifted", str(uuid.uuid4()), {"controllers": ["dekra-be"], "hold_id": hold})
    assert reason(up, person, "ERASURE_REQUESTED")
    publish(up, json.dumps(lift))
    request = held.err.rpartition("the request ")[2].split()[0]
    deadline = time.monotonic() + 30
    while (done := erase(up, person, "--yes", "--request", request, "-o", str(file))).status != 0:
        assert time.monotonic() < deadline, done.err

    assert (held.status, hold in held.err) == (1, True)
    assert verify(up, file).status == 0


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("an@example.be",), 2),
        (("an@example.be", "--json"), 2),
        (("--yes",), 2),
        (("@", "--type", "fax", "--yes"), 2),
        (("", "--yes"), 2),
        (("an@example.be", "--yes", "--source", "staff:vloet"), 2),
        (("an@example.be", "--yes", "--controller", "nobody"), 1),
        (("--certify", "0b0c9b0e-8f57-4c3e-a6a9-0b8e5f4f1c3d"), 1),
    ],
)
def test_what_cannot_be_done_is_said_and_records_nothing(up: Up, arguments: tuple[str, ...], status: int) -> None:
    answer = erase(up, *arguments)

    assert answer.status == status, answer.err
    assert answer.err.startswith("consent: ")
