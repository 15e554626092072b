"""Hands the sealed ledger out as Parquet files, by ranges of the log, with a manifest that is bound to the log.

An export grows: what a place has is kept, and a later run adds what was sealed since. The manifest is written last, and
whole; what it does not name was left by a run that was cut off, and goes with the next one.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from consent_ledger.domain.merkle import Edge
from consent_ledger.runtime.objects import Objects
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import columns, log
from consent_ledger.store.log import Checkpoint, LogDamagedError

MANIFEST: Final = "manifest.json"
_SEGMENTS: Final = "segments"
_SEGMENT_ENTRIES: Final = 100_000
_PIECE: Final = 5_000


class OtherLogError(Exception):
    """The place holds an export that this log does not continue, or that begins elsewhere; the text says which."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """Entries of the log from index `first` up to `end`: a file of them, and a file of their leaf hashes, joined."""

    name: str
    first: int
    end: int
    sha256: str
    leaves: str
    leaves_sha256: str


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """Where an export begins that leaves out the beginning of the log.

    `checkpoint`: the signed note of the log up to here. `edge`: hexadecimal, by level, the hashes from which its root
    is made and the tree grows on. `heads`: how many entries of every shard lie before.
    """

    checkpoint: str
    edge: list[list[str]]
    heads: list[int]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an export consists of. `checkpoints`: a signed note for each run, the last one of the whole."""

    format: Literal[1] = 1
    origin: str
    start: Start | None = None
    checkpoints: list[str]
    segments: list[Segment]


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has added: entries and segments, and the size of the log that the export has come to."""

    entries: int
    segments: int
    size: int


_encode = msgspec.json.Encoder().encode
Progress = Callable[[int, int], None]


async def export(
    connection: Connection, place: str, origin: str, *, size: int | None = None, after: int | None = None,
    progress: Progress = lambda _done, _all: None,
) -> Exported:  # fmt: skip
    """Add to an export what is sealed, up to the checkpoint of a size or the newest; a new one begins `after` another.

    Raises `OtherLogError`, `LogDamagedError` when the ledger is not what was sealed, and `ObjectsError`.
    """
    objects = Objects(place)
    to = await log.last(connection) if size is None else await log.at(connection, size)
    if to is None:
        raise OtherLogError("there is no such checkpoint: nothing was sealed yet, or none is of just this size")
    manifest = await _begun(connection, objects, origin, after)
    have = manifest.segments[-1].end if manifest.segments else after or 0
    if have > to.size:
        raise OtherLogError(f"the place has {have} entries already, and the checkpoint {to.size}")
    await asyncio.to_thread(_clear, objects, manifest)
    edge = await log.edge(connection, have) if have else Edge()
    added = []
    for first in range(have, to.size, _SEGMENT_ENTRIES):
        end = min(first + _SEGMENT_ENTRIES, to.size)
        added.append(
            await _segment(connection, objects, edge, first, end, lambda at: progress(at - have, to.size - have))
        )
    if edge.root() != to.root:
        raise LogDamagedError(
            "the entries do not give the root that was signed: `consent verify --ledger` names the first"
        )
    notes = [*manifest.checkpoints, *([] if to.note.decode() in manifest.checkpoints else [to.note.decode()])]
    whole = msgspec.structs.replace(manifest, checkpoints=notes, segments=[*manifest.segments, *added])
    await asyncio.to_thread(objects.put, MANIFEST, _encode(whole))
    return Exported(entries=to.size - have, segments=len(added), size=to.size)


async def _begun(connection: Connection, objects: Objects, origin: str, after: int | None) -> Manifest:
    """Return the manifest of the place, or a new one."""
    written = await asyncio.to_thread(objects.get, MANIFEST)
    if written is None:
        return Manifest(origin=origin, start=await _start(connection, after), checkpoints=[], segments=[])
    try:
        manifest = msgspec.json.decode(written, type=Manifest)
    except msgspec.MsgspecError:
        raise OtherLogError("the place holds a manifest that is none of ours") from None
    if manifest.origin != origin:
        raise OtherLogError(f"the place holds an export of the log {manifest.origin}")
    if after is not None and manifest.start != await _start(connection, after):
        raise OtherLogError("the place holds an export that begins elsewhere")
    last = await log.at(connection, manifest.segments[-1].end) if manifest.segments else None
    if manifest.segments and (last is None or last.note.decode() != manifest.checkpoints[-1]):
        raise OtherLogError("the export holds another history than this log: keep it, and verify both")
    return manifest


async def _start(connection: Connection, after: int | None) -> Start | None:
    if not after:
        return None
    checkpoint: Checkpoint | None = await log.at(connection, after)
    if checkpoint is None:
        raise OtherLogError(f"the log has no checkpoint of just {after} entries to begin after")
    edge = await log.edge(connection, after)
    levels = [[hash_.hex() for hash_ in level] for level in edge.levels]
    return Start(checkpoint=checkpoint.note.decode(), edge=levels, heads=checkpoint.heads)


def _clear(objects: Objects, manifest: Manifest) -> None:
    """Take away what a run has left that was cut off."""
    known = {name for one in manifest.segments for name in (one.name, one.leaves)}
    for name in objects.names(_SEGMENTS):
        if name not in known:
            objects.delete(name)


async def _segment(
    connection: Connection, objects: Objects, edge: Edge, first: int, end: int, progress: Callable[[int], None]
) -> Segment:
    name = f"{_SEGMENTS}/{first:012}-{end:012}"
    leaves = []
    with (
        objects.writing(f"{name}.parquet") as file,
        pq.ParquetWriter(file, columns.SCHEMA, **columns.OPTIONS) as writer,
    ):
        for begin in range(first, end, _PIECE):
            entries = await log.entries_of(connection, begin, min(end, begin + _PIECE))
            batch = pa.Table.from_arrays(columns.columns(entries), schema=columns.SCHEMA)
            await asyncio.to_thread(writer.write_table, batch)
            leaves += [entry.leaf_hash for entry in entries]
            progress(first + len(leaves))
    if len(leaves) != end - first:
        raise LogDamagedError(f"the ledger has {len(leaves)} entries of those from {first} to {end}")
    edge.append(b"".join(leaves))
    await asyncio.to_thread(objects.put, f"{name}.leaves", b"".join(leaves))
    digests = [await asyncio.to_thread(objects.digest, f"{name}{ending}") for ending in (".parquet", ".leaves")]
    return Segment(
        name=f"{name}.parquet", first=first, end=end, sha256=digests[0] or "", leaves=f"{name}.leaves",
        leaves_sha256=digests[1] or "",
    )  # fmt: skip
