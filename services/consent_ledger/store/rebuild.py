"""A view made anew beside the live one: its tables, what differs between the two, how it takes the other's place."""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from consent_ledger.domain.events import read_body
from consent_ledger.domain.facts import Dossier as Facts
from consent_ledger.runtime.postgres import Connection, connect_for
from consent_ledger.store import statements
from consent_ledger.store.view import Changes, FencedError

_SQL = statements.load(__file__)
_PAGE = 500
# Reading whole tables takes longer than a service may take for a statement; and a run that was killed must not go on.
_PATIENCE_SECONDS = 6 * 3600.0
_PATIENT = {
    "statement_timeout": "6h",
    "idle_in_transaction_session_timeout": "6h",
    "lock_timeout": "60s",
    "client_connection_check_interval": "1s",
}
_WHOLE_TABLES = dict.fromkeys(
    ("enable_hashjoin", "enable_mergejoin", "enable_bitmapscan", "enable_seqscan", "enable_sort"), "on"
)


class Live(NamedTuple):
    """How the live view stands. `idle`: it has caught up with time and with the register. `snapshots`: do-not-call."""

    applied: list[int]
    instant: datetime
    register_version: int
    idle: bool
    snapshots: list[UUID] | None

    @property
    def rests_on(self) -> tuple[object, ...]:
        """What all decisions rest on beside the facts."""
        return self.register_version, self.snapshots


class Side(NamedTuple):
    """What one of the two views says of an address; None: nothing."""

    dossier: int | None
    controller: str | None
    type: str | None
    q: int | None
    decisions: bytes | None
    facts: bytes | None
    due_at: datetime | None


class Differing(NamedTuple):
    """An address of which the two views say different things. `version`: of the register, of the live row."""

    hash: bytes
    live: Side
    version: int | None
    anew: Side


class Wait(NamedTuple):
    """An entry that waits for an event in one of the views only: in the live one, or not."""

    event_id: UUID
    shard: int
    pos: int
    live: bool


class Dossier(NamedTuple):
    """A dossier of either view."""

    controller: str
    facts: bytes
    due_at: datetime | None


class Row(NamedTuple):
    """A row of either view."""

    controller: str
    type: str
    q: int
    seq: int
    register_version: int
    shard: int
    pos: int
    recorded_at: datetime
    decisions: bytes


class Counts(NamedTuple):
    """A view that was made anew. `digest`: SHA-256 over all its answers."""

    addresses: int
    dossiers: int
    differing: int
    digest: bytes


class LastRun(NamedTuple):
    """The newest evidence of a rebuild."""

    recorded_at: datetime
    said: dict[str, Any]


@dataclass
class Group:
    """Addresses and dossiers of one view that hang together."""

    idents: dict[bytes, int]
    dossiers: dict[int, Dossier]
    rows: dict[bytes, Row]


async def beside(dsn: str, *, whole_tables: bool = False) -> Connection:
    """Open a connection that finds the new view where others find the live one."""
    return await connect_for(
        _PATIENCE_SECONDS, dsn, "consent_viewer", search_path="consent_rebuild,consent",
        application_name="consent_rebuild", **_PATIENT, **(_WHOLE_TABLES if whole_tables else {}),
    )  # fmt: skip


async def live_side(dsn: str) -> Connection:
    """Open a connection to the live view, for one long transaction."""
    return await connect_for(
        _PATIENCE_SECONDS, dsn, "consent_viewer", application_name="consent_rebuild", **_PATIENT
    )  # fmt: skip


async def lock(connection: Connection) -> bool:
    """Keep other rebuilds away as long as the connection lasts; False when one is under way."""
    locked: bool = await connection.fetchval(_SQL["lock"])
    return locked


async def hold_up_destructions(connection: Connection) -> None:
    """Let nothing be destroyed as long as the connection lasts: the new view would keep what was read before."""
    await connection.execute(_SQL["hold_up_destructions"])


async def may_destroy(connection: Connection) -> bool:
    """Keep rebuilds waiting until the transaction ends; False when one is under way, and nothing may go."""
    allowed: bool = await connection.fetchval(_SQL["may_destroy"])
    return allowed


async def clear_away(connection: Connection) -> bool:
    """Empty the new view if a run that was cut off has left one; False while there is none, or a run is under way."""
    if not await left_over(connection) or not await lock(connection):
        return False
    try:
        await begin(connection)
    finally:
        await connection.execute(_SQL["unlock"])
    return True


async def begin(connection: Connection) -> int:
    """Empty the new view, whatever an earlier run left in it, and return the epoch of this run."""
    async with connection.transaction():
        epoch: int = await connection.fetchval(_SQL["begin"])
    await connection.execute(_SQL["empty"])
    return epoch


async def empty(connection: Connection) -> None:
    """Leave nothing behind."""
    await connection.execute(_SQL["empty"])


async def hold(connection: Connection, epoch: int) -> None:
    """Keep the run from ending while a transaction works for it. Raises `FencedError` when it has ended."""
    if await connection.fetchval(_SQL["hold"]) != epoch:
        raise FencedError


async def live(connection: Connection) -> Live:
    """Return how the live view stands."""
    row = await connection.fetchrow(_SQL["live"])
    assert row is not None  # noqa: S101 - the row is made by the migration
    return Live(*row)


