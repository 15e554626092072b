"""The append: offset, positions and entries of one batch in one transaction, by the one owner of the shard.

What makes it safe is the head row of the shard, locked to the commit: an append counts only if the owner's epoch is
still its own and the batch begins at the very offset that comes next (compare-and-set).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from consent_ledger.domain.leaf import leaf_hash
from consent_ledger.runtime.clock import Clock
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements
from consent_ledger.store.leases import end_back_ends

_SQL = statements.load(__file__)

FEW: Final = 64
"""Up to so many entries are added in one statement; COPY takes more round trips and less time for each entry."""


class FencedError(Exception):
    """Another process owns the shard now; what this one holds of it must be dropped."""


class MovedError(Exception):
    """The shard's next offset is another than the batch begins with, as after a commit whose answer was lost."""

    def __init__(self, next_offset: int) -> None:
        super().__init__(f"the shard goes on at offset {next_offset}")
        self.next_offset = next_offset


class RegisterMovedError(Exception):
    """Another register is in force than the batch was prepared under, or is due to be; it must be prepared again."""


class KeysDestroyedError(Exception):
    """Keys of persons were destroyed since the batch was prepared, perhaps under one of them; prepare it again."""


class IdsTakenError(Exception):
    """Some event ids are in the ledger already, each with the digest of what it stands for there."""

    def __init__(self, taken: dict[UUID, bytes]) -> None:
        super().__init__(f"{len(taken)} event ids are taken")
        self.taken = taken


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterLoad:
    """The register that an entry brings into force, merged with the one before it.

    One whose `valid_from` is still to come when it is recorded is scheduled instead, as it was `loaded`.
    """

    version: int
    digest: bytes
    valid_from: datetime | None
    document: dict[str, Any]
    loaded: dict[str, Any] = field(default_factory=dict)

    def is_ahead(self, recorded_at: datetime) -> bool:
        """Tell whether a load recorded at this instant comes into force later."""
        return self.valid_from is not None and self.valid_from > recorded_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A record kept untouched, encrypted, because it was not accepted or only in part."""

    offset: int
    reason: str
    detail: str
    event_id: UUID | None
    record: bytes


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that has no place yet. `occurred_at` None: nobody said, so it is the instant of recording."""

    offset: int
    event_id: UUID
    digest: bytes
    type: str
    occurred_at: datetime | None
    body: bytes
    commitment: bytes
    tags: bytes
    # Each as controller, ordinal, role, type, shared, hash.
    subjects: tuple[tuple[str, int, str, str, bool, bytes], ...]
    # Each as controller, person, ciphertext.
    payloads: tuple[tuple[str, UUID, bytes], ...]
    quarantined: Quarantined | None = None
    load: RegisterLoad | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """An event that the ledger holds already, word for word."""

    offset: int
    event_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRecord:
    """What is remembered of the last record taken, to recognise the topic again."""

    offset: int
    timestamp: int
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """All that became of one shard's offsets from `first_offset` up to, not including, `next_offset`."""

    shard: int
    epoch: int
    register_version: int
    first_offset: int
    next_offset: int
    drafts: list[Draft] = field(default_factory=list)
    duplicates: list[Duplicate] = field(default_factory=list)
    rejected: list[Quarantined] = field(default_factory=list)
    holes: list[tuple[int, int]] = field(default_factory=list)
    last: LastRecord | None = None
    # How many erasures had destroyed keys when those of the drafts were fetched.
    erasures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A shard as its new owner finds it."""

    epoch: int
    next_offset: int
    last: LastRecord | None


async def add_shard(connection: Connection, shard: int, topic: str, partition: int, start_offset: int) -> None:
    """Make the head row of a shard that has none; it begins at the topic's first offset."""
    await connection.execute(_SQL["add_shard"], shard, topic, partition, start_offset)


async def claim(connection: Connection, shard: int, owner: str, lease: timedelta) -> Claim | None:
    """Take over a shard whose owner's lease has passed (or is the caller's own) and return it, else None.

    A silent owner may be stopped within a transaction and hold the head row, so its back end is ended first.
    """
    await end_back_ends(connection, await connection.fetch(_SQL["silent_owner"], shard, owner))
    head = await connection.fetchrow(_SQL["claim"], shard, owner, lease)
    if head is None:
        return None
    last = None
    if head["last_offset"] is not None:
        last = LastRecord(offset=head["last_offset"], timestamp=head["last_timestamp"], digest=head["last_digest"])
    return Claim(epoch=head["epoch"], next_offset=head["next_offset"], last=last)


