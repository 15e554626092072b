"""What the relay reads and writes: whose a partition of the topic is, what is unsent, and how far it is published."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

from asyncpg import Record

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

    `view_seq`: how far the view was. `last`: the place in the outbox up to which this goes, None when nothing is unsent.
    `full`: there may be more.
    """

    view_seq: int
    horizon: Horizon
    rows: list[Row]
    last: int | None
    full: bool
    resends: list[int]


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


class Place(NamedTuple):
    """A partition, the epoch of its owner, and the place in the outbox up to which that one has sent."""

    q: int
    epoch: int
    sent: int


async def wait(
    connection: Connection, view_seq: int, instant: datetime, *, pause: timedelta, patience: timedelta
) -> None:
    """Return as soon as view or horizon are no longer at these, after `patience` at the latest.

    The server looks every `pause`; it cannot do so more often than every millisecond.
    """
    await connection.execute(_SQL["wait"], view_seq, instant, pause, patience)


async def snapshots(connection: Connection, places: Sequence[Place]) -> dict[int, Snapshot]:
    """Return what partitions lack, all at one instant; those whose epoch has passed are missing from the answer.

    Raises `MissingRowError`.
    """
    found = await connection.fetch(_SQL["snapshots"], *map(list, zip(*places, strict=True)))
    by_partition = groupby(sorted(found, key=itemgetter(0)), key=itemgetter(0))
    return {q: _snapshot(list(rows)) for q, rows in by_partition}


def _snapshot(found: Sequence[Record]) -> Snapshot:
    if any(row["outbox_seq"] is not None and row["hash"] is None for row in found):
        raise MissingRowError
    places = [row["outbox_seq"] for row in found if row["outbox_seq"] is not None]
    return Snapshot(
        view_seq=found[0]["view_seq"],
        horizon=Horizon(found[0]["instant"], found[0]["horizon_seq"]),
        rows=list({row["hash"]: Row(*row[6:]) for row in found if row["hash"] is not None}.values()),
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
) -> datetime:
    """Move the cursor from the first of `places` to the second and forget what is published; return the time.

    `instant`: of the last watermark that readers can see. Raises `FencedError`.
    """
    now: datetime | None = await connection.fetchval(_SQL["settle"], q, epoch, *places, resent, lease, instant)
    if now is None:
        raise FencedError
    return now


async def unpublished(connection: Connection) -> list[Quarantined]:
    """Return the next records of the quarantine that were not published, a few at a time, in order for each shard."""
    return [Quarantined(*row) for row in await connection.fetch(_SQL["unpublished"])]


async def published(connection: Connection, next_offsets: dict[int, int]) -> None:
    """Remember, by shard, before which offset all of the quarantine is published."""
    await connection.execute(_SQL["published"], list(next_offsets), list(next_offsets.values()))
