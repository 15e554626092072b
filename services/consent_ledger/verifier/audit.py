"""Checks a whole ledger against its log: every checkpoint, every entry, every tile, and what was published of it."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from consent_ledger.verifier.finding import Finding, Stored, name_change
from consent_ledger.verifier.note import VerifierKey, open_checkpoint
from consent_ledger.verifier.tree import EMPTY, Full, Growing, ProofError, split

# How many positions are looked through to tell what was done to an entry.
_NEIGHBOURS = 1_000


class Sealed(NamedTuple):
    """A checkpoint as it is stored: `leaves` are the joined hashes that it added."""

    size: int
    heads: Sequence[int]
    root: bytes
    leaves: bytes
    note: bytes


class Slice(NamedTuple):
    """Entries of one shard that a checkpoint added, from position `first` up to `end`, the first at `leaf_index`."""

    leaf_index: int
    shard: int
    first: int
    end: int


class Source(Protocol):
    """Where a ledger and its log are read. Every answer is of one and the same snapshot."""

    def checkpoints(self) -> AsyncIterator[Sealed]:
        """Give all checkpoints, in order of size."""

    async def rows(self, shard: int, first: int, end: int) -> Sequence[Stored]:
        """Give the entries of a shard from a position up to another that exist; asked for in order."""

    async def look(self, shard: int, first: int, end: int) -> Sequence[Stored]:
        """Give entries like `rows`, in any order of asking."""

    async def tile(self, level: int, number: int) -> tuple[bytes, bytes] | None:
        """Give the hashes and the root of a full tile; None where there is none."""

    async def next_positions(self) -> dict[int, int]:
        """Give the next position of every shard, as the heads of the shards have it."""

    async def strays(self) -> list[tuple[int, int]]:
        """Give shard and position of the first entries that lie outside every head."""

    async def sealed_leaves(self, shard: int, first: int, end: int) -> dict[int, bytes]:
        """Give the sealed hashes of positions, as far as they are sealed."""

    async def destroyed(self, shard: int, end: int) -> int | None:
        """Give the position of the first entry up to `end` that lacks a personal part, and nothing recorded took it.

        Lawful are an erasure that an entry of the ledger orders for that controller and person, after what it took, and
        a run of retention that is an entry.
        """

    async def unproved(self) -> tuple[int, int] | None:
        """Give the place of the first erasure that took something else than its evidence, an entry, commits to."""


class Report(NamedTuple):
    """What was checked, up to the first finding. `size` and `root` are those of the newest checkpoint that holds."""

    checkpoints: int
    size: int
    root: bytes
    unsealed: int
    finding: Finding | None


async def audit(source: Source, key: VerifierKey, published: Sequence[bytes] = ()) -> Report:
    """Check everything, and the `published` checkpoints, which must be of this very log."""
    auditor = _Auditor(source, key, published)
    finding = await auditor.check()
    return Report(auditor.number, auditor.tree.size, auditor.root, auditor.unsealed, finding)


class _Auditor:
    def __init__(self, source: Source, key: VerifierKey, published: Sequence[bytes]) -> None:
        self._source = source
        self._key = key
        self._published = published
        self._heads: Sequence[int] = ()
        self.tree = Growing()
        self.root = EMPTY
        self.number = 0
        self.unsealed = 0

    async def check(self) -> Finding | None:
        try:
            outside = {(one.size, one.root) for one in (open_checkpoint(note, self._key) for note in self._published)}
        except ProofError as error:
            return Finding("checkpoint", f"what is published is no checkpoint of this log: {error}")
        async for sealed in self._source.checkpoints():
            finding = self._head(sealed) or await self._entries(sealed)
            if finding is not None:
                return finding
            self.number += 1
            self._heads, self.root = sealed.heads, sealed.root
            for size, root in [one for one in outside if one[0] <= sealed.size]:
                outside.remove((size, root))
                if (size, root) != (sealed.size, sealed.root):
                    return Finding("checkpoint", f"another root was published for {size} entries", leaf_index=size - 1)
        if outside:
            size = max(outside)[0]
            detail = f"a log of {size} entries was published, and {self.tree.size} are left"
            return Finding("truncated", detail, leaf_index=self.tree.size)
        return await self._rest() or await self._personal()

    async def _personal(self) -> Finding | None:
        """Check that what is personal is there, or was destroyed as the law has it.

        An entry has one tag for each controller that got a personal part of it, and the tags are sealed.
        """
        for shard, end in sorted((await self._source.next_positions()).items()):
            position = await self._source.destroyed(shard, end)
            if position is not None:
                detail = (
                    "a personal part is gone, and neither an erasure nor a run of retention that is recorded took it"
                )
                return Finding("destroyed", detail, shard, position)
        if (erasure := await self._source.unproved()) is not None:
            detail = "what is gone by this erasure is not what the ledger recorded of it before"
            return Finding("destroyed", detail, *erasure)
        return None

    def _head(self, sealed: Sealed) -> Finding | None:
        """Check that a checkpoint says what was signed, and adds what it says."""
        wrong = None
        try:
            signed = open_checkpoint(sealed.note, self._key)
        except ProofError as error:
            wrong = str(error)
        else:
            before = [*self._heads, *[0] * (len(sealed.heads) - len(self._heads))]
            if (signed.size, signed.root) != (sealed.size, sealed.root):
                wrong = "size or root are not those that were signed"
            elif len(before) > len(sealed.heads) or any(
                new < old for old, new in zip(before, sealed.heads, strict=True)
            ):
                wrong = "the heads of shards have fallen"
            elif sum(sealed.heads) != sealed.size or len(sealed.leaves) != (sealed.size - self.tree.size) * 32:
                wrong = "heads and leaves do not add up to its size"
        if wrong is None:
            return None
        return Finding("checkpoint", f"the checkpoint of size {sealed.size}: {wrong}", leaf_index=self.tree.size)

    async def _entries(self, sealed: Sealed) -> Finding | None:
        """Check that the ledger's entries are what was signed, and the tiles what follows from them."""
        leaves, found = split(sealed.leaves), list[bytes]()
        slices = _slices(self.tree.size, self._heads, sealed.heads)
        wrong: tuple[int, int, int] | None = None
        for one in slices:
            rows = await self._source.rows(one.shard, one.first, one.end)
            begin = one.leaf_index - self.tree.size
            hashes = leaves[begin : begin + one.end - one.first]
            if wrong is None:
                wrong = _first_wrong(one, rows, hashes)
            found += [leaf for leaf in map(_leaf, rows) if leaf is not None]
        before = self.tree.copy() if wrong else None
        full = self.tree.add(leaves)
        if self.tree.root() != sealed.root:
            if before is not None:
                before.add(found)
                if before.root() == sealed.root:
                    detail = f"the leaves kept with the checkpoint of size {sealed.size} are not those of the entries"
                    return Finding("checkpoint", detail, leaf_index=wrong[2] if wrong else None)
            elif slices:
                return _unnamed(slices)
        if wrong is None:
            return await self._tiles(full)
        return await self._of_heads(sealed, leaves, wrong) or await self._name(*wrong)

    async def _of_heads(self, sealed: Sealed, hashes: Sequence[bytes], wrong: tuple[int, int, int]) -> Finding | None:
        """Tell whether the entry is only not where the heads of the checkpoint would have it, for it is sealed."""
        shard, position, leaf_index = wrong
        leaves = {leaf for row in await self._source.look(shard, position, position + 1) if (leaf := _leaf(row))}
        leaves.discard(hashes[leaf_index - sealed.size])
        async for other in self._source.checkpoints():
            if leaves.intersection(split(other.leaves)):
                detail = f"the heads of shards are not those of the checkpoint of size {sealed.size}"
                return Finding("checkpoint", detail, leaf_index=leaf_index)
        return None

    async def _name(self, shard: int, position: int, leaf_index: int) -> Finding:
        end = position + _NEIGHBOURS
        rows = {row.entry.position: row for row in await self._source.look(shard, position, end)}
        return name_change(shard, position, leaf_index, rows, await self._source.sealed_leaves(shard, position, end))

    async def _tiles(self, full: Sequence[Full]) -> Finding | None:
        for tile in full:
            stored = await self._source.tile(tile.level, tile.number)
            if stored != (tile.hashes, tile.root):
                how = "is missing" if stored is None else "is not what was signed"
                at = (tile.number << 8 * (tile.level + 1)) if stored is None else _first_difference(tile, stored[0])
                return Finding("tile", f"tile {tile.level}/{tile.number} {how}", leaf_index=at)
        return None

    async def _rest(self) -> Finding | None:
        """Check what no checkpoint holds yet: no gap, nothing too many, and hashes that fit."""
        heads = await self._source.next_positions()
        for shard, end in sorted(heads.items()):
            begin = self._heads[shard] if shard < len(self._heads) else 0
            while begin < end:
                rows = await self._source.rows(shard, begin, min(end, begin + _NEIGHBOURS))
                stop = min(end, begin + _NEIGHBOURS)
                for position, row in zip(range(begin, stop), [*rows, *[None] * (stop - begin)], strict=False):
                    if row is None or row.entry.position != position:
                        return Finding("removed", "the ledger has no such entry any more", shard, position)
                    if _leaf(row) != row.leaf_hash:
                        return Finding("altered", "its columns do not give the stored hash", shard, position)
                self.unsealed += len(rows)
                begin = stop
        for shard, end in enumerate(self._heads):
            if heads.get(shard, 0) < end:
                return Finding(
                    "truncated", "the head of the shard lies before what was sealed", shard, heads.get(shard, 0)
                )
        for shard, position in await self._source.strays():
            return Finding("added", "an entry that no recorder has counted", shard, position)
        return None


