"""Do-not-call registers: snapshots loaded beside those that count, and what is known of a number."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from consent_ledger.domain.calls import CallHistory, Change, Step, split
from consent_ledger.domain.durations import instant
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)

# Reading a whole list takes longer than a connection waits for other things.
_WHOLE_LIST_SECONDS = 3600

# register, controller
Key = tuple[str, str]


class Snapshot(NamedTuple):
    """One import. `recorded_at` None: it does not count (yet); `problem`: why it never will."""

    id: UUID
    register: str
    source: str
    snapshot_at: datetime
    numbers: int
    digest: str
    state: str
    problem: str | None
    recorded_at: datetime | None


class Newest(NamedTuple):
    """The newest snapshot of a register that counts, with its entry. `news`: readers of the topic have yet to hear."""

    register: str
    id: UUID
    snapshot_at: datetime
    recorded_at: datetime
    shard: int
    pos: int
    numbers: int
    digest: str
    news: bool


class Brought(NamedTuple):
    """A step that an import brought, as it was counted when it was loaded."""

    id: int
    controller: str
    snapshot: UUID
    base: int | None
    changes: int


async def steps(connection: Connection, controllers: Collection[str] | None = None) -> dict[Key, list[Step]]:
    """Return the steps that count, by register and controller, in the order of their snapshots."""
    found: dict[Key, list[Step]] = {}
    for row in await connection.fetch(_SQL["steps"], None if controllers is None else list(controllers)):
        step = Step(row["id"], row["snapshot"], instant(row["snapshot_at"]), row["source"], instant(row["known_from"]))
        found.setdefault((row["register"], row["controller"]), []).append(step)
    return found


async def changes(connection: Connection, hashes: Collection[bytes]) -> dict[bytes, dict[int, Change]]:
    """Return what every step, also one that does not count yet, changed for numbers."""
    found: dict[bytes, dict[int, Change]] = {}
    for row in await connection.fetch(_SQL["changes"], list(hashes)):
        registered = None if row["registered_at"] is None else instant(row["registered_at"])
        found.setdefault(row["hash"], {})[row["step"]] = Change(row["listed"], registered)
    return found


# -- loading


async def histories(
    connection: Connection, controllers: Collection[str], phones: Collection[bytes]
) -> dict[str, dict[str, CallHistory]]:
    """Return, by controller and do-not-call register, what is known of these numbers.

    Without a register are the controllers that its newest snapshot does not cover: no list of theirs is fresh.
    """
    known = await steps(connection, controllers)
    newest_ = await newest(connection) if known else {}
    changed = await changes(connection, phones) if known else {}
    found: dict[str, dict[str, CallHistory]] = {}
    for (register, controller), of_one in known.items():
        if of_one[-1].snapshot == newest_[register].id:
            found.setdefault(controller, {})[register] = CallHistory(of_one, changed)
    return found


async def add_snapshot(
    connection: Connection, id: UUID, *, register: str, source: str, snapshot_at: datetime, numbers: int, digest: str
) -> None:
    """Begin to load a snapshot under the id of the event that will activate it."""
    await connection.execute(_SQL["add_snapshot"], id, register, source, snapshot_at, numbers, digest)


async def load(
    connection: Connection, snapshot: UUID, controller: str, numbers: Iterable[tuple[bytes, datetime | None]]
) -> None:
    """Lay down numbers of a snapshot as one controller knows them; each may come more than once."""
    rows = ((snapshot, controller, hash_, registered_at) for hash_, registered_at in numbers)
    await connection.copy_records_to_table(
        "dnc_load", records=rows, schema_name="consent", columns=("snapshot", "controller", "hash", "registered_at")
    )


async def count_loaded(connection: Connection, snapshot: UUID, controller: str) -> int:
    """Count the numbers that were laid down for one controller."""
    count: int = await connection.fetchval(_SQL["count_loaded"], snapshot, controller, timeout=_WHOLE_LIST_SECONDS)
    return count


async def add_steps(
    connection: Connection, snapshot: UUID, register: str, controller: str, snapshot_at: datetime,
    known: Sequence[Step],
) -> None:  # fmt: skip
    """Count how what was laid down differs from the snapshot before it, and the one after it from what was laid down.

    Nothing of it counts before `activate`.
    """
    before, after = split(known, instant(snapshot_at))
    path = [step.id for step in before]
    base = path[-1] if path else None
    if before and before[-1].snapshot_at == instant(snapshot_at):
        await connection.execute(_SQL["stand_together"], snapshot, controller, path, timeout=_WHOLE_LIST_SECONDS)
    to = await connection.fetchval(_SQL["add_step"], register, controller, snapshot, snapshot, base)
    await connection.execute(_SQL["change_to_loaded"], to, snapshot, controller, path, timeout=_WHOLE_LIST_SECONDS)
    if after:
        path += [step.id for step in after if step.snapshot == after[0].snapshot]
        onward = await connection.fetchval(_SQL["add_step"], register, controller, after[0].snapshot, snapshot, to)
        await connection.execute(
            _SQL["change_from_loaded"], onward, snapshot, controller, path, timeout=_WHOLE_LIST_SECONDS
        )


async def finish_loading(connection: Connection, snapshot: UUID, *, numbers: int, digest: str) -> None:
    """Make a snapshot ready to be activated by its entry."""
    await connection.execute(_SQL["unload"], snapshot, timeout=_WHOLE_LIST_SECONDS)
    await connection.execute(_SQL["set_loaded"], snapshot, numbers, digest)


async def lock_register(connection: Connection, register: str) -> bool:
    """Keep other imports of a register away as long as the connection lasts; False when one is under way."""
    locked: bool = await connection.fetchval(_SQL["lock_register"], register)
    return locked


async def forget_unfinished(connection: Connection, register: str) -> int:
    """Forget what imports that were cut short have left, and count them. The caller holds the register's lock."""
    await connection.execute(_SQL["abandon"], register)
    left = [row["id"] for row in await connection.fetch(_SQL["abandoned"], register)]
    for id_ in left:
        await connection.execute(_SQL["forget"], id_, timeout=_WHOLE_LIST_SECONDS)
    return len(left)


