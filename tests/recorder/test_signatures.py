"""Events of sources that have keys in the register must be signed; a refusal suppresses all the same, for what it says.

Seen to fail: signatures not looked at; only their presence; a signature over other data, another id, time, type or
source taken; only the first key tried; an unsigned refusal rejected, or taken for one of everything, or without a trace
in quarantine, or linking its identifiers; a register with a broken key taken.
"""

import base64
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import builders
from builders import email, given, withdrawn
from cli.installed import consent
from consent_ledger.client import HttpTransport, Publisher, SigningKey, SigningKeyError
from consent_ledger.domain import register
from recorder.reading import Outcome, outcome
from recorder.test_ids import binary
from running import Installation


def made() -> SigningKey:
    return SigningKey(pem())


def pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


OLD, NEW, STRANGE = made(), made(), made()
SOURCES = {
    **builders.REGISTER["sources"],
    builders.SOURCE: {"controllers": ["shop-be"], "keys": [OLD.public, NEW.public]},
    "staff:shop-be": {"controllers": ["shop-be"]},
}


@pytest.fixture(scope="module")
async def signing(home: Installation) -> Installation:
    """The installation, in which the first shop's form signs."""
    await home.recorded(await home.load_register({**builders.REGISTER, "sources": SOURCES}))
    return home


async def became(home: Installation, said: Any, *, headers: Any = ()) -> Outcome:
    place = await home.publish(said, headers=headers)
    await home.recorded(place)
    return await outcome(home, place)


def reason(found: Outcome) -> str | None:
    return None if found.quarantined is None else str(found.quarantined["reason"])


def signed(said: dict[str, Any], key: SigningKey = NEW) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(key.sign(builders.encode(said)))
    return event


@pytest.mark.parametrize("key", [OLD, NEW])
async def test_what_a_source_signs_is_an_entry_in_any_mode(signing: Installation, key: SigningKey) -> None:
    said = signed(given(email("ön@example.be"), score="1.5", when=2**60), key)
    other = signed(given(), key)
    value, headers = binary(other)

    assert (await became(signing, {name: said[name] for name in sorted(said)})).became == "entry"
    assert (await became(signing, value, headers=headers)).became == "entry"


@pytest.mark.parametrize(
    "change",
    [{"id": str(uuid.uuid4())}, {"time": "2026-03-01T09:00:01Z"}, {"type": "contact-recorded"},
     {"data": {**given()["data"], "initiated_by": "subject", "kind": "click"}}],
)  # fmt: skip
async def test_a_signature_is_of_one_event_only(signing: Installation, change: dict[str, Any]) -> None:
    said = {**given(), "data": {**given()["data"], "initiated_by": "subject", "kind": "call"}}

    found = await became(signing, {**signed(said), **change})

    assert (found.became, reason(found)) == ("rejected", "BAD_SIGNATURE")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (given(), "UNSIGNED"),
        (signed(given(), STRANGE), "BAD_SIGNATURE"),
        ({**given(), "signature": "%%%"}, "BAD_SIGNATURE"),
        ({**given(), "signature": 7}, "BAD_SIGNATURE"),
        ({**given(), "signature": base64.b64encode(b"short").decode()}, "BAD_SIGNATURE"),
        (builders.event("delivery-failed", subject=[email()], bounce="hard", controllers=["shop-be"]), "UNSIGNED"),
    ],
)
async def test_what_a_source_did_not_sign_is_no_entry(signing: Installation, said: Any, why: str) -> None:
    found = await became(signing, said)

    assert (found.became, reason(found)) == ("rejected", why)


async def test_sources_without_keys_sign_nothing(signing: Installation) -> None:
    assert (await became(signing, given(source="staff:shop-be"))).became == "entry"


async def test_a_refusal_that_nobody_signed_says_what_it_says_and_can_be_voided(signing: Installation) -> None:
    said = withdrawn(email("an@example.be"), email("an.prive@example.be"))

    found = await became(signing, said)

    assert (found.became, reason(found)) == ("synthetic", "UNSIGNED")
    assert found.entry is not None
    body = json.loads(found.entry["body"])[1]
    assert (found.entry["type"], str(found.entry["event_id"])) == ("consent-withdrawn", said["id"])
    assert (body["purposes"], body["malformed"], body["personal"]) == (
        ["newsletter"], True, ["entered_by", "subject"]
    )  # fmt: skip


async def test_a_refusal_that_cannot_be_read_needs_no_signature(signing: Installation) -> None:
    said = withdrawn()
    said["data"]["purposes"] = "newsletter"

    found = await became(signing, said)

    assert (found.became, reason(found)) == ("synthetic", "BAD_FIELD")


def test_a_publisher_signs_what_it_takes(tmp_path: Path) -> None:
    nowhere = lambda: HttpTransport("http://127.0.0.1:9", "no key")  # noqa: E731
    publisher = Publisher(tmp_path / "outbox.db", nowhere, source=builders.SOURCE, key=NEW)

    publisher.publish("consent-withdrawn", {"subject": [email()]})

    (waiting,) = publisher._outbox.next(1)
    event = json.loads(waiting.event)
    signature = event.pop("signature")
    assert json.loads(NEW.sign(json.dumps(event).encode()))["signature"] == signature


@pytest.mark.parametrize(
    "wrong",
    ["", "ed25519:", "ed25519:AAAA", NEW.public.removeprefix("ed25519:"), 7],
    ids=["empty", "without bytes", "short", "bare", "number"],
)
def test_a_register_with_a_broken_key_is_refused(wrong: Any) -> None:
    sources = {"web": {"controllers": ["shop-be"], "keys": [wrong]}}

    with pytest.raises(register.RegisterError, match="source web: keys must be"):
        register.parse({**builders.REGISTER, "sources": sources})


def test_the_public_key_of_a_source_is_printed_for_the_register(tmp_path: Path) -> None:
    key = pem()
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "none.pem").write_text("none")

    printed = consent("keys", "source-public", str(tmp_path / "key.pem"))
    refused = consent("keys", "source-public", str(tmp_path / "none.pem"))

    assert printed.out.strip() == SigningKey(key).public
    assert refused.status == 2
    with pytest.raises(SigningKeyError):
        SigningKey(b"none")