def _slices(size: int, old: Sequence[int], new: Sequence[int]) -> list[Slice]:
    slices = []
    for shard, end in enumerate(new):
        first = old[shard] if shard < len(old) else 0
        if first < end:
            slices.append(Slice(size, shard, first, end))
            size += end - first
    return slices


def _first_wrong(one: Slice, rows: Sequence[Stored], leaves: Sequence[bytes]) -> tuple[int, int, int] | None:
    """Find the first entry of a slice that is not what was sealed: shard, position, index."""
    number = one.end - one.first
    for at in range(number):
        row = rows[at] if at < len(rows) else None
        position = one.first + at
        if row is None or row.entry.position != position or row.leaf_hash != leaves[at] or _leaf(row) != leaves[at]:
            return one.shard, position, one.leaf_index + at
    return None


def _leaf(row: Stored) -> bytes | None:
    try:
        return row.entry.leaf()
    except ProofError:
        return None


def _unnamed(slices: Sequence[Slice]) -> Finding:
    """Everything in the database agrees with itself and not with the signature: the change lies somewhere in here."""
    reach = ", ".join(f"shard {one.shard} from {one.first} to {one.end - 1}" for one in slices)
    first = slices[0]
    detail = f"entries, hashes and leaves were made anew, but not the signature; the change begins in {reach}"
    return Finding("altered", detail, first.shard, first.first, first.leaf_index)


def _first_difference(tile: Full, stored: bytes) -> int:
    pairs = zip(split(tile.hashes), [*split(stored), *[b""] * 256], strict=False)
    differs = next((at for at, (one, other) in enumerate(pairs) if one != other), 0)
    return ((tile.number << 8) + differs) << (8 * tile.level)
