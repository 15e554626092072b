"""Destroys what an executed erasure is about, in the one role that may, and keeps account of it."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)

Place = tuple[int, int]


class Part(NamedTuple):
    """The personal part of an entry at one controller, under the key of a person."""

    shard: int
    pos: int
    person: UUID
    ciphertext: bytes
    event_id: UUID

    @property
    def place(self) -> Place:
        """Where its entry stands."""
        return (self.shard, self.pos)


class WrappedKey(NamedTuple):
    """The key of a person as the database has it."""

    anchor: bytes
    person: UUID
    kek: str
    wrapped: bytes


class StoredDossier(NamedTuple):
    """A dossier as the viewer left it."""

    id: int
    controller: str
    facts: bytes


class Waiting(NamedTuple):
    """How many erasures are open, how many held up by a hold, and since how many seconds the oldest open one."""

    open: int
    held: int
    seconds: float


class Evidence(NamedTuple):
    """The event by which the ledger says what goes, and the salt of its digest."""

    event_id: UUID
    salt: bytes


class Figures(NamedTuple):
    """How much one erasure destroyed; `rekeyed`: kept, but put under a new key, for the old one is gone.

    `keks`: the key-encryption keys that wrapped the destroyed ones.
    """

    keys: int
    payloads: int
    index_rows: int
    rekeyed: int
    keks: Sequence[str] = ()


async def next_(connection: Connection, limit: int) -> list[bytes]:
    """Return addresses by which erasures are found that may have something to destroy."""
    return [row["hash"] for row in await connection.fetch(_SQL["next"], limit)]


async def waiting(connection: Connection) -> Waiting:
    """Return how many erasures wait."""
    row = await connection.fetchrow(_SQL["waiting"])
    assert row is not None  # noqa: S101 - an aggregate always gives a row
    return Waiting(*row)


async def dossier_of(connection: Connection, hash_: bytes) -> StoredDossier | None:
    """Return the dossier of an address; None when it has none."""
    row = await connection.fetchrow(_SQL["dossier_of"], hash_)
    return None if row is None else StoredDossier(*row)


async def done(connection: Connection, hash_: bytes) -> None:
    """Note that nothing is left to destroy."""
    await connection.execute(_SQL["done"], hash_)


async def held(connection: Connection, hash_: bytes) -> None:
    """Note that a hold stops an erasure; whatever is folded into its dossier next has it looked at again."""
    await connection.execute(_SQL["held"], hash_)


async def is_done(connection: Connection, place: Place, controller: str) -> bool:
    """Tell whether an erasure was carried out at a controller before."""
    there: bool = await connection.fetchval(_SQL["is_done"], *place, controller)
    return there


async def lock_out_appends(connection: Connection) -> None:
    """Hold up every append until the transaction ends; whoever was appending has committed."""
    await connection.execute(_SQL["lock_out_appends"])


async def payloads_at(connection: Connection, controller: str, places: Collection[Place]) -> list[Part]:
    """Return the personal parts that a controller still has of entries."""
    return [Part(*row) for row in await connection.fetch(_SQL["payloads_at"], controller, *_columns(places))]


async def payloads_unfolded(
    connection: Connection, controller: str, first: Collection[Place], persons: Collection[UUID]
) -> list[Part]:
    """Return the personal parts of some persons from these places on, one place for every shard."""
    rows = await connection.fetch(_SQL["payloads_unfolded"], controller, *_columns(first), sorted(persons))
    return [Part(*row) for row in rows]


async def looks(connection: Connection, hashes: Collection[bytes], erasure: Place) -> tuple[list[Place], list[Place]]:
    """Return where looks at addresses stand: those up to the erasure, and those after it."""
    rows = await connection.fetch(_SQL["looks"], sorted(hashes), *erasure)
    return tuple([(row["shard"], row["pos"]) for row in rows if row["before"] is before] for before in (True, False))  # type: ignore[return-value]


async def keys_of(
    connection: Connection, controller: str, anchors: Collection[bytes], persons: Collection[UUID]
) -> list[WrappedKey]:
    """Return the keys that are found by an address, and those of persons."""
    rows = await connection.fetch(_SQL["anchored"], controller, sorted(anchors), sorted(persons))
    return [WrappedKey(*row) for row in rows]


async def begin(
    connection: Connection, place: Place, controller: str, now: datetime, figures: Figures, evidence: Evidence, *,
    whole: bool,
) -> int:  # fmt: skip
    """Note what this transaction destroys because of an entry; from here on the database lets it. Returns its number.

    Raises asyncpg's `InsufficientPrivilegeError` where the entry orders nothing of the kind, or where the evidence is
    not in the ledger.
    """
    number: int = await connection.fetchval(
        _SQL["begin"], *place, controller, now, whole, *figures[:-1], list(figures.keks), *evidence
    )
    return number


async def is_recorded(connection: Connection, event_id: UUID) -> bool:
    """Tell whether an event is in the ledger."""
    there: bool = await connection.fetchval(_SQL["is_recorded"], event_id)
    return there


async def count_index_rows(connection: Connection, controller: str, places: Collection[Place]) -> int:
    """Return how many index rows a controller has of entries."""
    found: int = await connection.fetchval(_SQL["count_index_rows"], controller, *_columns(places))
    return found


async def bind(connection: Connection, place: Place, controller: str, identifiers: Sequence[tuple[str, bytes]]) -> None:
    """Have an erasure name more identifiers (type, hash)."""
    types, hashes = [type_ for type_, _ in identifiers], [hash_ for _, hash_ in identifiers]
    await connection.execute(_SQL["bind"], *place, controller, types, hashes)


async def destroy_keys(
    connection: Connection, controller: str, persons: Collection[UUID], parts: Collection[Place]
) -> int:
    """Destroy keys; return how many. The database lets none go that the erasure is not about."""
    number: int = await connection.fetchval(_SQL["destroy_keys"], controller, sorted(persons), *_columns(parts))
    return number


async def delete_payloads(connection: Connection, controller: str, places: Collection[Place]) -> int:
    """Delete personal parts; return how many."""
    return _count(await connection.execute(_SQL["delete_payloads"], controller, *_columns(places)))


async def delete_index_rows(connection: Connection, controller: str, places: Collection[Place]) -> int:
    """Delete index rows; return how many. The database refuses those of refusals and of consents."""
    return _count(await connection.execute(_SQL["delete_index_rows"], controller, *_columns(places)))


async def add_key(connection: Connection, controller: str, key: WrappedKey) -> None:
    """Add the key under which what happens from now on is kept."""
    await connection.execute(_SQL["add_key"], key.anchor, key.person, controller, key.kek, key.wrapped)


async def rekey(connection: Connection, controller: str, parts: Collection[Part]) -> None:
    """Put personal parts under other keys."""
    rows = [(part.shard, part.pos, controller, part.person, part.ciphertext) for part in sorted(parts)]
    await connection.executemany(_SQL["rekey"], rows)


async def mark(connection: Connection, controller: str, hashes: Collection[bytes], at: datetime) -> None:
    """Note of addresses that nothing personal is kept of what happened up to an instant."""
    await connection.execute(_SQL["mark"], sorted(hashes), controller, at)


async def forget(connection: Connection, controller: str, hashes: Collection[bytes], until: datetime) -> None:
    """Note of addresses that answers as of before `until` cannot be given again."""
    await connection.execute(_SQL["forget"], sorted(hashes), controller, until)


def _columns(places: Collection[Place]) -> list[list[int]]:
    ordered = sorted(places)
    return [[shard for shard, _ in ordered], [pos for _, pos in ordered]]


def _count(done_: str) -> int:
    return int(done_.rpartition(" ")[2])


class CarriedOut(NamedTuple):
    """What an erasure destroyed at one controller when it was carried out for the first time."""

    done_at: datetime
    whole: bool
    keys: int
    payloads: int
    index_rows: int
    rekeyed: int
    keks: list[str]
    recorded_at: datetime
    event_id: UUID
    body: bytes


async def carried_out(connection: Connection, place: Place, controller: str) -> CarriedOut | None:
    """Return what an erasure destroyed; None while it is not carried out."""
    row = await connection.fetchrow(_SQL["carried_out"], *place, controller)
    return None if row is None else CarriedOut(*row)
