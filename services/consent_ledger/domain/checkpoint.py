"""Checkpoints as signed notes (C2SP tlog-checkpoint, signed-note, tlog-cosignature): text, signatures, key names."""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from consent_ledger.domain.merkle import HASH_BYTES

LOG: Final = b"\x01"
WITNESS: Final = b"\x04"
"""Kinds of keys: what signs a log, and what cosigns it (both Ed25519)."""
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


def text(head: Head, says: Sequence[str] = ()) -> bytes:
    """Write the text that is signed; `says` are further lines of it."""
    more = "".join(f"{line}\n" for line in says)
    return f"{head.origin}\n{head.size}\n{base64.b64encode(head.root).decode()}\n{more}".encode()


def continuation(ended: Head, reason: str) -> list[str]:
    """Write the lines by which every checkpoint of a log names the one that was cut off before it, and why.

    Raises ValueError for a reason that is no line of text.
    """
    if not reason.strip() or not reason.isprintable():
        raise ValueError("a reason is one line of text")
    return [f"continues {ended.origin} {ended.size} {base64.b64encode(ended.root).decode()}", f"because {reason}"]


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


def _key_id(name: str, public: bytes, kind: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + kind + public).digest()[:_KEY_ID_BYTES]


def verifier_key(name: str, public: bytes, *, kind: bytes = LOG) -> str:
    """Write an Ed25519 public key (32 bytes) in the form in which verifiers are told whom to trust."""
    return f"{name}+{_key_id(name, public, kind).hex()}+{base64.b64encode(kind + public).decode()}"


def signed(text: bytes, name: str, public: bytes, signature: bytes) -> bytes:
    """Put a text and its Ed25519 signature together to a note."""
    return text + b"\n" + _line(name, _key_id(name, public, LOG) + signature)


def witnessed(text: bytes, seconds: int) -> bytes:
    """Write what a witness signs who saw a checkpoint's text at so many seconds since 1970."""
    return b"cosignature/v1\ntime %d\n" % seconds + text


def cosignature(name: str, public: bytes, seconds: int, signature: bytes) -> bytes:
    """Write a witness's signature line, which is put behind the others of a note."""
    return _line(name, _key_id(name, public, WITNESS) + seconds.to_bytes(8, "big") + signature)


def _line(name: str, signature: bytes) -> bytes:
    return f"— {name} {base64.b64encode(signature).decode()}\n".encode()
