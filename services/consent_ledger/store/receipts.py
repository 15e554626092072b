"""What became of records that were just sent to Kafka, for a publisher who waits for the ledger."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)


class ShardPlace(NamedTuple):
    """How far one partition's shard has come: everything below `next_offset` is in the ledger."""

    shard: int
    next_offset: int
    next_pos: int


class Sent(NamedTuple):
    """A record with its place in Kafka. `from_pos` is the shard's next position before the record was sent."""

    event_id: UUID
    shard: int
    offset: int
    from_pos: int


class Outcome(NamedTuple):
    """What one record became.

    Of a duplicate the place is that of the entry that was there first; a rejected record has none. `reason` is why the
    record is in quarantine, where a malformed refusal stands beside its entry.
    """

    status: Literal["entry", "duplicate", "rejected"]
    shard: int | None
    position: int | None
    recorded_at: datetime | None
    reason: str | None


async def places(connection: Connection, topic: str) -> dict[int, ShardPlace]:
    """Return how far the shards of a topic have come, by partition; one that was never recorded is missing."""
    rows = await connection.fetch(_SQL["places"], topic)
    return {row["partition"]: ShardPlace(row["shard"], row["next_offset"], row["next_pos"]) for row in rows}


async def outcomes(connection: Connection, sent: Sequence[Sent]) -> list[Outcome]:
    """Return what became of records, in their order. Their shards must have come past their offsets."""
    columns = [list(column) for column in zip(*sent, strict=True)] if sent else [[], [], [], []]
    return [_outcome(row) for row in await connection.fetch(_SQL["outcomes"], *columns)]


def _outcome(row: Any) -> Outcome:
    if row["status"] == "rejected":
        return Outcome("rejected", None, None, None, row["reason"])
    return Outcome(row["status"], row["entry_shard"], row["entry_pos"], row["recorded_at"], row["reason"])