async def renew(connection: Connection, shards: list[int], owner: str, lease: timedelta) -> dict[int, int]:
    """Lengthen the leases of shards that are still the owner's and return their epochs."""
    rows = await connection.fetch(_SQL["renew"], shards, owner, lease)
    return {row["shard"]: row["epoch"] for row in rows}


async def release(connection: Connection, owner: str, shards: Collection[int] | None = None) -> None:
    """Give up all shards of an owner, or some, in good order, so that another need not wait for the lease."""
    await connection.execute(_SQL["release"], owner, None if shards is None else list(shards))


async def append(connection: Connection, batch: Batch, clock: Clock, lease: timedelta) -> datetime:
    """Commit one batch and return the instant of its recording; see `append_all`."""
    (recorded_at,) = await append_all(connection, [batch], clock, lease)
    return recorded_at


async def append_all(
    connection: Connection, batches: Sequence[Batch], clock: Clock, lease: timedelta
) -> list[datetime]:
    """Commit batches of different shards, all or none, and return the instants of their recording.

    Raises `FencedError`, `MovedError`, `RegisterMovedError`, `KeysDestroyedError` or `IdsTakenError`; then nothing was
    written. Any other exception leaves the outcome unknown: claim the shards again, their next offsets tell.
    """
    async with connection.transaction():
        opened = await _open(connection, sorted(batches, key=lambda batch: batch.shard), clock)
        await _add_entries(connection, opened)
        await _add_rest(connection, opened)
        await _close(connection, opened, lease)
    return [one.recorded_at for one in opened]


class _Opened(NamedTuple):
    """A batch whose shard is locked for it."""

    batch: Batch
    next_pos: int
    recorded_at: datetime

    def placed(self) -> Iterator[tuple[int, Draft]]:
        """Each draft with its position."""
        return enumerate(self.batch.drafts, self.next_pos)


async def _open(connection: Connection, batches: Sequence[Batch], clock: Clock) -> list[_Opened]:
    loads = any(draft.load for batch in batches for draft in batch.drafts)
    shards, epochs = [batch.shard for batch in batches], [batch.epoch for batch in batches]
    heads = {head["shard"]: head for head in await connection.fetch(_SQL["open"], shards, epochs, loads)}
    if len(heads) < len(batches):
        raise FencedError
    opened = []
    for batch in batches:
        head = heads[batch.shard]
        if head["next_offset"] != batch.first_offset:
            raise MovedError(head["next_offset"])
        now = clock.now(head["now"])
        is_due = head["next_register"] is not None and head["next_register"] <= now
        if is_due or head["register_version"] != batch.register_version:
            raise RegisterMovedError
        if head["erasures"] != batch.erasures:
            raise KeysDestroyedError
        opened.append(_Opened(batch, head["next_pos"], max(now, head["last_recorded_at"])))
    return opened


class _Rows(NamedTuple):
    """What entries are in the tables."""

    event: list[tuple[Any, ...]]
    ledger: list[tuple[Any, ...]]
    entry_subject: list[tuple[Any, ...]]
    payload: list[tuple[Any, ...]]


async def _add_entries(connection: Connection, opened: Sequence[_Opened]) -> None:
    places = [(one, pos, draft) for one in opened for pos, draft in one.placed()]
    if not places:
        return
    rows = _Rows(
        [(draft.event_id, one.batch.shard, pos, draft.digest) for one, pos, draft in places],
        [_row(one, pos, draft) for one, pos, draft in places],
        [(one.batch.shard, pos, *subject) for one, pos, draft in places for subject in draft.subjects],
        [(one.batch.shard, pos, *payload) for one, pos, draft in places for payload in draft.payloads],
    )
    add = _add_few if len(places) <= FEW else _add_many
    if await add(connection, rows) < len(places):
        shards, positions = [one.batch.shard for one in opened], [one.next_pos for one in opened]
        taken = await connection.fetch(_SQL["taken"], [row[0] for row in rows.event], shards, positions)
        raise IdsTakenError({row["event_id"]: row["digest"] for row in taken})
    for one, pos, draft in places:
        if draft.load:
            await _add_register(connection, one, pos, draft.event_id, draft.load)


