"""Wraps all keys of the database under another key-encryption key, in batches, and retires those before it."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

import msgspec

from consent_ledger.runtime.keys import KeyEncryptionKeys, unwrap, wrap
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)
_TABLES: Final = ("service_key", "controller_key", "unsubscribe_key", "person_key")


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """How long keys were wrapped under one key-encryption key; `retired_at` None: they may still be."""

    kek: str
    epoch: int
    began_at: datetime
    retired_at: datetime | None


async def lock(connection: Connection) -> bool:
    """Keep other rotations out as long as the connection lives; False when there is one."""
    free: bool = await connection.fetchval(_SQL["lock"])
    return free


async def begin(connection: Connection, keks: list[str]) -> None:
    """Note the epochs of these keys, the oldest first, where that was not done before."""
    for kek in keks:
        await connection.execute(_SQL["begin"], [kek])


async def epochs(connection: Connection) -> list[Epoch]:
    """Return all epochs, the oldest first."""
    return [Epoch(**dict(row)) for row in await connection.fetch(_SQL["epochs"])]


async def left(connection: Connection, kek: str) -> int:
    """Return how many keys are wrapped under another one."""
    number: int = await connection.fetchval(_SQL["left"], kek)
    return number


async def rewrap(connection: Connection, keks: KeyEncryptionKeys, kek: str, batch: int) -> AsyncIterator[int]:
    """Wrap what is not wrapped under `kek` under it; gives after each batch how many keys that were.

    What a batch has done stays, so one that is cut off goes on where it stood.
    """
    key = await keks.key(kek)
    for table in _TABLES:
        done = batch
        while done == batch:
            async with connection.transaction():
                rows = await connection.fetch(_SQL[f"next_{table}"], kek, batch)
                wrapped = [wrap(key, unwrap(await keks.key(row["kek"]), row["wrapped"])) for row in rows]
                await connection.execute(_SQL[f"put_{table}"], kek, [row["id"] for row in rows], wrapped)
            done = len(rows)
            yield done


async def retire(connection: Connection, kek: str) -> bool:
    """End an epoch: from now on nothing can be wrapped under the key; False while something still is."""
    gone: bool = await connection.fetchval(_SQL["retire"], kek)
    return gone
