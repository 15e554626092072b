"""A log that begins where another was cut off: what its checkpoints say of that one, and whether that is so."""

import base64
import binascii
from typing import NamedTuple

from consent_ledger.verifier.note import Checkpoint, VerifierKey, open_checkpoint
from consent_ledger.verifier.tree import ProofError

_WORD = "continues "
_REASON = "because "


class Ended(NamedTuple):
    """The log that ended, with the last checkpoint that was published of it, and why it was not continued."""

    origin: str
    size: int
    root: bytes
    reason: str


def ended_before(checkpoint: Checkpoint) -> Ended | None:
    """Return what a checkpoint says of the log before its own; None for a log that is its installation's first.

    Raises `ProofError` for one that says it in a way that cannot be read.
    """
    said = [line.removeprefix(_WORD) for line in checkpoint.says if line.startswith(_WORD)]
    if not said:
        return None
    reason = next((line.removeprefix(_REASON) for line in checkpoint.says if line.startswith(_REASON)), "")
    try:
        origin, size, root = said[0].split(" ")
        return Ended(origin, int(size), base64.b64decode(root, validate=True), reason)
    except (ValueError, binascii.Error):
        raise ProofError("what the checkpoint says of the log before it cannot be read") from None


def check_link(checkpoint: Checkpoint, note: bytes, key: VerifierKey) -> None:
    """Check that a checkpoint's log names the one of which a note was published, and nothing later was.

    `key` is that of the checkpoint's log; both are signed by the same key, each under its origin. Raises `ProofError`.
    """
    ended = ended_before(checkpoint)
    if ended is None:
        raise ProofError(f"{checkpoint.origin} names no log that ended before it")
    old = open_checkpoint(note, key.of(ended.origin))
    if old.size > ended.size:
        raise ProofError(f"{ended.origin} had published {old.size} entries, and is said to have ended at {ended.size}")
    if (old.size, old.root) != (ended.size, ended.root) and old.size == ended.size:
        raise ProofError(f"{checkpoint.origin} names another root for the end of {ended.origin} than was published")
