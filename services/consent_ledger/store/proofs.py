"""Proofs of single entries, and bundles of entries, made from the log's tables."""

import base64
import json

from consent_ledger.domain import merkle, tiles
from consent_ledger.domain.merkle import TILE_WIDTH, Range
from consent_ledger.domain.tiles import Resource
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import log
from consent_ledger.store.log import Checkpoint, Entry

_HEADER = "c2sp.org/tlog-proof@v1"


async def proof(connection: Connection, shard: int, position: int, *, cosigned: bool = False) -> bytes | None:
    """Prove one entry in the newest checkpoint that is shown (C2SP tlog-proof); None while it is in none, or not there.

    The extra data of the file are the content of the leaf and the body to which it commits.
    """
    last = await log.shown(connection, cosigned=cosigned)
    at = await log.index_of(connection, shard, position)
    if last is None or at is None or at >= last.size:
        return None
    entry = (await log.entries(connection, shard, position, position + 1))[0]
    return _written(entry, at, await inclusion(connection, at, last), last)


async def inclusion(connection: Connection, at: int, checkpoint: Checkpoint) -> list[bytes]:
    """Return the hashes that prove a leaf in a checkpoint, from its sibling upwards."""
    return await _roots(connection, merkle.inclusion(at, checkpoint.size), checkpoint.size)


async def consistency(connection: Connection, old: int, new: int) -> list[bytes]:
    """Return the hashes that prove the tree of one size the beginning of another's; none where that is plain."""
    return [] if old in (0, new) else await _roots(connection, merkle.consistency(old, new), new)


async def _roots(connection: Connection, ranges: list[Range], size: int) -> list[bytes]:
    places = {place: await log.tile(connection, place, size) for place in merkle.tiles_of(ranges)}
    return [merkle.range_root(one, {place: hashes or b"" for place, hashes in places.items()}) for one in ranges]


def _written(entry: Entry, at: int, path: list[bytes], checkpoint: Checkpoint) -> bytes:
    extra = {"content": _base64(entry.content()), "body": _base64(entry.body)}
    lines = [_HEADER, f"extra {_base64(json.dumps(extra).encode())}", f"index {at}", *map(_base64, path), ""]
    return "\n".join(lines).encode() + b"\n" + checkpoint.note


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


async def bundle(connection: Connection, resource: Resource, size: int) -> bytes | None:
    """Return a bundle of entries, made from the columns of the ledger; None where the tree of a size has no such.

    Raises `LogDamagedError` when the ledger lacks an entry of it.
    """
    first = resource.number * TILE_WIDTH
    if first + resource.width > size:
        return None
    entries = await log.entries_of(connection, first, first + resource.width)
    if len(entries) != resource.width:
        raise log.LogDamagedError(f"the ledger lacks entries from index {first} on")
    return tiles.bundle(entry.content() for entry in entries)
