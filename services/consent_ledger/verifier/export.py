"""Checks an export of the ledger (Parquet files and a manifest) against the checkpoints that the log has signed.

What is believed is only what gives a signed root. Digests in the manifest and the hashes kept beside the entries serve
to name what was changed.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from consent_ledger.verifier.entry import Entry
from consent_ledger.verifier.finding import Finding, What
from consent_ledger.verifier.note import Checkpoint, VerifierKey, open_checkpoint
from consent_ledger.verifier.tree import Growing, ProofError, split

_MANIFEST: Final = "manifest.json"
_ROWS: Final = 5_000
_NEIGHBOURS: Final = 1_000


class Checked(NamedTuple):
    """An export as it was checked, up to the first finding. `entries`: how many were."""

    checkpoint: Checkpoint
    entries: int
    finding: Finding | None


class _Row(NamedTuple):
    """An entry of a file; `leaf` None: no entry has such values."""

    entry: Entry
    leaf: bytes | None
    stored: bytes


def check_export(place: str, key: VerifierKey, older: Iterable[Checkpoint] = ()) -> Checked:
    """Check the export in a folder or under an s3:// URL, and that it continues `older` checkpoints.

    Raises `ProofError` where there is no export of this log, and OSError where it cannot be read.
    """
    files, root = _opened(place)
    manifest = _manifest(files, root)
    try:
        notes = [open_checkpoint(note.encode(), key) for note in manifest["checkpoints"]]
        checker = _Checker(files, root, manifest, sorted([*notes, *older], key=lambda one: one.size), key)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ProofError("the manifest cannot be read") from None
    if not notes:
        raise ProofError("the manifest names no checkpoint")
    last = max(notes, key=lambda one: one.size)
    finding = checker.check(last)
    return Checked(last, checker.entries, finding)


def _opened(place: str) -> tuple[fs.FileSystem, str]:
    if "://" in place:
        files, root = fs.FileSystem.from_uri(place)
        return files, root
    return fs.LocalFileSystem(), os.path.abspath(place)  # noqa: PTH100 - a name like any other place's


def _manifest(files: fs.FileSystem, root: str) -> dict[str, Any]:
    try:
        with files.open_input_stream(f"{root}/{_MANIFEST}") as file:
            manifest = json.loads(file.read())
    except FileNotFoundError:
        raise ProofError("there is no export: the manifest is missing") from None
    except ValueError:
        raise ProofError("the manifest cannot be read") from None
    if not isinstance(manifest, dict) or manifest.get("format") != 1:
        raise ProofError("the manifest is of an unknown format")
    return manifest


class _Checker:
    def __init__(
        self, files: fs.FileSystem, root: str, manifest: dict[str, Any], signed: Sequence[Checkpoint], key: VerifierKey
    ) -> None:
        self._files = files
        self._root = root
        self._segments: list[dict[str, Any]] = list(manifest["segments"])
        self._signed = list(signed)
        self._tree = Growing()
        self._positions: dict[int, int] = {}
        self._candidate: Finding | None = None
        self._gap: Finding | None = None
        self.entries = 0
        if (start := manifest["start"]) is not None:
            begin = open_checkpoint(start["checkpoint"].encode(), key)
            rows = [[bytes.fromhex(hash_) for hash_ in level] for level in start["edge"]]
            self._tree = Growing.after(begin.size, rows)
            self._positions = dict(enumerate(start["heads"]))
            if self._tree.root() != begin.root or sum(start["heads"]) != begin.size:
                raise ProofError("the export does not begin where the checkpoint says that it begins")
            if too_old := [one for one in signed if one.size < begin.size]:
                raise ProofError(f"the export begins after the checkpoint of {too_old[0].size} entries")

    def check(self, last: Checkpoint) -> Finding | None:
        """Find the first thing that is not as it was sealed."""
        while self._signed and self._signed[0].size == self._tree.size:
            if (finding := self._judge(self._signed.pop(0))) is not None:
                return finding
        for segment in self._segments:
            finding = self._segment(segment)
            if finding is not None:
                return finding
        if self._tree.size != last.size:
            detail = f"the checkpoint is of {last.size} entries, and the segments end with {self._tree.size}"
            return self._candidate or Finding("truncated", detail, leaf_index=self._tree.size)
        if self._signed:
            detail = f"a log of {self._signed[-1].size} entries was signed, and the export has {self._tree.size}"
            return Finding("truncated", detail, leaf_index=self._tree.size)
        return self._gap or self._strangers()

    def _segment(self, segment: dict[str, Any]) -> Finding | None:
        first, end, name = segment["first"], segment["end"], segment["name"]
        if first != self._tree.size or end <= first:
            what: What = "removed" if first > self._tree.size else "added"
            return Finding(what, f"the segment {name} does not follow the one before it", leaf_index=self._tree.size)
        kept, digest = self._read(segment["leaves"]), self._digest(name)
        if kept is None or digest is None:
            gone = segment["leaves"] if kept is None else name
            return Finding(
                "removed", f"the file {gone} of the entries from {first} to {end - 1} is gone", leaf_index=first
            )
        leaves = split(kept)
        finding = self._rows(name, first, end, leaves)
        if finding is not None:
            return finding
        sound = hashlib.sha256(kept).hexdigest() == segment["leaves_sha256"] and digest == segment["sha256"]
        if not sound and self._candidate is None:
            detail = f"a file of the segment {name} is not the one that the manifest was made for"
            return Finding("altered", f"{detail}; its entries are as they were sealed", leaf_index=first)
        return None

    def _rows(self, name: str, first: int, end: int, leaves: Sequence[bytes]) -> Finding | None:
        """Let the tree grow by the entries of a segment, and compare it at every checkpoint on the way."""
        index = first
        held: list[_Row] = []
        try:
            for rows in self._batches(name):
                held += rows
                # What follows an entry tells what was done to it.
                while len(held) > _NEIGHBOURS:
                    finding = self._grow(held, index, min(len(held) - _NEIGHBOURS, end - index), first, leaves)
                    if finding is not None:
                        return finding
                    taken = min(len(held) - _NEIGHBOURS, end - index)
                    held, index = held[taken:], index + taken
                    if index == end:
                        break
        except (OSError, pa.ArrowException, ValueError, KeyError) as error:
            detail = f"the file {name} cannot be read ({type(error).__name__})"
            return self._candidate or Finding("altered", detail, leaf_index=index)
        finding = self._grow(held, index, min(len(held), end - index), first, leaves)
        if finding is not None:
            return finding
        number = index + len(held)
        if number == end:
            return None
        detail = f"the segment {name} has {number - first} entries, and the manifest says {end - first}"
        return self._candidate or Finding("removed" if number < end else "added", detail, leaf_index=min(number, end))

    def _grow(
        self, rows: Sequence[_Row], index: int, number: int, first: int, leaves: Sequence[bytes]
    ) -> Finding | None:
        at = 0
        while at < number:
            # As far as the next checkpoint, where the root tells which of the two sides is right.
            stop = min(number, self._signed[0].size - index) if self._signed else number
            for place in range(at, stop):
                self._look(rows, place, index + place, index + place - first, leaves)
            self._tree.add([row.leaf or b"" for row in rows[at:stop]])
            self.entries += stop - at
            at = stop
            while self._signed and self._signed[0].size == index + at:
                if (finding := self._judge(self._signed.pop(0))) is not None:
                    return finding
        return None

    def _look(self, rows: Sequence[_Row], place: int, index: int, at: int, leaves: Sequence[bytes]) -> None:
        row = rows[place]
        expected = self._positions.get(row.entry.shard, 0)
        if self._gap is None and row.entry.position != expected:
            what: What = "removed" if row.entry.position > expected else "reordered"
            detail = f"position {row.entry.position} comes next"
            self._gap = Finding(what, detail, row.entry.shard, expected, index)
        self._positions[row.entry.shard] = row.entry.position + 1
        if self._candidate is None and not (
            at < len(leaves) and row.leaf == row.stored == leaves[at]
        ):  # fmt: skip
            self._candidate = _named(rows, place, index, leaves[at:])

    def _judge(self, signed: Checkpoint) -> Finding | None:
        if self._tree.root() == signed.root:
            if self._candidate is not None:
                detail = "a hash that is kept beside the entries is not theirs; the entries are as they were sealed"
                return Finding("checkpoint", detail, leaf_index=self._candidate.leaf_index)
            return None
        if self._candidate is not None:
            return self._candidate
        detail = f"entries and the hashes beside them were made anew, and do not give the root signed for {signed.size}"
        return Finding("altered", detail)

    def _strangers(self) -> Finding | None:
        known = {name for one in self._segments for name in (one["name"], one["leaves"])} | {_MANIFEST}
        selector = fs.FileSelector(self._root, recursive=True)
        for file in sorted(self._files.get_file_info(selector), key=lambda one: one.path):
            name = file.path.removeprefix(self._root.rstrip("/") + "/")
            if file.type == fs.FileType.File and name not in known and not name.endswith(".part"):
                return Finding("added", f"the file {name} is not named by the manifest")
        return None

    # -- files

    def _read(self, name: str) -> bytes | None:
        try:
            with self._files.open_input_stream(f"{self._root}/{name}") as file:
                content: bytes = file.read()
        except FileNotFoundError:
            return None
        return content

    def _digest(self, name: str) -> str | None:
        digest = hashlib.sha256()
        try:
            with self._files.open_input_stream(f"{self._root}/{name}") as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
        except FileNotFoundError:
            return None
        return digest.hexdigest()

    def _batches(self, name: str) -> Iterator[list[_Row]]:
        with self._files.open_input_file(f"{self._root}/{name}") as file:
            for batch in pq.ParquetFile(file).iter_batches(_ROWS):
                yield [_row(*values) for values in zip(*_columns(batch), strict=True)]


def _columns(batch: pa.RecordBatch) -> list[list[Any]]:
    """Give the columns of the log's format, instants in microseconds."""
    names = ("shard", "position", "event_id", "type", "occurred_at", "recorded_at", "kafka_offset", "register_version",
             "body", "commitment", "tags", "leaf_hash")  # fmt: skip
    found = [batch.column(name) for name in names]
    return [(one.cast(pa.int64()) if pa.types.is_timestamp(one.type) else one).to_pylist() for one in found]


