"""What the relay reads and writes: whose a partition of the topic is, what is unsent, and how far it is published."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from consent_ledger.runtime import postgres
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)

SNAPSHOT_ROWS: Final = 1000
"""How many rows of the outbox one snapshot holds at most; the statement has the number too."""


class FencedError(Exception):
    """Another relay owns the partition now."""


class Row(NamedTuple):
    """A row of the view as a record is made of it. `needs`, by purpose, only for the record of the defaults."""

    hash: bytes
    controller: str
    type: str
    seq: int
    register_version: int
    shard: int
    pos: int
    recorded_at: datetime
    decisions: bytes
    needs: dict[str, int] | None


class Horizon(NamedTuple):
    """Everything that Kafka held at `instant` is in the view since its `seq`."""

    instant: datetime
    seq: int


class Snapshot(NamedTuple):
    """What one partition lacks at one instant: each row once, as it is then.

    `last`: the place in the outbox up to which this goes, None when nothing is unsent. `full`: there may be more.
    """

    horizon: Horizon
    rows: list[Row]
    last: int | None
    full: bool
    resends: list[int]


class Entry(NamedTuple):
    """An entry as the ledger has it, without what is personal."""

    event_id: UUID
    shard: int
    pos: int
    type: str
    occurred_at: datetime
    recorded_at: datetime
    body: bytes


class Told(NamedTuple):
    """What is to be told of a person at a controller. `id` orders it; `rows` are those that have changed, as now."""

    id: int
    controller: str
    dossier: int
    merged_from: list[int]
    entry: Entry | None
    rows: list[Row]


class Quarantined(NamedTuple):
    """A record that was not accepted as it stands in quarantine, encrypted, with the place it came from."""

    topic: str
    partition: int
    shard: int
    offset: int
    reason: str
    detail: str
    pos: int | None
    record: bytes


class MissingRowError(Exception):
    """The outbox names an address that the view does not have, which no viewer can have written."""


async def connect(dsn: str) -> Connection:
    """Open a connection of the relay."""
    return await postgres.connect(dsn, "consent_relay")


async def add_partitions(connection: Connection, partitions: int) -> None:
    """Make the head rows of all partitions that have none."""
    await connection.execute(_SQL["add_partitions"], partitions)


async def claim(connection: Connection, q: int, owner: str, lease: timedelta) -> int | None:
    """Take over a partition if its owner's lease has passed (or is the caller's own); return its new epoch, or None."""
    epoch: int | None = await connection.fetchval(_SQL["claim"], q, owner, lease)
    return epoch


async def release(connection: Connection, q: int, epoch: int) -> None:
    """Give up a partition, so that another need not wait for the lease."""
    await connection.execute(_SQL["release"], q, epoch)


async def cursor(connection: Connection, q: int, epoch: int) -> int:
    """Return the place in the outbox up to which everything is published. Raises `FencedError`."""
    place: int | None = await connection.fetchval(_SQL["cursor"], q, epoch)
    if place is None:
        raise FencedError
    return place


async def news(connection: Connection, sent: dict[int, int]) -> tuple[datetime, set[int]]:
    """Return the horizon's instant, and which partitions have something beyond what was `sent` of each."""
    row = await connection.fetchrow(_SQL["news"], list(sent), list(sent.values()))
    assert row is not None  # noqa: S101 - the row is made by the migration
    return row["instant"], set(row["waiting"])


async def snapshot(connection: Connection, q: int, epoch: int, sent: int) -> Snapshot:
    """Return what the partition lacks beyond the place `sent`. Raises `FencedError` and `MissingRowError`."""
    found = await connection.fetch(_SQL["snapshot"], q, epoch, sent)
    if not found:
        raise FencedError
    if any(row["outbox_seq"] is not None and row["hash"] is None for row in found):
        raise MissingRowError
    places = [row["outbox_seq"] for row in found if row["outbox_seq"] is not None]
    return Snapshot(
        horizon=Horizon(found[0]["instant"], found[0]["horizon_seq"]),
        rows=list({row["hash"]: Row(*row[4:]) for row in found if row["hash"] is not None}.values()),
        last=max(places, default=None),
        full=len(places) == SNAPSHOT_ROWS,
        resends=[row["resend_id"] for row in found if row["resend_id"] is not None],
    )


async def settle(
    connection: Connection,
    q: int,
    epoch: int,
    *,
    places: tuple[int, int],
    resent: Sequence[int],
    lease: timedelta,
    instant: datetime | None,
    told: int = 0,
) -> datetime:
    """Move the cursor from the first of `places` to the second and forget what is published; return the time.

    `instant`: of the last watermark that readers can see; `told`: up to where persons are. Raises `FencedError`.
    """
    now: datetime | None = await connection.fetchval(_SQL["settle"], q, epoch, *places, resent, lease, instant, told)
    if now is None:
        raise FencedError
    return now


async def told(connection: Connection, q: int, epoch: int, after: int) -> list[Told]:
    """Return the next of what is to be told on a partition, `SNAPSHOT_ROWS` at most; nothing without the epoch."""
    found = await connection.fetch(_SQL["told"], q, epoch, after)
    changed = {row["id"]: _parted(row["hashes"]) for row in found}
    stored = await connection.fetch(_SQL["rows"], [hash_ for hashes in changed.values() for hash_ in hashes])
    rows = {row["hash"]: Row._make([*row, None]) for row in stored}
    return [
        Told(
            row["id"], row["controller"], row["dossier"], row["merged_from"],
            None if row["event_id"] is None else Entry(*row[5:]),
            # Retention may have taken a row out since.
            [rows[hash_] for hash_ in changed[row["id"]] if hash_ in rows],
        )
        for row in found
    ]  # fmt: skip


def _parted(hashes: bytes) -> list[bytes]:
    return [hashes[first : first + 32] for first in range(0, len(hashes), 32)]


async def unpublished(connection: Connection) -> list[Quarantined]:
    """Return the next records of the quarantine that were not published, a few at a time, in order for each shard."""
    return [Quarantined(*row) for row in await connection.fetch(_SQL["unpublished"])]


async def published(connection: Connection, next_offsets: dict[int, int]) -> None:
    """Remember, by shard, before which offset all of the quarantine is published."""
    await connection.execute(_SQL["published"], list(next_offsets), list(next_offsets.values()))
