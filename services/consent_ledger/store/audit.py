"""The ledger and its log as an auditor reads them: everything once, in order, of one snapshot."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.store import log, statements
from consent_ledger.verifier.audit import Sealed
from consent_ledger.verifier.entry import Entry
from consent_ledger.verifier.finding import Stored

_SQL = statements.load(__file__)
_CHECKPOINTS = 200
_ROWS = 5_000
_LOOKED_THROUGH = 100_000
_ERASURES = 10_000
_LONG = {"statement_timeout": "60s", "idle_in_transaction_session_timeout": "10min"}


@asynccontextmanager
async def reading(dsn: str) -> AsyncIterator["Audited"]:
    """Open one snapshot in a role that can change nothing."""
    connection = await connect(dsn, "consent_auditor", default_transaction_read_only="on", **_LONG)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield Audited(connection)
    finally:
        connection.terminate()


class Audited:
    """One snapshot of ledger and log."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ahead: dict[int, list[Stored]] = {}
        self._asked: dict[int, int] = {}

    async def checkpoints(self) -> AsyncIterator[Sealed]:
        """Give all checkpoints, in order of size."""
        size = 0
        while rows := await self._connection.fetch(_SQL["checkpoints"], size, _CHECKPOINTS):
            for row in rows:
                yield Sealed(*row)
            size = rows[-1]["tree_size"]

    async def rows(self, shard: int, first: int, end: int) -> Sequence[Stored]:
        """Give the entries of a shard from a position up to another; asked for in order, they are read ahead."""
        taken: list[Stored] = []
        while True:
            ahead = self._ahead.setdefault(shard, [])
            stop = next((at for at, row in enumerate(ahead) if row.entry.position >= end), None)
            taken += ahead[:stop]
            self._ahead[shard] = [] if stop is None else ahead[stop:]
            if stop is not None or self._asked.get(shard, first) >= end:
                return [row for row in taken if row.entry.position >= first]
            begin = self._asked.get(shard, first)
            more = await self.look(shard, begin, end, _ROWS)
            self._ahead[shard] = more
            # Fewer than asked for: there is nothing further.
            self._asked[shard] = more[-1].entry.position + 1 if len(more) == _ROWS else 1 << 62

    async def look(self, shard: int, first: int, end: int, limit: int | None = None) -> list[Stored]:
        """Give entries of a shard from a position on: up to another, or with a limit as many as that."""
        rows = await self._connection.fetch(_SQL["rows"], shard, first, limit or end - first)
        found = [_stored(row) for row in rows]
        return found if limit else [one for one in found if one.entry.position < end]

    async def tile(self, level: int, number: int) -> tuple[bytes, bytes] | None:
        """Give the hashes and the root of a full tile; None where there is none."""
        row = await self._connection.fetchrow(_SQL["tile"], level, number)
        return (row["hashes"], row["root"]) if row else None

    async def next_positions(self) -> dict[int, int]:
        """Give the next position of every shard."""
        return {row["shard"]: row["next_pos"] for row in await self._connection.fetch(_SQL["next_positions"])}

    async def strays(self) -> list[tuple[int, int]]:
        """Give shard and position of entries that lie outside every head."""
        return [(row["shard"], row["pos"]) for row in await self._connection.fetch(_SQL["strays"])]

    async def destroyed(self, shard: int, end: int) -> int | None:
        """Give the first entry that lacks a personal part which nothing recorded took; None when there is none."""
        for first in range(0, end, _LOOKED_THROUGH):
            last = min(end, first + _LOOKED_THROUGH)
            found: int | None = await self._connection.fetchval(_SQL["destroyed"], shard, first, last)
            if found is not None:
                return found
        return None

    async def unproved(self) -> tuple[int, int] | None:
        """Give the entry of the first erasure that took something else than its evidence says; None: there is none."""
        before = 0
        while (last := await self._connection.fetchval(_SQL["next_erasures"], before, _ERASURES)) is not None:
            row = await self._connection.fetchrow(_SQL["unproved"], before, last)
            if row is not None:
                return row["shard"], row["pos"]
            before = last
        return None

    async def sealed_leaves(self, shard: int, first: int, end: int) -> dict[int, bytes]:
        """Give the sealed hashes of positions, as far as they are sealed, from the next few checkpoints."""
        size = await self._connection.fetchval(_SQL["sealed_by"], shard, first)
        found: dict[int, bytes] = {}
        if size is None:
            return found
        for checkpoint in await self._connection.fetch(_SQL["sealed_leaves"], shard, first, end - first):
            slices = await log.slices(self._connection, checkpoint["tree_size"] - 1, checkpoint["tree_size"])
            for one in slices:
                if one.shard == shard:
                    at = (one.start - slices[0].start) * 32
                    for position in range(one.first, min(end, one.end)):
                        found[position] = checkpoint["leaves"][at : at + 32]
                        at += 32
            if found and max(found) >= end - 1:
                break
        return found


def _stored(row: Any) -> Stored:
    *columns, body, commitment, tags, leaf_hash = row
    return Stored(Entry._make([*columns, hashlib.sha256(body).digest(), commitment, tags]), leaf_hash)
