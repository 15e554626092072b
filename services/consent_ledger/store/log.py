"""The log's tables: what the sealer appends, and what proofs and tiles are read from."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from consent_ledger.domain.leaf import Columns, leaf_content
from consent_ledger.domain.merkle import HASH_BYTES, TILE_WIDTH, Edge, Place, Tile, split, width_at
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements
from consent_ledger.store.leases import end_back_ends

_SQL = statements.load(__file__)


class FencedError(Exception):
    """Another sealer owns the log now."""


class LogDamagedError(Exception):
    """Stored leaves, tiles or entries are not what was sealed; nothing may be sealed upon them."""


class Checkpoint(NamedTuple):
    """A sealed head. `heads`: how many entries of every shard the tree holds; `note`: signed, as it is published."""

    size: int
    heads: list[int]
    root: bytes
    note: bytes
    sealed_at: datetime


class Witness(NamedTuple):
    """How a witness stood when it was last asked. `size`: of the largest tree it has signed; `problem` None: none."""

    name: str
    size: int
    signed_at: datetime | None
    problem: str | None
    asked_at: datetime


class Slice(NamedTuple):
    """Neighbouring leaves of one shard: those of positions from `first` up to `end`, the first at index `start`."""

    start: int
    shard: int
    first: int
    end: int


class Entry(NamedTuple):
    """An entry as the ledger has it, in the order of the columns of the leaf."""

    shard: int
    position: int
    event_id: UUID
    type: str
    occurred_at: datetime
    recorded_at: datetime
    offset: int
    register_version: int
    body: bytes
    commitment: bytes
    tags: bytes
    leaf_hash: bytes

    def content(self) -> bytes:
        """Lay the entry out as the log holds it, from its columns."""
        columns: Columns = self._asdict()  # type: ignore[assignment]
        return leaf_content(**columns)


async def claim(connection: Connection, owner: str, lease: timedelta) -> int | None:
    """Take over the log if its owner's lease has passed (or is the caller's own); return the new epoch, else None."""
    await end_back_ends(connection, await connection.fetch(_SQL["silent_owner"], owner))
    epoch: int | None = await connection.fetchval(_SQL["claim"], owner, lease)
    return epoch


async def renew(connection: Connection, epoch: int, lease: timedelta) -> None:
    """Lengthen the lease, and keep every other sealer out to the end of the transaction. Raises `FencedError`."""
    if await connection.execute(_SQL["renew"], epoch, lease) != "UPDATE 1":
        raise FencedError


async def release(connection: Connection, owner: str) -> None:
    """Give up the log, so that another need not wait for the lease."""
    await connection.execute(_SQL["release"], owner)


async def heads(connection: Connection) -> list[int]:
    """Return the next position of every shard; shards that do not exist count as empty."""
    found = {row["shard"]: row["next_pos"] for row in await connection.fetch(_SQL["heads"])}
    return [found.get(shard, 0) for shard in range(max(found, default=-1) + 1)]


async def leaf_hashes(connection: Connection, ranges: Sequence[Slice]) -> bytes:
    """Return the leaf hashes of ranges of the ledger, joined. Raises `LogDamagedError` where an entry is missing."""
    joined = []
    for one in ranges:
        row = await connection.fetchrow(_SQL["leaf_hashes"], one.shard, one.first, one.end)
        assert row is not None  # noqa: S101 - an aggregate is one row
        if row["number"] != one.end - one.first:
            raise LogDamagedError(f"shard {one.shard} has {row['number']} entries from {one.first} to {one.end}")
        joined.append(row["hashes"])
    return b"".join(joined)


async def add(
    connection: Connection,
    tiles: Sequence[Tile],
    leaves: bytes,
    size: int,
    heads: Sequence[int],
    root: bytes,
    note: bytes,
) -> None:
    """Add a checkpoint, the leaves it adds and the tiles they fill; in the transaction that has `renew`ed."""
    if tiles:
        await connection.execute(_SQL["add_tiles"], *map(list, zip(*tiles, strict=True)))
    await connection.execute(_SQL["add_checkpoint"], size, heads, root, leaves, note)


async def last(connection: Connection) -> Checkpoint | None:
    """Return the newest checkpoint; None before the first."""
    row = await connection.fetchrow(_SQL["last"])
    return Checkpoint(*row) if row else None


async def shown(connection: Connection, *, cosigned: bool) -> Checkpoint | None:
    """Return the newest checkpoint that is shown, with its cosignatures; None before the first.

    With `cosigned` only those count that as many witnesses have signed as are asked for.
    """
    row = await connection.fetchrow(_SQL["shown_cosigned" if cosigned else "shown"])
    return Checkpoint(*row) if row else None


async def add_cosigned(connection: Connection, size: int, note: bytes) -> None:
    """Keep a checkpoint with the signatures of its witnesses."""
    await connection.execute(_SQL["add_cosigned"], size, note)


async def heard(connection: Connection, witness: str, size: int | None, problem: str | None) -> None:
    """Note what came of asking a witness: the size of the tree that it has signed, or a problem."""
    await connection.execute(_SQL["heard"], witness, size, problem)


async def witnesses(connection: Connection) -> list[Witness]:
    """Return how all witnesses stood that were ever asked."""
    return [Witness(*row) for row in await connection.fetch(_SQL["witnesses"])]


async def at(connection: Connection, size: int) -> Checkpoint | None:
    """Return the checkpoint of a size; None where there is none of just that size."""
    row = await connection.fetchrow(_SQL["at"], size)
    return Checkpoint(*row) if row else None


async def after(connection: Connection, size: int) -> Checkpoint | None:
    """Return the first checkpoint that is larger than a size."""
    row = await connection.fetchrow(_SQL["after"], size)
    return Checkpoint(*row) if row else None


async def edge(connection: Connection, size: int) -> Edge:
    """Return the right edge of the tree of a checkpoint's size, from what was sealed."""
    levels = []
    level = 0
    while size >> (8 * level):
        index = (size >> (8 * level)) // TILE_WIDTH
        levels.append(split(await partial(connection, (level, index), size)))
        level += 1
    return Edge(size, levels)


