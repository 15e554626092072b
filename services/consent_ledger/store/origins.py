"""Under which name the log goes: the installation's, until one ends and another begins where it was cut off."""

from datetime import datetime
from typing import NamedTuple

import asyncpg

from consent_ledger.domain import checkpoint
from consent_ledger.domain.checkpoint import Head
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.logkey import LogKey
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import keys, statements

_SQL = statements.load(__file__)


class Origin(NamedTuple):
    """A log that began where the one named `ended` was cut off; `ended_note` is the last that was published of it."""

    number: int
    origin: str
    ended: str
    ended_note: bytes
    ended_size: int
    ended_root: bytes
    reason: str
    begun_at: datetime


async def origins(connection: Connection) -> list[Origin]:
    """Return the logs that began after another, in order; the first log of an installation is none of them."""
    return [Origin(*row) for row in await connection.fetch(_SQL["origins"])]


async def signing(connection: Connection, keks: KeyEncryptionKeys, first: str) -> LogKey:
    """Return what signs the present log; `first` is the name of the installation's first one.

    Raises ValueError where that can be no log's name.
    """
    seed, later = await keys.log_key(connection, keks), await origins(connection)
    if not later:
        return LogKey(first, seed)
    last = later[-1]
    ended = Head(last.ended, last.ended_size, last.ended_root)
    return LogKey(last.origin, seed, number=last.number, says=checkpoint.continuation(ended, last.reason))


async def begin(
    connection: "asyncpg.Connection[asyncpg.Record]", number: int, origin: str, ended_note: bytes, reason: str
) -> None:
    """Set the log aside that has ended, and begin another; as the owner of the tables, in a transaction."""
    head = checkpoint.read(ended_note)
    await connection.execute(_SQL["set_aside"], number - 1)
    await connection.execute(_SQL["begin"], number, origin, head.origin, ended_note, head.size, head.root, reason)
