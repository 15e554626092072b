"""The keys that sign checkpoints: Ed25519, under the log's origin as its name, or under a witness's."""

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consent_ledger.domain import checkpoint
from consent_ledger.domain.checkpoint import Head


class LogKey:
    """Signs the checkpoints of one log, the first of its installation or a later one.

    `says`: lines that each checkpoint carries. Raises ValueError for an origin that can be no key's name.
    """

    def __init__(self, origin: str, seed: bytes, *, number: int = 1, says: Sequence[str] = ()) -> None:
        if not checkpoint.is_origin(origin):
            raise ValueError("CONSENT_LOG_ORIGIN has a blank or a plus sign, or is too long")
        self.origin = origin
        self.number = number
        self._says = says
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._private.public_key().public_bytes_raw()

    @property
    def public(self) -> str:
        """The verifier key, by which anyone checks the log."""
        return checkpoint.verifier_key(self.origin, self._public)

    def verifier_key_of(self, origin: str) -> str:
        """Return the verifier key of another log of this installation; all are signed by one and the same key."""
        return checkpoint.verifier_key(origin, self._public)

    def sign(self, size: int, root: bytes) -> bytes:
        """Write the note of a checkpoint. The same one comes out each time: Ed25519 has no chance in it."""
        text = checkpoint.text(Head(self.origin, size, root), self._says)
        return checkpoint.signed(text, self.origin, self._public, self._private.sign(text))

    def has_signed(self, note: bytes) -> bool:
        """Tell whether a note is a checkpoint of this log, with or without cosignatures behind its signature."""
        try:
            head = checkpoint.read(note)
        except ValueError:
            return False
        return head.origin == self.origin and note.startswith(self.sign(head.size, head.root))


class WitnessKey:
    """Cosigns the checkpoints of others' logs (C2SP tlog-cosignature). Raises ValueError for a name that is none."""

    def __init__(self, name: str, seed: bytes) -> None:
        if not checkpoint.is_origin(name):
            raise ValueError("a witness's name has neither blanks nor plus signs, and up to 200 characters")
        self.name = name
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._private.public_key().public_bytes_raw()

    @property
    def public(self) -> str:
        """The verifier key, by which anyone checks the witness's signatures."""
        return checkpoint.verifier_key(self.name, self._public, kind=checkpoint.WITNESS)

    def cosign(self, note: bytes, seconds: int) -> bytes:
        """Write the signature line for a checkpoint, seen at so many seconds since 1970."""
        text = note.partition(b"\n\n")[0] + b"\n"
        signature = self._private.sign(checkpoint.witnessed(text, seconds))
        return checkpoint.cosignature(self.name, self._public, seconds, signature)
