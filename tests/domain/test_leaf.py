"""The leaf of an entry never changes: the log commits to these bytes for ever.

The vectors are frozen in a file. They are computed again here by a second implementation, written from the description
of format 1 and sharing nothing with the first.

Seen to fail: the prefix 0x00 left out; the tags not sorted; little-endian; times in milliseconds; times before 1970
unsigned; the number of tags in bytes; the body itself instead of its hash; the length of the type left out; the
register version left out; positions of 4 bytes; salt behind the personal fields; the tag without the event id.
"""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from consent_ledger.domain.leaf import NOTHING_PERSONAL, join_tags, leaf_hash, payload_commit, tag

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data" / "leaf-vectors.json").read_text())
EVENT = UUID("0199c3a0-5b00-7000-8000-000000000001")


def named(vector: dict[str, Any]) -> str:
    return str(vector["name"])


def product_hash(vector: dict[str, Any]) -> bytes:
    return leaf_hash(
        shard=vector["shard"],
        position=vector["position"],
        event_id=UUID(vector["event_id"]),
        type=vector["type"],
        occurred_at=datetime.fromisoformat(vector["occurred_at"]),
        recorded_at=datetime.fromisoformat(vector["recorded_at"]),
        offset=vector["offset"],
        register_version=vector["register_version"],
        body=bytes.fromhex(vector["body"]),
        commitment=bytes.fromhex(vector["commitment"]),
        tags=join_tags(bytes.fromhex(one) for one in vector["tags"]),
    )


def big_endian(number: int, width: int) -> bytes:
    return (number % (1 << 8 * width)).to_bytes(width, "big")


def microseconds(instant: str) -> int:
    moment = datetime.fromisoformat(instant).astimezone(UTC)
    days = moment.toordinal() - datetime(1970, 1, 1, tzinfo=UTC).toordinal()
    seconds = ((days * 24 + moment.hour) * 60 + moment.minute) * 60 + moment.second
    return seconds * 10**6 + moment.microsecond


def described_content(vector: dict[str, Any]) -> bytes:
    tags = sorted(vector["tags"])
    return b"".join(
        [
            b"\x01",
            big_endian(vector["shard"], 4),
            big_endian(vector["position"], 8),
            bytes.fromhex(vector["event_id"].replace("-", "")),
            big_endian(len(vector["type"]), 1),
            vector["type"].encode("ascii"),
            big_endian(microseconds(vector["occurred_at"]), 8),
            big_endian(microseconds(vector["recorded_at"]), 8),
            big_endian(vector["offset"], 8),
            big_endian(vector["register_version"], 8),
            hashlib.sha256(bytes.fromhex(vector["body"])).digest(),
            bytes.fromhex(vector["commitment"]),
            big_endian(len(tags), 2),
            *(bytes.fromhex(one) for one in tags),
        ]
    )


def rfc_6962_leaf(content: bytes) -> str:
    """MTH({d(0)}) = SHA-256(0x00 || d(0)), RFC 6962 section 2.1."""
    digest = hashlib.sha256()
    digest.update(bytes([0]))
    digest.update(content)
    return digest.hexdigest()


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_a_leaf_hashes_as_it_is_frozen(vector: dict[str, Any]) -> None:
    assert product_hash(vector).hex() == vector["leaf_hash"]


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_a_frozen_leaf_is_the_described_bytes_under_the_prefix_of_a_leaf(vector: dict[str, Any]) -> None:
    content = described_content(vector)

    assert content.hex() == vector["content"]
    assert rfc_6962_leaf(content) == vector["leaf_hash"]


def test_the_vectors_reach_the_limits_of_every_field() -> None:
    assert {len(vector["tags"]) for vector in VECTORS} >= {0, 1, 2}
    assert {vector["occurred_at"][:4] for vector in VECTORS} >= {"0001", "9999", "1969"}
    assert max(vector["offset"] for vector in VECTORS) == 2**63 - 1
    assert max(vector["position"] for vector in VECTORS) == 2**63 - 1
    assert any(vector["tags"] != sorted(vector["tags"]) for vector in VECTORS)


def test_every_field_is_part_of_the_leaf() -> None:
    plain = VECTORS[0]
    other: dict[str, Any] = {
        "shard": 2,
        "position": 12,
        "event_id": str(UUID(int=5)),
        "type": "consent-giveN",
        "occurred_at": "2026-03-01T09:00:00.000001+00:00",
        "recorded_at": "2026-03-01T09:00:01.000001+00:00",
        "offset": 98,
        "register_version": 4,
        "body": b"[1,{}]".hex(),
        "commitment": "11" * 32,
        "tags": ["22" * 32],
    }

    hashes = {product_hash(plain)} | {product_hash({**plain, name: value}) for name, value in other.items()}

    assert len(hashes) == 1 + len(other)
    assert other.keys() == plain.keys() - {"name", "content", "leaf_hash"}


def test_the_same_instant_in_another_zone_is_the_same_leaf() -> None:
    plain = VECTORS[0]

    assert product_hash({**plain, "occurred_at": "2026-03-01T10:00:00+01:00"}) == product_hash(plain)


def test_the_commitment_to_personal_fields_is_salted() -> None:
    salt, personal = bytes(range(32)), b'{"subject":[{"type":"email","value":"an@example.be"}]}'

    assert payload_commit(salt, personal) == hashlib.sha256(salt + personal).digest()
    assert payload_commit(bytes(32), personal) != payload_commit(salt, personal)
    assert payload_commit(salt, personal).hex() == "434e05031a29e1c6119a368e32eb25f9aca4d3e4f2574e4207c98bf94a074a4b"


def test_only_the_holder_of_a_persons_key_recognises_their_entry() -> None:
    key = bytes(range(32))

    assert tag(key, EVENT) == hmac.new(key, b"tag" + EVENT.bytes, hashlib.sha256).digest()
    assert tag(key, EVENT).hex() == "6705ec7dc04641491ef3b29b1b61458aeb166fed15b70b4b018c3113eb83b5ef"
    assert len({tag(key, EVENT), tag(bytes(32), EVENT), tag(key, UUID(int=1))}) == 3


def test_tags_stand_in_ascending_order_whoever_they_belong_to() -> None:
    low, high = b"\x01" * 32, b"\xfe" * 32

    assert join_tags([high, low]) == join_tags(iter([low, high])) == low + high
    assert join_tags([]) == b""


def test_an_entry_without_personal_fields_commits_to_zeros() -> None:
    assert bytes(32) == NOTHING_PERSONAL
