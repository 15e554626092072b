"""What the viewer reads and writes: entries in, dossiers, views and outbox out, all in one transaction at a time."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from asyncpg import Record

from consent_ledger.domain import register as registers
from consent_ledger.domain.register import Register
from consent_ledger.runtime.clock import Clock
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements
from consent_ledger.store.leases import end_back_ends

_SQL = statements.load(__file__)

Place: TypeAlias = tuple[int, int]

# Where the columns of an entry end, and those of one of its identifiers begin.
_SUBJECT: Final = 10
_PLACE_OF: Final = itemgetter(0, 1)
_CONTROLLER_OF: Final = itemgetter(9)

CLOCKS_DIFFER: Final = timedelta(minutes=5)
"""How far the clocks of two viewers, or of two database servers, may differ."""


class Subject(NamedTuple):
    """One identifier of an entry, as one controller knows it."""

    role: str
    type: str
    shared: bool
    hash: bytes


class Entry(NamedTuple):
    """An entry of the ledger without what is personal in it, and its identifiers by controller."""

    shard: int
    pos: int
    event_id: UUID
    type: str
    occurred_at: datetime
    recorded_at: datetime
    register_version: int
    body: bytes
    awaited: bool
    """Whether some entry waits for this event."""
    subjects: dict[str, tuple[Subject, ...]]

    @property
    def place(self) -> Place:
        """Where it stands."""
        return (self.shard, self.pos)


class Row(NamedTuple):
    """What the view says of one address. `seq` orders the versions of a row for ever."""

    hash: bytes
    controller: str
    type: str
    q: int
    seq: int
    register_version: int
    shard: int
    pos: int
    recorded_at: datetime
    decisions: bytes


class Told(NamedTuple):
    """What is told of a person at one controller: an entry, None when there is none, and the rows that changed.

    `merged_from`: dossiers that are no more, as PostgreSQL writes an array. `hashes`: keys of rows, joined.
    """

    q: int
    controller: str
    dossier: int
    shard: int | None
    pos: int | None
    merged_from: str
    hashes: bytes


class StoredRow(NamedTuple):
    """A row as it is before a fold, as far as a fold needs it."""

    register_version: int
    shard: int
    pos: int
    recorded_at: datetime
    decisions: bytes
    q: int = 0


class StoredDossier(NamedTuple):
    """A dossier as it is before a fold."""

    controller: str
    facts: bytes


class Known(NamedTuple):
    """What is stored of addresses before a fold: the dossier of each that has one, those dossiers, their rows."""

    idents: dict[bytes, int]
    dossiers: dict[int, StoredDossier]
    rows: dict[bytes, StoredRow]


class News(NamedTuple):
    """What there is to fold. `set_back`: the clock was, so that everything is to be decided anew."""

    entries: bool
    sweep: bool
    register: bool
    due: bool
    set_back: bool


@dataclass(slots=True, kw_only=True)
class Head:
    """The viewer's places. Read at the beginning of a transaction, changed by a fold, written at its end.

    `heads`: the next position of every shard.
    """

    epoch: int
    applied: list[int]
    seq: int
    next_dossier: int
    register_version: int
    sweep_controllers: list[str]
    sweep_from: int
    # The latest instant for which anything was decided.
    instant: datetime
    now: datetime
    heads: dict[int, int]


@dataclass(slots=True)
class Changes:
    """All that one fold writes."""

    idents: dict[bytes, int] = field(default_factory=dict)
    merged: dict[int, int] = field(default_factory=dict)
    dossiers: dict[int, tuple[str, bytes, datetime | None]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    waiting: list[tuple[UUID, int, int]] = field(default_factory=list)
    # Of each dossier that was touched and has an erasure in it, an address that the erasure names.
    erasing: list[bytes] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)


class Load(NamedTuple):
    """The load that made a version of the register, by its entry."""

    version: int
    shard: int
    pos: int
    recorded_at: datetime


class FencedError(Exception):
    """Another viewer owns the view now."""


async def claim(connection: Connection, owner: str, lease: timedelta) -> int | None:
    """Take over the view if its owner's lease has passed (or is the caller's own); return the new epoch, else None."""
    await end_back_ends(connection, await connection.fetch(_SQL["silent_owner"], owner))
    epoch: int | None = await connection.fetchval(_SQL["claim"], owner, lease)
    return epoch


async def renew(connection: Connection, epoch: int, lease: timedelta) -> None:
    """Lengthen the lease. Raises `FencedError`."""
    if await connection.execute(_SQL["renew"], epoch, lease) != "UPDATE 1":
        raise FencedError


async def release(connection: Connection, owner: str) -> None:
    """Give up the view, so that another need not wait for the lease."""
    await connection.execute(_SQL["release"], owner)


async def look(
    connection: Connection, epoch: int, clock: Clock, *, pause: timedelta, patience: timedelta
) -> tuple[News, Head | None]:
    """Say what a fold would find; if nothing, then only after `patience`. The server looks every `pause`.

    Where there is something the view is locked for the fold, to the end of the transaction, and its head comes too;
    where only the caller's clock tells that something is due, `open_head` does that. Raises `FencedError`.
    """
    row = await connection.fetchrow(_SQL["look"], pause, patience)
    assert row is not None  # noqa: S101 - the row is made by the migration
    entries, sweep, register, due_at, *head = row
    now, instant = clock.now(row["now"]), row["instant"]
    is_due = due_at is not None and due_at <= max(now, instant)
    news = News(entries, sweep, register, is_due, was_set_back(now, instant))
    return news, None if row["epoch"] is None else _head(head, epoch)


def was_set_back(now: datetime, instant: datetime) -> bool:
    """Tell whether it is earlier than it was before, by more than two clocks may differ."""
    return now < instant - CLOCKS_DIFFER


async def open_head(connection: Connection, epoch: int) -> Head:
    """Lock the view to the end of the transaction. Raises `FencedError`."""
    row = await connection.fetchrow(_SQL["open"])
    assert row is not None  # noqa: S101 - the row is made by the migration
    return _head(row, epoch)


def _head(found: Iterable[Any], epoch: int) -> Head:
    (
        found_epoch, applied, seq, next_dossier, register_version, sweep_controllers, sweep_from, instant, now,
        next_pos, shards,
    ) = found  # fmt: skip
    if found_epoch != epoch:
        raise FencedError
    return Head(
        epoch=epoch, applied=applied, seq=seq, next_dossier=next_dossier, register_version=register_version,
        sweep_controllers=sweep_controllers, sweep_from=sweep_from, instant=instant, now=now,
        heads=dict(zip(shards or (), next_pos or (), strict=True)),
    )  # fmt: skip


async def entries(connection: Connection, ranges: Sequence[tuple[int, int, int]]) -> list[Entry]:
    """Return the entries of ranges (shard, from position, up to position), in order of shard and position."""
    if not ranges:
        return []
    return _entries(await connection.fetch(_SQL["entries"], *_columns(ranges)))


async def entries_at(connection: Connection, places: Collection[Place]) -> list[Entry]:
    """Return single entries."""
    if not places:
        return []
    return _entries(await connection.fetch(_SQL["entries_at"], *_columns(sorted(places))))


def _entries(found: Sequence[Record]) -> list[Entry]:
    """Put together what is there of an entry once for each of its identifiers; they come in order."""
    made = []
    for _, group in groupby(found, key=_PLACE_OF):
        rows_ = list(group)
        subjects = {
            controller: tuple([Subject._make(row[_SUBJECT:]) for row in of_one])
            for controller, of_one in groupby(rows_, key=_CONTROLLER_OF)
            if controller is not None
        }
        made.append(Entry._make([*rows_[0][:9], subjects]))
    return made


async def payloads(connection: Connection, places: Sequence[Place]) -> dict[Place, list[tuple[str, UUID, bytes]]]:
    """Return the ciphertexts of entries as (controller, person, ciphertext)."""
    found: dict[Place, list[tuple[str, UUID, bytes]]] = {}
    rows = await connection.fetch(_SQL["payloads"], [shard for shard, _ in places], [pos for _, pos in places])
    for row in rows:
        found.setdefault((row["shard"], row["pos"]), []).append((row["controller"], row["person"], row["ciphertext"]))
    return found


async def places(connection: Connection, event_ids: Collection[UUID]) -> dict[UUID, Place]:
    """Return where events stand in the ledger, or the requests of which these are but the names; others are missing."""
    rows = await connection.fetch(_SQL["places"], list(event_ids))
    found = {row["event_id"]: (row["shard"], row["pos"]) for row in rows}
    if names := [str(id_) for id_ in event_ids if id_ not in found]:
        requests = await connection.fetch(_SQL["requests"], names)
        found |= {UUID(row["name"]): (row["shard"], row["pos"]) for row in requests}
    return found


async def take_waiting(connection: Connection, event_ids: Collection[UUID]) -> list[tuple[UUID, int, int]]:
    """Return and forget which entries wait for one of these events: (event, shard, position of the waiting entry)."""
    return [tuple(row) for row in await connection.fetch(_SQL["waiting"], list(event_ids))]


async def known(connection: Connection, hashes: Collection[bytes]) -> Known:
    """Return what is stored of addresses."""
    found = Known({}, {}, {})
    for hash_, id_, controller, facts, *row in await connection.fetch(_SQL["known"], list(hashes)):
        found.idents[hash_] = id_
        found.dossiers[id_] = StoredDossier(controller, facts)
        if row[0] is not None:
            found.rows[hash_] = StoredRow(*row)
    return found


async def dossiers(connection: Connection, ids: Collection[int]) -> dict[int, StoredDossier]:
    """Return dossiers by id."""
    return {row[0]: StoredDossier(row[1], row[2]) for row in await connection.fetch(_SQL["dossiers"], list(ids))}


async def due(connection: Connection, now: datetime, limit: int) -> list[int]:
    """Return dossiers whose answers may have changed by time alone, the longest due first."""
    return [row["id"] for row in await connection.fetch(_SQL["due"], now, limit)]


async def sweep(connection: Connection, head: Head, limit: int) -> list[int]:
    """Return the next dossiers to decide again under the register in force."""
    rows = await connection.fetch(_SQL["sweep"], head.sweep_from, head.sweep_controllers, limit)
    return [row["id"] for row in rows]


async def rows(connection: Connection, hashes: Collection[bytes]) -> dict[bytes, StoredRow]:
    """Return the view's rows of addresses that have one."""
    return {row[0]: StoredRow(*row[1:]) for row in await connection.fetch(_SQL["rows"], list(hashes))}


