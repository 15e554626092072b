"""Addresses whose decisions changed, in the order in which the viewer wrote them."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)


class Place(NamedTuple):
    """How far an installation's view has come."""

    installation: UUID
    seq: int


class Change(NamedTuple):
    """An address of a controller, and the entry that last changed it. `seq` rises for ever.

    `controller` None: a do-not-call register that one of them asks has moved.
    """

    controller: str | None
    type: str
    hash: bytes
    seq: int
    shard: int
    pos: int
    recorded_at: datetime


async def place(connection: Connection) -> Place:
    """Return how far the view has come."""
    row = await connection.fetchrow(_SQL["place"])
    assert row is not None  # noqa: S101 - both rows are made by migrations
    return Place(*row)


async def since(connection: Connection, controllers: Collection[str], seq: int, limit: int) -> list[Change]:
    """Return the next rows behind a place, each once, as it is now."""
    return [Change(*row) for row in await connection.fetch(_SQL["since"], sorted(set(controllers)), seq, limit)]