async def tile(connection: Connection, place: Place, size: int) -> bytes | None:
    """Return a tile as it is in the tree of a size, full or partial; None where it has none."""
    width = width_at(*place, size)
    if width == 0:
        return None
    hashes: bytes | None = None
    if width == TILE_WIDTH:
        hashes = await connection.fetchval(_SQL["tile"], *place)
    else:
        hashes = await partial(connection, place, size)
    if hashes is None or len(hashes) != width * HASH_BYTES:
        raise LogDamagedError(f"tile {place} is missing or too short")
    return hashes


async def partial(connection: Connection, place: Place, size: int) -> bytes:
    """Return the hashes of a tile that is not full in the tree of a size: leaves, or roots of the tiles below."""
    level, index = place
    first, end = index * TILE_WIDTH, index * TILE_WIDTH + width_at(level, index, size)
    if first == end:
        return b""
    if level == 0:
        return b"".join([row["part"] for row in await connection.fetch(_SQL["leaves"], first, end)])
    roots: bytes = await connection.fetchval(_SQL["tile_roots"], level - 1, first, end)
    return roots


async def index_of(connection: Connection, shard: int, position: int) -> int | None:
    """Return the index of an entry in the log; None while it is not sealed, or not there."""
    size = await connection.fetchval(_SQL["sealed_by"], shard, position)
    if size is None or position < 0:
        return None
    for one in await slices(connection, size - 1, size):
        if one.shard == shard and one.first <= position < one.end:
            return one.start + position - one.first
    return None


async def slices(connection: Connection, first: int, end: int) -> list[Slice]:
    """Return what of the ledger the checkpoints hold that added the leaves from `first` up to `end`, in order."""
    row = await connection.fetchrow(_SQL["before"], first)
    before, have = (row["tree_size"], row["heads"]) if row else (0, [])
    found = []
    for checkpoint in [Checkpoint(*each) for each in await connection.fetch(_SQL["adding"], first, end)]:
        found += between(before, have, checkpoint.heads)
        before, have = checkpoint.size, checkpoint.heads
    return found


def between(index: int, old: Sequence[int], new: Sequence[int]) -> list[Slice]:
    """Return the entries between the heads of two checkpoints, in the order of the tree; the first is at `index`."""
    found = []
    for shard, end in enumerate(new):
        first = old[shard] if shard < len(old) else 0
        if end > first:
            found.append(Slice(index, shard, first, end))
            index += end - first
    return found


async def place_of(connection: Connection, event_id: UUID) -> tuple[int, int] | None:
    """Return shard and position of an event; None where the ledger has no such event."""
    row = await connection.fetchrow(_SQL["place"], event_id)
    return (row["shard"], row["pos"]) if row else None


async def entries(connection: Connection, shard: int, first: int, end: int) -> list[Entry]:
    """Return the entries of positions from `first` up to `end`."""
    return [Entry(*row) for row in await connection.fetch(_SQL["entries"], shard, first, end)]


async def entries_of(connection: Connection, first: int, end: int) -> list[Entry]:
    """Return the entries of the leaves from `first` up to `end`, in the order of the tree."""
    found: list[Entry] = []
    for one in await slices(connection, first, end):
        begin = max(first, one.start) - one.start + one.first
        stop = min(end, one.start + one.end - one.first) - one.start + one.first
        if begin < stop:
            found += await entries(connection, one.shard, begin, stop)
    return found