async def copy(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Add rows to a table of the new view."""
    await connection.copy_records_to_table(table, records=rows, columns=columns, schema_name="consent_rebuild")


async def put_anew(connection: Connection, changes: Changes) -> None:
    """Write dossiers, addresses and rows of which nothing is there yet."""
    await copy(connection, "ident", ("hash", "dossier"), changes.idents.items())
    dossiers = ((id_, *one) for id_, one in changes.dossiers.items())
    await copy(connection, "dossier", ("id", "controller", "facts", "due_at"), dossiers)
    names = ("hash", "controller", "type", "q", "seq", "register_version", "shard", "pos", "recorded_at", "decisions")
    await copy(connection, "view", names, changes.rows)


async def join_homes(connection: Connection) -> None:
    """Bring all that entries name together under one address."""
    await connection.execute(_SQL["roots"])
    while await connection.execute(_SQL["lower_roots"]) != "UPDATE 0":
        pass
    await connection.execute(_SQL["move_home"])


async def homes(
    connection: Connection, first: bytes, end: bytes | None, size: int
) -> AsyncIterator[list[tuple[bytes, str, bytes]]]:
    """Give what belongs together one after the other (address, controller, facts); within a transaction."""
    cursor = await connection.cursor(_SQL["homes"], first, end)
    while rows := await cursor.fetch(size):
        yield [tuple(row) for row in rows]


async def fold_ended(
    connection: Connection, epoch: int, applied: Sequence[int], instant: datetime, version: int
) -> None:
    """Note up to where the new view has been made, once all of it is written."""
    await connection.execute(_SQL["linked_idents"])
    next_dossier = await connection.fetchval(_SQL["next_dossier"])
    await connection.execute(_SQL["folded"], epoch, applied, instant, version, next_dossier)
    await connection.execute(_SQL["analyze"])


# -- comparing


async def compare(connection: Connection) -> None:
    """Find what differs between the two views, of one snapshot; in its transaction."""
    await connection.execute(_SQL["differing"])
    for id_, facts in await connection.fetch(_SQL["joined_before"]):
        parts = [row["facts"] for row in await connection.fetch(_SQL["parts_of"], id_)]
        if _same_facts(facts, parts):
            await connection.execute(_SQL["forget_joined"], id_)


def _same_facts(whole: bytes, parts: Iterable[bytes]) -> bool:
    joined = Facts()
    for part in parts:
        joined = joined.add(Facts.loads(part).facts)
    return joined.dumps() == whole


async def count(connection: Connection) -> Counts:
    """Count what was made and what differs."""
    row = await connection.fetchrow(_SQL["count"])
    assert row is not None  # noqa: S101 - an aggregate is one row
    return Counts(*row)


async def some_differing(connection: Connection, after: bytes, limit: int = _PAGE) -> list[Differing]:
    """Return the next addresses that differ, in the order of their hashes."""
    return [
        Differing(row[0], Side(*row[1:5], *row[6:9]), row[5], Side(*row[9:16]))
        for row in await connection.fetch(_SQL["some_differing"], after, limit)
    ]


async def differing_waits(connection: Connection) -> list[Wait]:
    """Return what waits in one of the views only."""
    return [Wait(*row) for row in await connection.fetch(_SQL["differing_waits"])]


async def needed(connection: Connection) -> dict[str, int]:
    """Return, by controller, the oldest version of the register under which a row may have been made."""
    return {row["controller"]: row["version"] for row in await connection.fetch(_SQL["needed"])}


# -- taking the other's place


async def closed(live_: Connection, anew: Connection, hashes: Collection[bytes]) -> tuple[Group, Group]:
    """Return all that hangs together with some addresses, in the live view and in the new one."""
    known = set(hashes)
    sides = (live_, anew)
    seen: list[dict[bytes, int]] = [{}, {}]
    size = -1
    while size != len(known):
        size = len(known)
        for number, side in enumerate(sides):
            ids = {row["dossier"] for row in await side.fetch(_SQL["idents_of_hashes"], list(known))}
            rows = await side.fetch(_SQL["idents_of_dossiers"], list(ids))
            seen[number] = {row["hash"]: row["dossier"] for row in rows}
            known |= seen[number].keys()
    groups = [await _group(side, idents, known) for side, idents in zip(sides, seen, strict=True)]
    return groups[0], groups[1]


async def _group(side: Connection, idents: dict[bytes, int], known: Collection[bytes]) -> Group:
    dossiers = await side.fetch(_SQL["dossiers"], sorted(set(idents.values())))
    rows = await side.fetch(_SQL["rows"], list(known))
    return Group(
        idents, {row[0]: Dossier(*row[1:]) for row in dossiers}, {row[0]: Row(*row[1:]) for row in rows}
    )  # fmt: skip


async def drop(
    connection: Connection, *, rows: Collection[bytes], idents: Collection[bytes], dossiers: Collection[int]
) -> None:
    """Take rows, addresses and dossiers out of the live view; within the transaction that writes what comes instead."""
    await connection.execute(_SQL["drop_rows"], list(rows))
    await connection.execute(_SQL["drop_idents"], list(idents))
    await connection.execute(_SQL["drop_dossiers"], list(dossiers))


async def take_waits(connection: Connection) -> None:
    """Let wait in the live view what waits in the new one, and nothing else."""
    await connection.execute(_SQL["take_waits"])


# -- what is known of rebuilds


async def last_run(connection: Connection) -> LastRun | None:
    """Return the newest evidence of a rebuild; None when there was none."""
    row = await connection.fetchrow(_SQL["last_run"])
    return LastRun(row["recorded_at"], read_body(row["body"])) if row else None


async def left_over(connection: Connection) -> bool:
    """Say whether there is a view beside the live one: a rebuild is under way, or was cut off a moment ago."""
    found: bool = await connection.fetchval(_SQL["left_over"])
    return found
