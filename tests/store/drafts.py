"""Drafts and batches for the store, every field with a plain default, and shards to append them to."""

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from consent_ledger.domain.leaf import NOTHING_PERSONAL
from consent_ledger.runtime.clock import Clock, SystemClock
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import ledger
from consent_ledger.store.ledger import Batch, Claim, Draft, Quarantined, RegisterLoad

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)


def draft(offset: int = 0, **fields: Any) -> Draft:
    plain: dict[str, Any] = {
        "event_id": uuid.uuid4(),
        "digest": bytes(32),
        "type": "consent-given",
        "occurred_at": NOON,
        "body": b'[1,{"controllers":["shop-be"]}]',
        "commitment": NOTHING_PERSONAL,
        "tags": b"",
        "subjects": (("shop-be", 0, "subject", "email", False, hashlib.sha256(b"an").digest()),),
        "payloads": (("shop-be", uuid.UUID(int=7), b"ciphertext"),),
    }
    return Draft(offset=offset, **{**plain, **fields})


def batch(*drafts: Draft, first: int = 0, **fields: Any) -> Batch:
    """A batch of one entry per offset from `first` on; `next_offset` lies behind the last draft."""
    end = max([first, *(one.offset + 1 for one in drafts)])
    plain: dict[str, Any] = {"shard": 1, "epoch": 1, "register_version": 0, "next_offset": end}
    return Batch(first_offset=first, drafts=list(drafts), **{**plain, **fields})


def load(version: int = 1, **fields: Any) -> Draft:
    """The entry of a register load."""
    register = RegisterLoad(version=version, digest=bytes(32), valid_from=None, document={"controllers": {}})
    return draft(**{"type": "register-loaded", "subjects": (), "payloads": (), "load": register, **fields})


def quarantined(offset: int, reason: str = "NOT_JSON", **fields: Any) -> Quarantined:
    plain: dict[str, Any] = {"detail": "not JSON", "event_id": None, "record": b"ciphertext"}
    return Quarantined(offset=offset, reason=reason, **{**plain, **fields})


async def claimed(connection: Connection, shard: int = 1, *, start: int = 0, owner: str = "first") -> Claim:
    """Make a shard, if it is not there, and take it."""
    await ledger.add_shard(connection, shard, "control" if shard == 0 else "events", max(0, shard - 1), start)
    claim = await ledger.claim(connection, shard, owner, LEASE)
    assert claim is not None
    return claim


async def append(connection: Connection, batch: Batch, clock: Clock | None = None) -> datetime:
    return await ledger.append(connection, batch, clock or SystemClock(), LEASE)
