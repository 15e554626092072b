"""What an operator's commands ask of the database."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)


class QuarantinedRecord(NamedTuple):
    """A record that was not accepted, or only in part, by its place. `position`: its entry, if it has one.

    `resolved`: whether a person has corrected or voided it.
    """

    shard: int
    topic: str | None
    partition: int | None
    offset: int
    reason: str
    detail: str
    event_id: UUID | None
    position: int | None
    recorded_at: datetime
    resolved: str | None


class LoadOutcome(NamedTuple):
    """What became of a register load so far; all None: it is not recorded yet."""

    version: int | None
    in_force: bool | None
    scheduled_for: datetime | None
    reason: str | None
    detail: str | None


class Counts(NamedTuple):
    """What became of consumed offsets: the first four add up to the last."""

    entries: int
    duplicates: int
    rejected: int
    holes: int
    offsets: int


async def quarantined(
    connection: Connection, reason: str | None, limit: int, *, only_open: bool = False
) -> Sequence[QuarantinedRecord]:
    """Return the newest records in quarantine, of one reason or of all, and those that nobody has resolved or all."""
    return [QuarantinedRecord(*row) for row in await connection.fetch(_SQL["quarantined"], reason, limit, only_open)]


async def relayed_partitions(connection: Connection) -> int:
    """Return how many partitions of the suppressions topic have an owner."""
    number: int = await connection.fetchval(_SQL["relayed_partitions"])
    return number


async def has_keys(connection: Connection) -> bool:
    """Say whether keys were ever made here, so that the key file they are wrapped under must exist."""
    there: bool = await connection.fetchval(_SQL["has_keys"])
    return there


async def load_outcome(connection: Connection, event_id: UUID) -> LoadOutcome:
    """Return what became of the register load that was published as this event."""
    row = await connection.fetchrow(_SQL["load_outcome"], event_id)
    assert row is not None  # noqa: S101 - view_head has one row
    return LoadOutcome(*row)


async def counts(connection: Connection) -> Counts:
    """Return what became of all offsets of the events topic, by the heads of its shards."""
    row = await connection.fetchrow(_SQL["counts"])
    assert row is not None  # noqa: S101 - an aggregate always gives a row
    return Counts(*row)


async def entries_of(connection: Connection, event_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Count the entries of each event, in the ledger itself; one that was never recorded is missing. Reads it whole."""
    return {row[0]: row[1] for row in await connection.fetch(_SQL["entries_of"], event_ids)}