async def compiled(connection: Connection, version: int) -> Register:
    """Return one version of the register, compiled; version 0 is the empty one, before anything was loaded."""
    document = await connection.fetchval(_SQL["register"], version) if version else {}
    return registers.compile(document, version)


class LastRegister:
    """Remembers the version of the register that was asked for last."""

    def __init__(self) -> None:
        self._register = registers.compile({}, 0)

    async def of(self, connection: Connection, version: int) -> Register:
        """Return one version of the register, compiled."""
        if version != self._register.version:
            self._register = await compiled(connection, version)
        return self._register


async def newest_load(connection: Connection) -> Load | None:
    """Return the load that made the register in force; None when none was ever loaded."""
    row = await connection.fetchrow(_SQL["newest_load"])
    return Load(*row) if row else None


async def needs(connection: Connection) -> dict[tuple[str, str], int]:
    """Return, by controller and purpose, the register version that a stored decision must be made under."""
    return {(row[0], row[1]): row[2] for row in await connection.fetch(_SQL["needs"])}


async def put_needs(connection: Connection, changed: Collection[tuple[str, str]], version: int) -> None:
    """From now on, decisions on these purposes count only if made under `version` or a later one."""
    ordered = sorted(changed)
    await connection.execute(_SQL["put_needs"], [c for c, _ in ordered], [p for _, p in ordered], version)


