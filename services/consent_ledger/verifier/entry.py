"""The content of an entry in the log, format 1, from a verifier's side: written and read after its description."""

import hashlib
import struct
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Self
from uuid import UUID

from consent_ledger.verifier.tree import ProofError

_FORMAT: Final = 1
_HASH_BYTES: Final = 32
_BEGIN = struct.Struct(">BIQ16sB")
_END = struct.Struct(">qqQQ32s32sH")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Entry(NamedTuple):
    """An entry of the ledger as far as the log commits to it. Times are in microseconds since 1970 UTC."""

    shard: int
    position: int
    event_id: bytes
    type: str
    occurred_at: int
    recorded_at: int
    offset: int
    register_version: int
    body_digest: bytes
    commitment: bytes
    tags: bytes

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read the content of a leaf. Raises `ProofError`."""
        try:
            format_, shard, position, event_id, length = _BEGIN.unpack_from(content)
            name = content[_BEGIN.size : _BEGIN.size + length].decode("ascii")
            occurred_at, recorded_at, offset, version, body, commitment, number = _END.unpack_from(
                content, _BEGIN.size + length
            )
        except (struct.error, UnicodeDecodeError):
            raise ProofError("the content of an entry cannot be read") from None
        tags = content[_BEGIN.size + length + _END.size :]
        if format_ != _FORMAT or len(tags) != number * _HASH_BYTES:
            raise ProofError("the content of an entry is of an unknown format")
        return cls(
            shard, position, event_id, name, occurred_at, recorded_at, offset, version, body, commitment, tags
        )  # fmt: skip

    def content(self) -> bytes:
        """Write the content of the leaf. Raises `ProofError` for values that no entry has."""
        name = self.type.encode()
        try:
            begin = _BEGIN.pack(_FORMAT, self.shard, self.position, self.event_id, len(name))
            return begin + name + _END.pack(*self[4:10], len(self.tags) // _HASH_BYTES) + self.tags
        except struct.error:
            raise ProofError(f"no entry has values like those at position {self.position}") from None

    def leaf(self) -> bytes:
        """Hash the entry as a leaf."""
        return hashlib.sha256(b"\x00" + self.content()).digest()

    def describe(self) -> dict[str, object]:
        """Give the entry names and forms for people."""
        return {
            "event_id": str(UUID(bytes=self.event_id)),
            "type": self.type,
            "shard": self.shard,
            "position": self.position,
            "occurred_at": _instant(self.occurred_at),
            "recorded_at": _instant(self.recorded_at),
            "offset": self.offset,
            "register_version": self.register_version,
            "body_sha256": self.body_digest.hex(),
            "commitment": self.commitment.hex(),
            "tags": [self.tags[at : at + _HASH_BYTES].hex() for at in range(0, len(self.tags), _HASH_BYTES)],
        }


def _instant(micros: int) -> str:
    return (_EPOCH + timedelta(microseconds=micros)).isoformat().replace("+00:00", "Z")
