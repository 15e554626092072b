"""Reads of the ledger, with the superuser's eyes and the installation's keys, what became of a record."""

import hashlib
import hmac
import itertools
import uuid
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consent_ledger.store import keys
from running import Installation, Place


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All that the ledger says of one offset."""

    entry: asyncpg.Record | None
    quarantined: asyncpg.Record | None
    duplicate_of: uuid.UUID | None
    in_hole: bool

    @property
    def became(self) -> str:
        """One word; "synthetic" is an entry that stands for a record kept in quarantine."""
        if self.entry is not None:
            return "entry" if self.quarantined is None else "synthetic"
        return (
            "rejected" if self.quarantined else "duplicate" if self.duplicate_of else "hole" if self.in_hole else "lost"
        )

    @property
    def reason(self) -> str | None:
        return None if self.quarantined is None else self.quarantined["reason"]

    @property
    def body(self) -> dict[str, Any]:
        assert self.entry is not None
        number, body = msgspec.json.decode(self.entry["body"])
        assert number == 1
        return dict(body)


async def outcome(home: Installation, place: Place) -> Outcome:
    async def one(table: str) -> asyncpg.Record | None:
        rows = await home.fetch(f"SELECT * FROM {table} WHERE shard = $1 AND k_offset = $2", *place)  # noqa: S608
        assert len(rows) < 2
        return rows[0] if rows else None

    duplicate = await one("duplicate")
    return Outcome(
        entry=await one("ledger"),
        quarantined=await one("quarantine"),
        duplicate_of=None if duplicate is None else duplicate["event_id"],
        in_hole=bool(
            await home.fetch("SELECT FROM hole WHERE shard = $1 AND $2 >= from_offset AND $2 < to_offset", *place)
        ),
    )


async def require_balance(home: Installation) -> None:
    """Every offset of every shard is exactly one of entry, duplicate, rejected, hole; the heads agree."""
    for head in await home.fetch("SELECT * FROM shard_head"):
        shard = head["shard"]
        accounts = {
            "next_pos": await _offsets(home, "SELECT k_offset FROM ledger WHERE shard = $1", shard),
            "duplicates": await _offsets(home, "SELECT k_offset FROM duplicate WHERE shard = $1", shard),
            "rejected": await _offsets(home, "SELECT k_offset FROM quarantine WHERE shard = $1 AND pos IS NULL", shard),
            "holes": await _offsets(
                home, "SELECT generate_series(from_offset, to_offset - 1) FROM hole WHERE shard = $1", shard
            ),
        }
        assert {name: head[name] for name in accounts} == {name: len(found) for name, found in accounts.items()}
        everything = sorted(itertools.chain.from_iterable(accounts.values()))
        assert everything == list(range(head["start_offset"], head["next_offset"]))


async def _offsets(home: Installation, query: str, shard: int) -> list[int]:
    return [row[0] for row in await home.fetch(query, shard)]


async def subjects(home: Installation, place: Place) -> dict[str, list[bytes]]:
    """The hashes under which the entry of a record is found, by controller."""
    rows = await home.fetch(
        "SELECT controller, array_agg(hash ORDER BY ordinal) AS hashes FROM entry_subject"
        " JOIN ledger USING (shard, pos) WHERE shard = $1 AND k_offset = $2 GROUP BY controller",
        *place,
    )
    return {row["controller"]: row["hashes"] for row in rows}


async def hashes(home: Installation, type: str, value: str) -> dict[str, bytes]:
    """How each controller knows an address: HMAC-SHA-256(key, type|normalised value)."""
    known = await keys.controller_keys(home.superuser, home.keks)
    return {
        controller: hmac.new(key.key, f"{type}|{value}".encode(), hashlib.sha256).digest()
        for controller, key in known.items()
    }


async def kept_record(home: Installation, place: Place) -> tuple[Any, ...]:
    """Key, value, headers and timestamp of a record, as quarantine keeps them."""
    quarantined = (await outcome(home, place)).quarantined
    assert quarantined is not None
    key = (await keys.service_keys(home.superuser, home.keks))["quarantine"]
    sealed = quarantined["record"]
    return tuple(msgspec.msgpack.decode(AESGCM(key).decrypt(sealed[:12], sealed[12:], b"quarantine")))


async def opened_payloads(home: Installation, place: Place) -> dict[str, bytes]:
    """The personal fields of an entry behind their salt, by controller, with the persons' keys."""
    rows = await home.fetch(
        "SELECT controller, person, ciphertext, event_id FROM payload JOIN ledger USING (shard, pos)"
        " WHERE shard = $1 AND k_offset = $2",
        *place,
    )
    persons = await keys.keys_of_persons(home.superuser, home.keks, [row["person"] for row in rows])
    return {
        row["controller"]: AESGCM(persons[row["person"]]).decrypt(
            row["ciphertext"][:12], row["ciphertext"][12:], row["event_id"].bytes + row["controller"].encode()
        )
        for row in rows
    }
