"""Registers that are loaded and not yet in force."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)


class Scheduled(NamedTuple):
    """A register as it was loaded, by the event that loaded it and its place; in force from `valid_from` on."""

    event_id: UUID
    shard: int
    pos: int
    valid_from: datetime
    recorded_at: datetime
    document: dict[str, Any]


class Next(NamedTuple):
    """When the next register comes into force, None if none is scheduled; `now` is the database's clock."""

    valid_from: datetime | None
    now: datetime


async def pending(connection: Connection) -> list[Scheduled]:
    """Return what is scheduled, in the order in which it comes into force."""
    return [Scheduled(*row) for row in await connection.fetch(_SQL["pending"])]


async def next_in_force(connection: Connection) -> Next:
    """Return when the schedule must be looked at again."""
    row = await connection.fetchrow(_SQL["next"])
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    return Next(*row)


@asynccontextmanager
async def changing(connection: Connection) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    """Hold up every append while the register changes; gives the version in force, 0 when there is none."""
    async with connection.transaction():
        await connection.execute(_SQL["lock"])
        row = await connection.fetchrow(_SQL["in_force"])
        yield (row["version"], row["document"]) if row else (0, {})


async def bring_into_force(
    connection: Connection, scheduled: Scheduled, version: int, digest: bytes, document: dict[str, Any]
) -> None:
    """Make a scheduled register the version in force, within `changing()`."""
    await connection.execute(
        _SQL["bring_into_force"], version, scheduled.shard, scheduled.pos, scheduled.event_id, digest,
        scheduled.valid_from, scheduled.recorded_at, document,
    )  # fmt: skip
