"""The leaf of an entry: the bytes to which the Merkle log commits for ever. Format 1; see tests for vectors.

A leaf is SHA-256(0x00 ‖ content) as in RFC 6962 section 2.1. All integers are big-endian. The content is, in order:
format number (1 byte), shard (4), position (8), event id (16), length of the type (1) and the type in ASCII,
occurred_at and recorded_at in microseconds since 1970 UTC (8 each, signed), Kafka offset (8), register version (8),
SHA-256 of the body (32), commitment to the personal fields (32), number of tags (2) and the tags in ascending order
(32 each).

It holds no personal data, and after an erasure no two leaves of one person have anything in common: the body carries
non-personal fields only, the commitment is salted, and the tags are keyed by a key that is then gone.
"""

import hashlib
import hmac
import struct
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TypedDict, Unpack
from uuid import UUID

FORMAT = 1
NOTHING_PERSONAL = bytes(32)
SALT_BYTES = 32
"""What every ciphertext begins with: the salt of the commitment to the personal fields."""

_FIXED = struct.Struct(">BIQ16sB")
_TIMES = struct.Struct(">qqQQ32s32sH")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(instant: datetime) -> int:
    """Microseconds since 1970 UTC, exact for every year from 1 to 9999."""
    delta = instant - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def payload_commit(salt: bytes, personal: bytes) -> bytes:
    """Commit to the canonical personal fields under a random 32-byte salt that lies inside every ciphertext."""
    return hashlib.sha256(salt + personal).digest()


def tag(person_key: bytes, event_id: UUID) -> bytes:
    """Let the holder of a person's key recognise that person's entry, and nobody else."""
    return hmac.digest(person_key, b"tag" + event_id.bytes, "sha256")


def join_tags(tags: Iterable[bytes]) -> bytes:
    """The tags of an entry in the order in which the leaf holds them."""
    return b"".join(sorted(tags))


class Columns(TypedDict):
    """What of an entry the leaf holds. `tags` are joined by `join_tags`."""

    shard: int
    position: int
    event_id: UUID
    type: str
    occurred_at: datetime
    recorded_at: datetime
    offset: int
    register_version: int
    body: bytes
    commitment: bytes
    tags: bytes


def leaf_content(**entry: Unpack[Columns]) -> bytes:
    """Lay one entry out as the log holds it."""
    name, tags = entry["type"].encode("ascii"), entry["tags"]
    return (
        _FIXED.pack(FORMAT, entry["shard"], entry["position"], entry["event_id"].bytes, len(name))
        + name
        + _TIMES.pack(
            micros(entry["occurred_at"]),
            micros(entry["recorded_at"]),
            entry["offset"],
            entry["register_version"],
            hashlib.sha256(entry["body"]).digest(),
            entry["commitment"],
            len(tags) // 32,
        )
        + tags
    )


def leaf_hash(**entry: Unpack[Columns]) -> bytes:
    """Hash one entry as the log does."""
    return hashlib.sha256(b"\x00" + leaf_content(**entry)).digest()