async def _add_few(connection: Connection, rows: _Rows) -> int:
    widths = 4, 12, 8, 5
    columns = [column for table, width in zip(rows, widths, strict=True) for column in _columns(table, width)]
    free: int = await connection.fetchval(_SQL["add_few"], *columns)
    return free


async def _add_many(connection: Connection, rows: _Rows) -> int:
    done = await connection.execute(_SQL["add_events"], *_columns(rows.event, 4))
    free = int(done.removeprefix("INSERT 0 "))
    if free == len(rows.event):
        for table in ("ledger", "entry_subject", "payload"):
            await _copy(connection, table, getattr(rows, table))
    return free


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


async def _add_register(connection: Connection, one: _Opened, pos: int, event_id: UUID, load: RegisterLoad) -> None:
    place = (one.batch.shard, pos)
    if load.is_ahead(one.recorded_at):
        await connection.execute(
            _SQL["schedule_register"], event_id, *place, load.valid_from, one.recorded_at, load.loaded
        )
    else:
        await connection.execute(
            _SQL["add_register"], load.version, *place, event_id, load.digest,
            load.valid_from or one.recorded_at, one.recorded_at, load.document,
        )  # fmt: skip


def _row(one: _Opened, pos: int, draft: Draft) -> tuple[Any, ...]:
    """The row of the ledger, with its leaf."""
    shard, recorded_at = one.batch.shard, one.recorded_at
    occurred_at = draft.occurred_at or recorded_at
    loads_now = draft.load is not None and not draft.load.is_ahead(recorded_at)
    version = draft.load.version if draft.load and loads_now else one.batch.register_version
    leaf = leaf_hash(
        shard=shard, position=pos, event_id=draft.event_id, type=draft.type, occurred_at=occurred_at,
        recorded_at=recorded_at, offset=draft.offset, register_version=version, body=draft.body,
        commitment=draft.commitment, tags=draft.tags,
    )  # fmt: skip
    return (
        shard, pos, draft.event_id, draft.type, occurred_at, recorded_at, draft.offset, version,
        draft.body, draft.commitment, draft.tags, leaf,
    )  # fmt: skip


async def _add_rest(connection: Connection, opened: Sequence[_Opened]) -> None:
    quarantined = [(one, item, None) for one in opened for item in one.batch.rejected]
    of_entries = [(one, draft.quarantined, pos) for one in opened for pos, draft in one.placed() if draft.quarantined]
    await _copy(
        connection,
        "quarantine",
        [
            (one.batch.shard, item.offset, item.reason, item.detail, item.event_id, pos, one.recorded_at, item.record)
            for one, item, pos in [*quarantined, *of_entries]
        ],
    )
    duplicates = [(one.batch.shard, item.offset, item.event_id) for one in opened for item in one.batch.duplicates]
    await _copy(connection, "duplicate", duplicates)
    await _copy(connection, "hole", [(one.batch.shard, *hole) for one in opened for hole in one.batch.holes])


async def _close(connection: Connection, opened: Sequence[_Opened], lease: timedelta) -> None:
    columns = zip(*(_place(one.batch, one.recorded_at) for one in opened), strict=True)
    if await connection.execute(_SQL["close"], lease, *map(list, columns)) != f"UPDATE {len(opened)}":
        raise FencedError


def _place(batch: Batch, recorded_at: datetime) -> tuple[Any, ...]:
    """How far a shard has come with a batch, and what became of its offsets."""
    last = batch.last
    return (
        batch.shard, batch.epoch, batch.first_offset, batch.next_offset, len(batch.drafts), len(batch.duplicates),
        len(batch.rejected), sum(end - start for start, end in batch.holes), recorded_at,
        last.offset if last else None, last.timestamp if last else None, last.digest if last else None,
    )  # fmt: skip


async def _copy(connection: Connection, table: str, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        await connection.copy_records_to_table(table, records=rows, schema_name="consent")


async def read_register(connection: Connection) -> tuple[int, dict[str, Any]]:
    """Return version and document of the register in force; version 0 and nothing when none was ever loaded."""
    row = await connection.fetchrow(_SQL["register"])
    return (row["version"], row["document"]) if row else (0, {})


async def register_version(connection: Connection) -> int:
    """Return the version of the register in force, 0 when there is none."""
    version: int = await connection.fetchval(_SQL["register_version"])
    return version