async def put(connection: Connection, head: Head, changes: Changes, lease: timedelta) -> None:
    """Write one fold and move the places with it. Raises `FencedError`."""
    if changes.merged:
        pairs = sorted(changes.merged.items())
        await connection.execute(_SQL["merge_idents"], [old for old, _ in pairs], [new for _, new in pairs])
        await connection.execute(_SQL["drop_dossiers"], list(changes.merged))
    done = await connection.execute(
        _SQL["put"], head.epoch, head.applied, head.seq, head.next_dossier, head.register_version,
        head.sweep_controllers, head.sweep_from, head.instant, lease,
        *_columns(sorted(changes.idents.items()), 2),
        *_columns([(id_, *dossier) for id_, dossier in sorted(changes.dossiers.items())], 4),
        *_columns(sorted(changes.rows), len(Row._fields)),
        *_columns(changes.waiting, 3),
        sorted(set(changes.erasing)),
        *_columns(changes.told, len(Told._fields)),
    )  # fmt: skip
    if done != "UPDATE 1":
        raise FencedError


def _columns(rows_: Sequence[tuple[Any, ...]], width: int = 0) -> list[list[Any]]:
    return [list(column) for column in zip(*rows_, strict=True)] or [[] for _ in range(width)]


async def recorded(connection: Connection) -> dict[int, tuple[int, int]]:
    """Return next offset and next position of every shard, of one snapshot."""
    found = await connection.fetch(_SQL["recorded"])
    return {row["shard"]: (row["next_offset"], row["next_pos"]) for row in found}


async def move_horizon(connection: Connection, instant: datetime, covering: dict[int, int]) -> bool:
    """State that all that Kafka held at `instant` is in the view; False while the view has not folded `covering`."""
    there: bool = await connection.fetchval(
        _SQL["move_horizon"], instant, list(covering), list(covering.values()), CLOCKS_DIFFER
    )
    return there


async def database_now(connection: Connection) -> datetime:
    """Return the database's clock."""
    now: datetime = await connection.fetchval(_SQL["clock"])
    return now
