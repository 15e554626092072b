"""Proofs of one entry in a file (C2SP tlog-proof): the entry, its way to the root, and the signed checkpoint."""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from consent_ledger.verifier.entry import Entry
from consent_ledger.verifier.note import Checkpoint, VerifierKey, open_checkpoint
from consent_ledger.verifier.tree import ProofError, hash_leaf, root_by_inclusion

_HEADER: Final = "c2sp.org/tlog-proof@v1"


class Proven(NamedTuple):
    """What a proof proves: this entry stands at this index of the log that the checkpoint is of.

    `body`: the non-personal fields of the event, to which the entry commits; None when the file has none.
    """

    entry: Entry
    leaf_index: int
    checkpoint: Checkpoint
    body: Any


def check_proof(proof: bytes, log: VerifierKey, witnesses: Iterable[VerifierKey] = (), quorum: int = 0) -> Proven:
    """Check a proof. Raises `ProofError`."""
    try:
        text, _, note = proof.decode().partition("\n\n")
        header, *lines = text.split("\n")
        extra = json.loads(_decoded(lines.pop(0), "extra "))
        index = lines.pop(0).removeprefix("index ")
        path = [_decoded(line) for line in lines]
        content = base64.b64decode(extra["content"], validate=True)
        body = base64.b64decode(extra["body"], validate=True) if "body" in extra else None
    except (ValueError, LookupError, TypeError, binascii.Error):
        raise ProofError("this file is no proof") from None
    if header != _HEADER or not index.isdecimal() or any(len(hash_) != hashlib.sha256().digest_size for hash_ in path):
        raise ProofError("this file is no proof")
    checkpoint = open_checkpoint(note.encode(), log, witnesses, quorum)
    entry = Entry.parse(content)
    if root_by_inclusion(int(index), checkpoint.size, hash_leaf(content), path) != checkpoint.root:
        raise ProofError("the entry is not in the log at this index")
    if body is not None and hashlib.sha256(body).digest() != entry.body_digest:
        raise ProofError("the body is not that of the entry")
    return Proven(entry, int(index), checkpoint, None if body is None else json.loads(body))


def _decoded(line: str, word: str = "") -> bytes:
    if not line.startswith(word):
        raise ValueError(line)
    return base64.b64decode(line.removeprefix(word), validate=True)
