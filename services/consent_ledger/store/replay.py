"""Entries of the ledger as they are replayed: of a fixed end, in a fixed order, as many at a time as fit.

Nothing here can be read of a person: the auditor's role sees neither ciphertexts nor hashes of addresses.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from consent_ledger.domain import privacy
from consent_ledger.domain.events import read_body
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.store import log, statements
from consent_ledger.store.log import Entry

_SQL = statements.load(__file__)
_PAGE: Final = 5_000
_CHAIN_MAX: Final = 8
_LONG = {"statement_timeout": "60s", "idle_in_transaction_session_timeout": "10min"}

Place = tuple[int, int]


class Range(msgspec.Struct, frozen=True):
    """Positions of one shard, from `first` up to, not including, `end`."""

    shard: int
    first: int
    end: int


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries. None: all. Spans begin with their first instant and end before their second.

    `controllers`: whom an entry reaches by its subjects, names, or leads to by the event it refers to. `happened`: when
    it occurred, `recorded`: when the ledger had it. `ranges`: in these positions. `registers`: recorded under these
    versions of the register.
    """

    controllers: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    registers: tuple[int, ...] | None = None
    happened: tuple[datetime | None, datetime | None] = (None, None)
    recorded: tuple[datetime | None, datetime | None] = (None, None)
    ranges: tuple[Range, ...] | None = None


@asynccontextmanager
async def reading(dsn: str) -> AsyncIterator[Connection]:
    """Open a connection in a role that can change nothing and read nothing of a person."""
    connection = await connect(dsn, "consent_replayer", default_transaction_read_only="on", **_LONG)
    try:
        yield connection
    finally:
        connection.terminate()


async def heads(connection: Connection) -> list[int]:
    """Return the next position of every shard."""
    return await log.heads(connection)


async def parts(
    connection: Connection, wanted: Wanted, heads: Sequence[int], begin: Place = (0, 0)
) -> list[Range]:  # fmt: skip
    """Return the positions that are to be read, in order, from a place on."""
    found = []
    for shard, head in enumerate(heads):
        row = await connection.fetchrow(_SQL["bounds"], shard, *wanted.recorded)
        assert row is not None  # noqa: S101 - a SELECT without FROM has one row
        first, end = row[0], head if row[1] is None else min(head, row[1])
        if shard <= begin[0]:
            first = max(first, begin[1]) if shard == begin[0] else head
        for one in [Range(shard, 0, head)] if wanted.ranges is None else _joined(wanted.ranges, shard):
            part = Range(shard, max(first, one.first), min(end, one.end))
            if part.first < part.end:
                found.append(part)
    return found


def _joined(ranges: Sequence[Range], shard: int) -> list[Range]:
    """Return ranges of a shard in order, none of which overlap."""
    joined: list[Range] = []
    for one in sorted((one for one in ranges if one.shard == shard), key=lambda one: one.first):
        if joined and one.first <= joined[-1].end:
            joined[-1] = Range(shard, joined[-1].first, max(joined[-1].end, one.end))
        else:
            joined.append(one)
    return joined


async def pages(
    connection: Connection, wanted: Wanted, parts: Sequence[Range]
) -> AsyncIterator[tuple[list[Entry], Range]]:
    """Give entries in the order of shard and position, and the positions that were looked through for them."""
    for part in parts:
        for first in range(part.first, part.end, _PAGE):
            done = Range(part.shard, first, min(part.end, first + _PAGE))
            rows = await connection.fetch(
                _SQL["page"], done.shard, done.first, done.end, wanted.types, wanted.registers, *wanted.happened,
                wanted.controllers,
            )  # fmt: skip
            if wanted.controllers is not None:
                rows = await _of_controllers(connection, rows, wanted.controllers)
            yield [Entry(*tuple(row)[:-1]) for row in rows], done


async def _of_controllers(connection: Connection, rows: Sequence[Any], controllers: Sequence[str]) -> list[Any]:
    """Keep the entries that concern any of the controllers."""
    bodies = {row["event_id"]: (row["type"], read_body(row["body"])) for row in rows if not row["reached"]}
    named = {id_ for id_, (_, body) in bodies.items() if _names(body, controllers)}
    leading = {
        reference: None
        for id_, (type_, body) in bodies.items()
        if id_ not in named
        for reference in _references(type_, body)
    }
    reached = await _reached(connection, leading, controllers) if leading else set()
    return [
        row
        for row in rows
        if row["reached"]
        or row["event_id"] in named
        or not reached.isdisjoint(_references(*bodies[row["event_id"]]))
    ]  # fmt: skip


async def _reached(connection: Connection, events: Collection[UUID], controllers: Sequence[str]) -> set[UUID]:
    """Find the events that concern the controllers, or lead on to one that does."""
    onward: dict[UUID, tuple[UUID, ...]] = {}
    reached: set[UUID] = set()
    wanted = set(events)
    for _ in range(_CHAIN_MAX):
        if not wanted:
            break
        for row in await connection.fetch(_SQL["targets"], list(wanted), list(controllers)):
            body = read_body(row["body"])
            if row["reached"] or _names(body, controllers):
                reached.add(row["event_id"])
            elif not row["has_subjects"]:
                onward[row["event_id"]] = _references(row["type"], body)
        wanted = {one for found in onward.values() for one in found} - onward.keys() - reached - wanted
    for _ in range(_CHAIN_MAX):
        reached |= {id_ for id_, led in onward.items() if not reached.isdisjoint(led)}
    return reached


def _names(body: Mapping[str, Any], controllers: Sequence[str]) -> bool:
    named = body.get("controllers")
    return named == "all" or (isinstance(named, list) and not set(controllers).isdisjoint(map(str, named)))


def _references(type: str, body: Mapping[str, Any]) -> tuple[UUID, ...]:
    return privacy.references(body, privacy.PLACES[type]) if type in privacy.PLACES else ()
