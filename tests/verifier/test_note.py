"""Signed notes: what others have signed is read, what we sign is what others would, and nothing false passes.

The vectors are facts published elsewhere: the key and note in the documentation of Go's `sumdb/note`, and a checkpoint
of a public Certificate Transparency log with the cosignatures of public witnesses.

Seen to fail: the type left out of the key's id; a wrong signature of a known key passed over; the time left out of
what a witness signs; the quorum not counted; a witness's signature enough for a log's; the origin not compared with the
key's name; sizes with leading zeros; a key whose id was mistyped.
"""

import base64

import pytest

from consent_ledger.domain import checkpoint
from consent_ledger.domain.checkpoint import Head
from consent_ledger.runtime.logkey import LogKey
from consent_ledger.verifier.note import VerifierKey, open_checkpoint, open_note
from consent_ledger.verifier.tree import ProofError

GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_TEXT = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
GO_NOTE = GO_TEXT + f"\n— PeterNeumann {GO_SIGNATURE}\n".encode()

CT_KEY = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
WITNESSES = (
    "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
    "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
)
CT_NOTE = """\
arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
""".encode()  # noqa: E501 - published as it is


def test_a_note_that_go_has_signed_is_read() -> None:
    assert open_note(GO_NOTE, [VerifierKey.parse(GO_KEY)]) == (GO_TEXT, ("PeterNeumann",))


def test_what_is_signed_here_is_byte_for_byte_what_go_signs() -> None:
    key = LogKey("PeterNeumann", GO_SEED)

    assert key.public == GO_KEY
    assert checkpoint.signed(GO_TEXT, "PeterNeumann", key._public, key._private.sign(GO_TEXT)) == GO_NOTE


def test_cosignatures_of_public_witnesses_are_checked() -> None:
    witnesses = [VerifierKey.parse(one) for one in WITNESSES]

    found = open_checkpoint(CT_NOTE, VerifierKey.parse(CT_KEY), witnesses, quorum=2)

    assert (found.origin, found.size) == ("arche2025h1.staging.ct.transparency.dev", 1_432_088_532)
    assert found.signers == ("arche2025h1.staging.ct.transparency.dev", "remora.n621.de", "witness.stagemole.eu")


def test_too_few_witnesses_are_not_enough() -> None:
    with pytest.raises(ProofError, match="1 witnesses have signed"):
        open_checkpoint(CT_NOTE, VerifierKey.parse(CT_KEY), [VerifierKey.parse(WITNESSES[0])], quorum=2)


@pytest.mark.parametrize(
    "place", ["1432088532\n", "remora.n621.de 2net5wAAAABqEiEg", "remora.n621.de 2net5wAAAABqEiEgPlfF"]
)
def test_nothing_signed_can_be_changed(place: str) -> None:
    at = CT_NOTE.index(place.encode()) + len(place.encode()) - 2
    spoiled = CT_NOTE[:at] + (b"3" if CT_NOTE[at : at + 1] != b"3" else b"4") + CT_NOTE[at + 1 :]

    with pytest.raises(ProofError, match="is wrong"):
        open_checkpoint(spoiled, VerifierKey.parse(CT_KEY), [VerifierKey.parse(WITNESSES[0])])


def test_a_stranger_signs_nothing() -> None:
    stranger = VerifierKey.parse(LogKey("PeterNeumann", bytes(32)).public)

    with pytest.raises(ProofError, match="nobody who is trusted"):
        open_note(GO_NOTE, [stranger])


def test_a_witness_alone_makes_no_checkpoint() -> None:
    with pytest.raises(ProofError, match="has not signed"):
        open_checkpoint(CT_NOTE, VerifierKey.parse(GO_KEY), [VerifierKey.parse(WITNESSES[0])])


def test_a_checkpoint_of_another_origin_is_not_taken_for_ours() -> None:
    key = LogKey("one", bytes(32))
    text = checkpoint.text(Head("two", 1, bytes(32)))
    note = checkpoint.signed(text, "one", key._public, key._private.sign(text))

    with pytest.raises(ProofError, match="of two, not of one"):
        open_checkpoint(note, VerifierKey.parse(key.public))


@pytest.mark.parametrize(
    "text",
    [b"one\n01\n" + base64.b64encode(bytes(32)), b"one\n1\nAAAA", b"one\n-1\n" + base64.b64encode(bytes(32)), b"one"],
)
def test_what_is_no_checkpoint_is_none_even_if_it_is_signed(text: bytes) -> None:
    key = LogKey("one", bytes(32))
    note = checkpoint.signed(text + b"\n", "one", key._public, key._private.sign(text + b"\n"))

    with pytest.raises(ProofError, match="no checkpoint"):
        open_checkpoint(note, VerifierKey.parse(key.public))
    with pytest.raises(ValueError, match="no checkpoint"):
        checkpoint.read(note)


@pytest.mark.parametrize(
    "note", [b"", GO_TEXT, GO_NOTE[:-1], GO_NOTE + b"\n", GO_NOTE + b"\x00\n", b"\n\n", GO_NOTE + b"x\n"]
)
def test_what_is_no_note_is_none(note: bytes) -> None:
    with pytest.raises(ProofError):
        open_note(note, [VerifierKey.parse(GO_KEY)])


@pytest.mark.parametrize(
    "text", ["", "one", "one+00000000+AAAA", GO_KEY[:-2] + "TX", GO_KEY.replace("c7", "c8"), "one++"]
)
def test_a_key_that_was_mistyped_is_no_key(text: str) -> None:
    with pytest.raises(ProofError, match="verifier key"):
        VerifierKey.parse(text)


@pytest.mark.parametrize("origin", ["", "with blank", "plus+sign", "new\nline", "x" * 201])
def test_an_origin_that_could_be_no_keys_name_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="CONSENT_LOG_ORIGIN"):
        LogKey(origin, bytes(32))


def test_a_log_knows_its_own_checkpoints() -> None:
    key = LogKey("one", bytes(32))
    note = key.sign(7, bytes(32))

    assert key.has_signed(note)
    assert key.has_signed(note + "— witness AAAA\n".encode())
    assert not key.has_signed(LogKey("one", bytes(31) + b"1").sign(7, bytes(32)))
    assert not key.has_signed(note.replace(b"\n7\n", b"\n8\n"))
    assert not key.has_signed(GO_NOTE)
    assert checkpoint.read(note) == Head("one", 7, bytes(32))