async def same_snapshot(
    connection: Connection, register: str, snapshot_at: datetime, digest: str, controllers: Collection[str]
) -> UUID | None:
    """Return the active snapshot with the same date and list, if it holds for all of these controllers."""
    same: UUID | None = await connection.fetchval(_SQL["same"], register, snapshot_at, digest, list(controllers))
    return same


async def snapshot(connection: Connection, id: UUID) -> Snapshot | None:
    """Return a snapshot by its id; None when it was never loaded, or is forgotten."""
    row = await connection.fetchrow(_SQL["snapshot"], id)
    return None if row is None else Snapshot(*row)


# -- activating: the viewer's, within its transaction


async def brought(connection: Connection, snapshot: UUID) -> list[Brought]:
    """Return the steps that a snapshot brings."""
    return [Brought(*row) for row in await connection.fetch(_SQL["brought"], snapshot)]


async def activate(
    connection: Connection, snapshot: UUID, *, snapshot_at: datetime, recorded_at: datetime, place: tuple[int, int]
) -> None:
    """Make a loaded snapshot count from the commit on."""
    await connection.execute(_SQL["activate"], snapshot, snapshot_at, recorded_at, *place)
    await connection.execute(_SQL["know_steps"], snapshot, recorded_at)


async def refuse(connection: Connection, snapshot: UUID, problem: str) -> None:
    """Note why a loaded snapshot will never count."""
    await connection.execute(_SQL["refuse"], snapshot, problem)


async def mark_dossiers(connection: Connection, step_ids: Sequence[int]) -> None:
    """Have the dossiers with a number that these steps change decided again at once."""
    await connection.execute(_SQL["mark_dossiers"], list(step_ids))


async def newest(connection: Connection) -> dict[str, Newest]:
    """Return the newest snapshot that counts of each register that has one."""
    return {row["register"]: Newest(*row) for row in await connection.fetch(_SQL["newest"])}


async def set_announced(connection: Connection, register: str) -> None:
    """Note that readers of the topic know the date of the newest snapshot."""
    await connection.execute(_SQL["set_announced"], register)


async def announce_again(connection: Connection) -> None:
    """Note that the dates of all registers have to be told again."""
    await connection.execute(_SQL["announce_again"])
