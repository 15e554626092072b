"""What the relay reads and writes: whose a partition of the topic is, what is unsent, and how far it is published."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from asyncpg import Record

from consent_ledger.runtime import postgres
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)

SNAPSHOT_ROWS: Final = 1000
"""How many rows of the outbox one snapshot holds at most; the statement has the number too."""

TOLD_ROWS: Final = 400
"""How many rows of what is told of persons are taken at once; the statement has the number too."""


class FencedError(Exception):
    """Another relay owns one of the partitions now."""


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

    `view_seq`: how far the view was. `last`: the place in the outbox up to which this goes, None when nothing is
    unsent. `full`: there may be more.
    """

    view_seq: int
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
    """What is to be told of a person at a controller, on a partition.

    `id` orders it; `rows` are those that have changed, as now.
    """

    q: int
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


async def claim(connection: Connection, qs: Sequence[int], owner: str, lease: timedelta) -> int | None:
    """Take partitions over if every lease on them has passed (or is the caller's own); return their epoch, or None."""
    epoch: int | None = await connection.fetchval(_SQL["claim"], qs, owner, lease)
    return epoch


async def release(connection: Connection, qs: Sequence[int], epoch: int) -> None:
    """Give partitions up, so that another need not wait for the lease."""
    await connection.execute(_SQL["release"], qs, epoch)


async def cursors(connection: Connection, qs: Sequence[int], epoch: int) -> dict[int, int]:
    """Return by partition the place in the outbox up to which everything is published. Raises `FencedError`."""
    found = {row["q"]: row["cursor"] for row in await connection.fetch(_SQL["cursors"], qs, epoch)}
    if len(found) < len(qs):
        raise FencedError
    return found


async def wait(
    connection: Connection, view_seq: int, instant: datetime, *, pause: timedelta, patience: timedelta
) -> None:
    """Return as soon as view or horizon are no longer at these, after `patience` at the latest.

    The server looks every `pause`; it cannot do so more often than every millisecond.
    """
    await connection.execute(_SQL["wait"], view_seq, instant, pause, patience)


async def snapshots(connection: Connection, epoch: int, sent: Mapping[int, int]) -> dict[int, Snapshot]:
    """Return what partitions lack beyond the places `sent`, all at one instant.

    Raises `FencedError` and `MissingRowError`.
    """
    found = await connection.fetch(_SQL["snapshots"], list(sent), epoch, list(sent.values()))
    by_partition: dict[int, list[Record]] = {}
    for row in found:
        by_partition.setdefault(row["q"], []).append(row)
    if len(by_partition) < len(sent):
        raise FencedError
    return {q: _snapshot(rows) for q, rows in by_partition.items()}


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
    epoch: int,
    *,
    settled: Mapping[int, int],
    sent: Mapping[int, int],
    resent: Sequence[int],
    lease: timedelta,
    instant: datetime | None,
) -> datetime:
    """Move the cursors from where they are `settled` to what is `sent`, and forget what is published; return the time.

    Both by partition. `instant`: of the last watermark that readers can see. Raises `FencedError`.
    """
    qs = list(sent)
    places = [settled[q] for q in qs], list(sent.values())
    row = await connection.fetchrow(_SQL["settle"], qs, epoch, *places, resent, lease, instant)
    if row is None or row["settled"] < len(qs):
        raise FencedError
    now: datetime = row["now"]
    return now


async def told(connection: Connection, q: int, epoch: int, after: int) -> list[Told]:
    """Return the next of what is to be told behind a place, `TOLD_ROWS` at most; nothing when `q` has another epoch."""
    found = await connection.fetch(_SQL["told"], q, epoch, after)
    changed = {row["id"]: _parted(row["hashes"]) for row in found}
    stored = await connection.fetch(_SQL["rows"], [hash_ for hashes in changed.values() for hash_ in hashes])
    rows = {row["hash"]: Row._make([*row, None]) for row in stored}
    return [
        Told(
            row["q"], row["id"], row["controller"], row["dossier"], row["merged_from"],
            None if row["event_id"] is None else Entry(*row[5:12]),
            # Retention may have taken a row out since.
            [rows[hash_] for hash_ in changed[row["id"]] if hash_ in rows],
        )
        for row in found
    ]  # fmt: skip


async def forget_told(connection: Connection, q: int, epoch: int, until: int) -> None:
    """Forget what was told up to a place."""
    await connection.execute(_SQL["forget_told"], q, epoch, until)


def _parted(hashes: bytes) -> list[bytes]:
    return [hashes[first : first + 32] for first in range(0, len(hashes), 32)]


async def unpublished(connection: Connection) -> list[Quarantined]:
    """Return the next records of the quarantine that were not published, a few at a time, in order for each shard."""
    return [Quarantined(*row) for row in await connection.fetch(_SQL["unpublished"])]


async def published(connection: Connection, next_offsets: dict[int, int]) -> None:
    """Remember, by shard, before which offset all of the quarantine is published."""
    await connection.execute(_SQL["published"], list(next_offsets), list(next_offsets.values()))
