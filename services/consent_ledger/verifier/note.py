"""Signed notes and checkpoints from a verifier's side (C2SP signed-note, tlog-checkpoint, tlog-cosignature)."""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from consent_ledger.verifier.tree import ProofError

_ED25519: Final = 1
_COSIGNATURE: Final = 4
_KEY_ID_BYTES: Final = 4
_KEY_BYTES: Final = 32
_TIME_BYTES: Final = 8
_NOTE_MAX_BYTES: Final = 1_000_000
_FIRST_PRINTABLE: Final = 0x20


@dataclass(frozen=True)
class VerifierKey:
    """Whom to trust: a log's key, or a witness's (then `is_witness`)."""

    name: str
    id: bytes
    is_witness: bool
    public: Ed25519PublicKey

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name+id+key` as `consent keys log-public` prints it. Raises `ProofError`."""
        try:
            name, id_, key = text.strip().split("+", 2)
            kind, *_ = raw = base64.b64decode(key, validate=True)
            expected = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:_KEY_ID_BYTES]
        except (ValueError, binascii.Error):
            raise ProofError("this is no verifier key") from None
        if kind not in (_ED25519, _COSIGNATURE) or len(raw) != 1 + _KEY_BYTES or not name or expected.hex() != id_:
            raise ProofError("this is no Ed25519 verifier key, or it was mistyped")
        return cls(name, expected, kind == _COSIGNATURE, Ed25519PublicKey.from_public_bytes(raw[1:]))

    def of(self, name: str) -> Self:
        """Return the same key under another name, as another log's."""
        public = self.public.public_bytes_raw()
        id_ = hashlib.sha256(name.encode() + b"\n" + bytes([_ED25519]) + public).digest()[:_KEY_ID_BYTES]
        return type(self)(name, id_, False, self.public)  # noqa: FBT003 - a log's

    def check(self, text: bytes, signature: bytes) -> None:
        """Check a signature, without its key id, over the text of a note. Raises `ProofError`."""
        if self.is_witness:
            time, signature = signature[:_TIME_BYTES], signature[_TIME_BYTES:]
            text = b"cosignature/v1\ntime %d\n" % int.from_bytes(time, "big") + text
        try:
            self.public.verify(signature, text)
        except InvalidSignature:
            raise ProofError(f"the signature of {self.name} is wrong") from None


class Checkpoint(NamedTuple):
    """The head of a log, signed by all of `signers`. `says`: further lines of its text."""

    origin: str
    size: int
    root: bytes
    signers: tuple[str, ...]
    says: tuple[str, ...] = ()


def open_note(note: bytes, keys: Iterable[VerifierKey]) -> tuple[bytes, tuple[str, ...]]:
    """Return the text of a note and which of the keys have signed it.

    Raises `ProofError` when none has, or a signature of one of them is wrong.
    """
    if len(note) > _NOTE_MAX_BYTES or any(byte < _FIRST_PRINTABLE and byte != ord("\n") for byte in note):
        raise ProofError("this is no signed note")
    text, blank, lines = note.rpartition(b"\n\n")
    if not blank or not lines.endswith(b"\n"):
        raise ProofError("this is no signed note")
    text += b"\n"
    known = {(key.name, key.id): key for key in keys}
    signers = []
    for line in lines[:-1].split(b"\n"):
        name, signature = _signature(line)
        key = known.get((name, signature[:_KEY_ID_BYTES]))
        if key is not None and name not in signers:
            key.check(text, signature[_KEY_ID_BYTES:])
            signers.append(name)
    if not signers:
        raise ProofError("nobody who is trusted has signed this")
    return text, tuple(signers)


def _signature(line: bytes) -> tuple[str, bytes]:
    try:
        dash, name, signature = line.decode().split(" ")
        raw = base64.b64decode(signature, validate=True)
    except (ValueError, binascii.Error):
        raise ProofError("a signature line cannot be read") from None
    if dash != "—" or not name or len(raw) <= _KEY_ID_BYTES:
        raise ProofError("a signature line cannot be read")
    return name, raw


def open_checkpoint(
    note: bytes, log: VerifierKey, witnesses: Iterable[VerifierKey] = (), quorum: int = 0
) -> Checkpoint:
    """Read a checkpoint that the log has signed, and at least so many of the witnesses. Raises `ProofError`."""
    text, signers = open_note(note, [log, *witnesses])
    if log.name not in signers:
        raise ProofError(f"{log.name} has not signed this checkpoint")
    if len(signers) - 1 < quorum:
        raise ProofError(f"{len(signers) - 1} witnesses have signed this checkpoint, and {quorum} are asked for")
    try:
        origin, size, root, *says, _ = text.decode().split("\n")
        checkpoint = Checkpoint(origin, int(size), base64.b64decode(root, validate=True), signers, tuple(says))
    except (ValueError, binascii.Error):
        raise ProofError("this is no checkpoint") from None
    if str(checkpoint.size) != size or checkpoint.size < 0 or len(checkpoint.root) != _KEY_BYTES:
        raise ProofError("this is no checkpoint")
    if origin != log.name:
        raise ProofError(f"this is a checkpoint of {origin}, not of {log.name}")
    return checkpoint
