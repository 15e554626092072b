"""Checkpoints as signed notes (C2SP tlog-checkpoint, signed-note): their text, the line of a signature, key names."""

import base64
import binascii
import hashlib
import re
from typing import Final, NamedTuple

from consent_ledger.domain.merkle import HASH_BYTES

_ED25519: Final = b"\x01"
_KEY_ID_BYTES: Final = 4
_NAME = re.compile(r"[^\s+]{1,200}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_LINES: Final = 3


class Head(NamedTuple):
    """What a checkpoint says: the log's origin, the number of leaves, the root over them."""

    origin: str
    size: int
    root: bytes


def is_origin(name: str) -> bool:
    """Tell whether a name may be a log's origin and its key's name: neither blanks nor plus signs."""
    return _NAME.fullmatch(name) is not None and name.isprintable()


def text(head: Head) -> bytes:
    """Write the text that is signed."""
    return f"{head.origin}\n{head.size}\n{base64.b64encode(head.root).decode()}\n".encode()


def read(note: bytes) -> Head:
    """Read a checkpoint, whoever signed it. Raises ValueError."""
    try:
        lines = note.decode().partition("\n\n")[0].split("\n")
        origin, size, root = lines[:_LINES]
        head = Head(origin, int(size) if _SIZE.fullmatch(size) else -1, base64.b64decode(root, validate=True))
    except (ValueError, binascii.Error):
        raise ValueError("this is no checkpoint") from None
    if head.size < 0 or len(head.root) != HASH_BYTES:
        raise ValueError("this is no checkpoint")
    return head


def _key_id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_KEY_ID_BYTES]


def verifier_key(name: str, public: bytes) -> str:
    """Write an Ed25519 public key (32 bytes) in the form in which verifiers are told whom to trust."""
    return f"{name}+{_key_id(name, public).hex()}+{base64.b64encode(_ED25519 + public).decode()}"


def signed(text: bytes, name: str, public: bytes, signature: bytes) -> bytes:
    """Put a text and its Ed25519 signature together to a note."""
    line = base64.b64encode(_key_id(name, public) + signature).decode()
    return text + f"\n— {name} {line}\n".encode()
