"""How the whole installation stands, counted from the tables themselves."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements
from consent_ledger.store.ledger import Claim, LastRecord

_SQL = statements.load(__file__)


class Server(NamedTuple):
    """The database server; `migrated`: it has a schema of ours."""

    version: str
    migrated: bool


class ShardSums(NamedTuple):
    """One shard: what its head says, and what is found in the tables. `lease_seconds` below 0: nobody owns it."""

    shard: int
    topic: str
    partition: int
    start_offset: int
    next_offset: int
    entries: int
    duplicates: int
    rejected: int
    holes: int
    owner: str
    epoch: int
    lease_seconds: float
    found_entries: int
    found_duplicates: int
    found_rejected: int
    found_holes: int
    unfolded: int

    @property
    def accounted(self) -> bool:
        """Whether every offset consumed is exactly one entry, duplicate, rejected record or hole, and all are there."""
        said = (self.entries, self.duplicates, self.rejected, self.holes)
        there = (self.found_entries, self.found_duplicates, self.found_rejected, self.found_holes)
        return said == there and sum(said) == self.next_offset - self.start_offset


class ViewState(NamedTuple):
    """The view. `horizon_age` None: it has never been level with Kafka.

    `waiting`: entries that refer to an event that is not there; `waiting_long` of them for more than a day, the oldest
    for so many seconds, and `waiting_first` is its event.
    """

    owner: str
    epoch: int
    lease_seconds: float
    seq: int
    register_version: int
    sweeping: bool
    addresses: int
    dossiers: int
    waiting: int
    horizon_age: float | None
    waiting_long: int
    waiting_oldest: float | None
    waiting_first: UUID | None


class RelayState(NamedTuple):
    """One partition of the suppressions topic; `unsent` records of the view are not on it yet."""

    partition: int
    owner: str
    epoch: int
    lease_seconds: float
    unsent: int


class HeadOfLog(NamedTuple):
    """The log: `size` of its newest checkpoint, sealed so long ago (None: never), of the `entries` of the ledger."""

    owner: str
    epoch: int
    lease_seconds: float
    size: int
    sealed_seconds_ago: float | None
    entries: int


class QuarantineCount(NamedTuple):
    """Records in quarantine for one reason; `suppressing` of them have an entry all the same.

    `unresolved` of them nobody has corrected or voided; `oldest`: seconds since the first of these was recorded.
    """

    reason: str
    records: int
    suppressing: int
    newest: datetime
    unresolved: int
    oldest: float | None


async def server(connection: Connection) -> Server:
    """Ask what the server is; needs no schema of ours."""
    row = await connection.fetchrow(_SQL["server"])
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    return Server(*row)


async def shards(connection: Connection) -> list[ShardSums]:
    """Count what became of every offset, by shard. Reads whole tables: seconds for millions of entries."""
    return [ShardSums(*row) for row in await connection.fetch(_SQL["shards"])]


async def view_state(connection: Connection) -> ViewState:
    """Return how the view stands."""
    row = await connection.fetchrow(_SQL["view"])
    assert row is not None  # noqa: S101 - view_head has one row
    return ViewState(*row)


async def relay_states(connection: Connection) -> list[RelayState]:
    """Return how the partitions of the suppressions topic stand."""
    return [RelayState(*row) for row in await connection.fetch(_SQL["relay"])]


async def log_state(connection: Connection) -> HeadOfLog:
    """Return how the log stands."""
    row = await connection.fetchrow(_SQL["log"])
    assert row is not None  # noqa: S101 - seal_head has one row
    return HeadOfLog(*row)


async def quarantine_counts(connection: Connection) -> list[QuarantineCount]:
    """Count the records in quarantine by reason, the most frequent first."""
    return [QuarantineCount(*row) for row in await connection.fetch(_SQL["quarantine"])]


async def places(connection: Connection) -> dict[int, Claim]:
    """Return by shard where the ledger stopped reading, and what it read last; nobody owns it by that."""
    found = {}
    for row in await connection.fetch(_SQL["places"]):
        shard, next_offset, offset, timestamp, digest = row
        last = None if offset is None else LastRecord(offset=offset, timestamp=timestamp, digest=digest)
        found[shard] = Claim(epoch=0, next_offset=next_offset, last=last)
    return found
