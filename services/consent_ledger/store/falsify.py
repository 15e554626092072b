"""What somebody who may do everything does to the ledger, to show that it is found; and what an erasure left.

Only a superuser's connection gets that far, with triggers off (`session_replication_role`).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Literal, NamedTuple, TypeAlias

import asyncpg

from consent_ledger.store import statements

_SQL = statements.load(__file__)

Superuser: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Falsification: TypeAlias = Literal["date_back", "delete", "allow"]
_AS_NOBODY_STOPS: Final = {"search_path": "consent", "session_replication_role": "replica"}


class Left(NamedTuple):
    """What there is of one event: its entry, its encrypted parts, keys that open them, rows by which it is found."""

    entries: int
    personal_parts: int
    keys: int
    index_rows: int


@asynccontextmanager
async def superuser(dsn: str) -> AsyncIterator[Superuser]:
    """Connect as somebody whom neither rights nor triggers stop."""
    connection: Superuser = await asyncpg.connect(dsn, server_settings=_AS_NOBODY_STOPS)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def falsified(connection: Superuser, what: Falsification, shard: int, position: int) -> AsyncIterator[None]:
    """Falsify one entry for as long as the block lasts."""
    await connection.execute(_SQL["keep"], shard, position)
    await connection.execute(_SQL[what], shard, position)
    try:
        yield
    finally:
        await connection.execute(_SQL["delete"], shard, position)
        await connection.execute(_SQL["put_back"])
        await connection.execute(_SQL["forget"])


async def left(connection: Superuser, shard: int, position: int) -> Left:
    """Count what there is of an event."""
    row = await connection.fetchrow(_SQL["left"], shard, position)
    assert row is not None  # noqa: S101 - a SELECT of counts has one row
    return Left(*row)
