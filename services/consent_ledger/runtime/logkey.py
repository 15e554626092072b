"""The key that signs checkpoints: Ed25519, under the log's origin as its name."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consent_ledger.domain import checkpoint
from consent_ledger.domain.checkpoint import Head


class LogKey:
    """Signs the checkpoints of one log. Raises ValueError for an origin that can be no key's name."""

    def __init__(self, origin: str, seed: bytes) -> None:
        if not checkpoint.is_origin(origin):
            raise ValueError("CONSENT_LOG_ORIGIN has a blank or a plus sign, or is too long")
        self.origin = origin
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._private.public_key().public_bytes_raw()

    @property
    def public(self) -> str:
        """The verifier key, by which anyone checks the log."""
        return checkpoint.verifier_key(self.origin, self._public)

    def sign(self, size: int, root: bytes) -> bytes:
        """Write the note of a checkpoint. The same one comes out each time: Ed25519 has no chance in it."""
        text = checkpoint.text(Head(self.origin, size, root))
        return checkpoint.signed(text, self.origin, self._public, self._private.sign(text))

    def has_signed(self, note: bytes) -> bool:
        """Tell whether a note is a checkpoint of this log, with or without cosignatures behind its signature."""
        try:
            head = checkpoint.read(note)
        except ValueError:
            return False
        return head.origin == self.origin and note.startswith(self.sign(head.size, head.root))