def _row(
    shard: int, position: int, event_id: str, type_: str, occurred: int, recorded: int, offset: int, version: int,
    body: str, commitment: bytes, tags: bytes, stored: bytes,
) -> _Row:  # fmt: skip
    entry = Entry(
        shard, position, UUID(event_id).bytes, type_, occurred, recorded, offset, version,
        hashlib.sha256(body.encode()).digest(), commitment, tags,
    )  # fmt: skip
    return _Row(entry, _leaf(entry), stored)


def _leaf(entry: Entry) -> bytes | None:
    try:
        return entry.leaf()
    except ProofError:
        return None


def _named(rows: Sequence[_Row], place: int, index: int, leaves: Sequence[bytes]) -> Finding:
    """Name what was done to the first entry that is not as it was sealed; `leaves` were sealed from here on."""
    row = rows[place]
    shard, position = row.entry.shard, row.entry.position
    here = leaves[0] if leaves else None
    following = [other.leaf for other in rows[place + 1 : place + _NEIGHBOURS]]
    what: What = "altered"
    if here is None or _fits(rows, place + 1, here):
        what, detail = "added", "an entry that was never sealed stands here"
    elif len(leaves) > 1 and _fits(rows, place, leaves[1]):
        what, detail = "removed", "the entry that was sealed here is gone, and what followed was moved up"
    elif here in following or row.leaf in leaves[1:_NEIGHBOURS]:
        what, detail = "reordered", "another entry was sealed here"
    elif row.leaf == here:
        detail = "the stored hash is not that of its columns, which are what was sealed"
    else:
        detail = "it is not what was sealed"
    return Finding(what, detail, shard, position, index)


def _fits(rows: Sequence[_Row], place: int, leaf: bytes) -> bool:
    """Tell whether an entry is what was sealed as this leaf, also where it was given another position since."""
    if place >= len(rows):
        return False
    entry = rows[place].entry
    moved = (entry, *(entry._replace(position=entry.position + step) for step in (-1, 1) if entry.position + step >= 0))
    return any(_leaf(one) == leaf for one in moved)
