"""Deletes evidence whose time is over, in the one role that may, and keeps the place of a run."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from consent_ledger.domain.retention import SUPPRESSING
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)

Doomed = tuple[str, int, int]
"""Controller, shard, position."""


class Run(NamedTuple):
    """A run that has not ended."""

    id: UUID
    began_at: datetime
    next_dossier: int
    counts: dict[str, Any]


class StoredDossier(NamedTuple):
    """A dossier as the viewer left it."""

    id: int
    controller: str
    facts: bytes


class DueForReview(msgspec.Struct, frozen=True, kw_only=True):
    """Suppression entries of one type at one controller that are `years` whole years old; `oldest`: of the first."""

    controller: str
    type: str
    years: int
    entries: int
    addresses: int
    oldest: datetime


async def review(connection: Connection, now: datetime) -> list[DueForReview]:
    """Count the suppression entries that are a year old or older, by controller and age; the oldest first."""
    rows = await connection.fetch(_SQL["review"], now, sorted(SUPPRESSING))
    return [DueForReview(**row) for row in rows]


async def begin(connection: Connection, id_: UUID, now: datetime) -> Run:
    """Begin a run, or take up the one that was cut off."""
    await connection.execute(_SQL["begin"], id_, now)
    row = await connection.fetchrow(_SQL["unfinished"])
    assert row is not None  # noqa: S101 - one was there, or has just been made
    return Run(*row)


async def advance(connection: Connection, id_: UUID, next_dossier: int, counts: Mapping[str, Any]) -> None:
    """Keep the place of a run with what it has done; in the transaction that did it."""
    await connection.execute(_SQL["advance"], id_, next_dossier, dict(counts))


async def end(connection: Connection, id_: UUID, now: datetime) -> None:
    """Close a run."""
    await connection.execute(_SQL["end"], id_, now)


async def epoch(connection: Connection) -> int:
    """Return the epoch under which the view is written now."""
    found: int = await connection.fetchval(_SQL["epoch"])
    return found


async def register_version(connection: Connection) -> int:
    """Return the version of the register under which the view is made; 0 before any."""
    found: int = await connection.fetchval(_SQL["register_version"])
    return found


async def register_since(connection: Connection, version: int) -> datetime:
    """Return the instant at which a version of the register came into force."""
    found: datetime = await connection.fetchval(_SQL["register_since"], version)
    return found


async def last_dossier(connection: Connection) -> int:
    """Return the highest id there is."""
    found: int = await connection.fetchval(_SQL["last_dossier"])
    return found


async def dossiers_from(connection: Connection, first: int, limit: int) -> list[StoredDossier]:
    """Return the next dossiers by id."""
    return [StoredDossier(*row) for row in await connection.fetch(_SQL["dossiers_from"], first, limit)]


async def dossiers_at(connection: Connection, ids: Collection[int]) -> list[StoredDossier]:
    """Return those of the dossiers that still are."""
    return [StoredDossier(*row) for row in await connection.fetch(_SQL["dossiers_at"], list(ids))]


async def present_payloads(connection: Connection, doomed: Collection[Doomed]) -> set[Doomed]:
    """Return those places whose personal part is still there."""
    return {tuple(row) for row in await connection.fetch(_SQL["present_payloads"], *_columns(doomed))}


async def delete_payloads(connection: Connection, doomed: Collection[Doomed]) -> int:
    """Delete personal parts; return how many there were. The database refuses those of refusals."""
    return _count(await connection.execute(_SQL["delete_payloads"], *_columns(doomed)))


async def delete_index_rows(connection: Connection, doomed: Collection[Doomed]) -> int:
    """Delete the index rows of entries; return how many there were. The database refuses those of refusals."""
    return _count(await connection.execute(_SQL["delete_index_rows"], *_columns(doomed)))


async def forget(
    connection: Connection,
    addresses: Collection[tuple[str, bytes]],
    gone: Collection[bytes],
    empty: Collection[int],
    until: datetime,
) -> None:
    """Note of addresses (controller, hash) that answers as of before `until` cannot be given again.

    Addresses that are `gone` lose their dossier, and dossiers that are `empty` are dropped.
    """
    ordered = sorted(set(addresses))
    await connection.execute(_SQL["forget"], [c for c, _ in ordered], [hash_ for _, hash_ in ordered], until)
    await connection.execute(_SQL["delete_idents"], list(gone))
    await connection.execute(_SQL["delete_dossiers"], list(empty))


async def present_request_payloads(connection: Connection, steps: Collection[tuple[str, UUID]]) -> set[Doomed]:
    """Return where the personal parts of steps of requests (controller, event) are still there."""
    ordered = sorted(steps)
    rows = await connection.fetch(
        _SQL["present_request_payloads"], [c for c, _ in ordered], [id_ for _, id_ in ordered]
    )
    return {tuple(row) for row in rows}


async def request_rows(connection: Connection, steps: Collection[tuple[str, UUID]]) -> dict[tuple[str, UUID], int]:
    """Count the index rows that are still there of what opened requests (controller, event)."""
    ordered = sorted(steps)
    rows = await connection.fetch(_SQL["request_rows"], [c for c, _ in ordered], [id_ for _, id_ in ordered])
    return {(row["controller"], row["event_id"]): row["rows"] for row in rows}


async def held(connection: Connection) -> list[StoredDossier]:
    """Return the dossiers in which a legal hold was ever placed."""
    return [StoredDossier(*row) for row in await connection.fetch(_SQL["held"])]


async def delete_old_quarantine(connection: Connection, before: datetime, limit: int) -> int:
    """Delete records not accepted that were recorded before an instant and published; return how many."""
    places = await connection.fetch(_SQL["old_quarantine"], before, limit)
    return _count(
        await connection.execute(
            _SQL["delete_quarantine"], [row["shard"] for row in places], [row["k_offset"] for row in places]
        )
    )


async def count_old_quarantine(connection: Connection, before: datetime) -> int:
    """Return how many records `delete_old_quarantine` would delete in all."""
    found: int = await connection.fetchval(_SQL["count_old_quarantine"], before)
    return found


async def database_now(connection: Connection) -> datetime:
    """Return the database's clock."""
    now: datetime = await connection.fetchval(_SQL["now"])
    return now


def _columns(doomed: Collection[Doomed]) -> list[Sequence[Any]]:
    return [[one[column] for one in sorted(doomed)] for column in range(3)]


def _count(done: str) -> int:
    return int(done.rpartition(" ")[2])
