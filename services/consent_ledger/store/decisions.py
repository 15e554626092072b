"""What a decision rests on: one snapshot of the view, read behind a barrier.

The barrier: the positions that all shards had when the question came in, and the register in force then. A snapshot
counts only if the viewer has folded at least those, so no answer can overlook an entry that was committed before it was
asked for, nor rest on a register whose time was over.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from consent_ledger.domain.calls import CallHistory
from consent_ledger.domain.facts import Dossier
from consent_ledger.runtime.clock import Clock, SystemClock
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import dnc, statements
from consent_ledger.store.view import StoredRow

_SQL = statements.load(__file__)

_RETRY_SECONDS = 0.002


class BehindError(Exception):
    """The view has not caught up with the ledger in time; the answer is no, and may be another soon."""


class Snapshot:
    """One snapshot of the view; everything read through it is of the same instant."""

    def __init__(
        self, connection: Connection, applied: list[int], register_version: int, horizon: datetime, now: datetime
    ) -> None:
        self._connection = connection
        # Number of entries folded, by shard: what this snapshot knows.
        self.applied = applied
        self.register_version = register_version
        # Everything that Kafka held at this instant is in the snapshot.
        self.horizon = horizon
        self.now = now

    async def needs(self, controllers: Collection[str]) -> dict[tuple[str, str], int]:
        """Return, by controller and purpose, the register version that a stored decision must be made under."""
        rows = await self._connection.fetch(_SQL["needs"], list(controllers))
        return {(row[0], row[1]): row[2] for row in rows}

    async def register_version_at(self, instant: datetime) -> int:
        """Return the version of the register that was in force at an instant; 0: none was."""
        version: int = await self._connection.fetchval(_SQL["register_version_at"], instant)
        return version

    async def rows(self, hashes: Collection[bytes]) -> dict[bytes, StoredRow]:
        """Return the rows of addresses that have one."""
        return {row[0]: StoredRow(*row[1:]) for row in await self._connection.fetch(_SQL["rows"], list(hashes))}

    async def forgotten(self, hashes: Collection[bytes]) -> dict[bytes, datetime]:
        """Return the addresses of which something was deleted, each with the last instant of that; most are missing."""
        return {row[0]: row[1] for row in await self._connection.fetch(_SQL["forgotten"], list(hashes))}

    async def dossiers(self, hashes: Collection[bytes]) -> dict[bytes, tuple[int, Dossier]]:
        """Return id and facts of the dossiers that addresses belong to; addresses without one are missing."""
        rows = await self._connection.fetch(_SQL["dossiers"], list(hashes))
        return {row[0]: (row[1], Dossier.loads(row[2])) for row in rows}

    async def call_histories(
        self, controllers: Collection[str], phones: Collection[bytes]
    ) -> dict[str, dict[str, CallHistory]]:
        """Return, by controller and do-not-call register, what is known of these numbers.

        Without a register are the controllers that its newest snapshot does not cover: no list of theirs is fresh.
        """
        return await dnc.histories(self._connection, controllers, phones)


@asynccontextmanager
async def behind_barrier(
    connection: Connection, patience: timedelta, clock: Clock | None = None
) -> AsyncIterator[Snapshot]:
    """Open a snapshot that holds every entry committed before this call, under the register in force at this call.

    Raises `BehindError` when the view has not folded them within `patience`.
    """
    deadline = asyncio.get_running_loop().time() + patience.total_seconds()
    head = await _heads(connection)
    while _is_outdated(head, clock or SystemClock()):
        await _rest(deadline)
        head = await _heads(connection)
    while not await connection.fetchval(_SQL["caught_up"], head["shards"], head["next_pos"], head["register_version"]):
        await _rest(deadline)
    # What is folded is never unfolded, so a snapshot taken now has caught up as well.
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        state = await connection.fetchrow(_SQL["state"])
        assert state is not None  # noqa: S101 - both rows are made by the migration
        yield Snapshot(connection, state["applied"], state["register_version"], state["horizon"], state["now"])


async def _heads(connection: Connection) -> Any:
    head = await connection.fetchrow(_SQL["heads"])
    assert head is not None  # noqa: S101 - an aggregate always gives a row
    return head


def _is_outdated(head: Any, clock: Clock) -> bool:
    """Tell whether the time of the register in force is over, because the next one's instant has come."""
    next_register: datetime | None = head["next_register"]
    return next_register is not None and next_register <= clock.now(head["now"])


async def _rest(deadline: float) -> None:
    if asyncio.get_running_loop().time() > deadline:
        raise BehindError
    await asyncio.sleep(_RETRY_SECONDS)
