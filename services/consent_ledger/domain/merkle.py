"""The tree of RFC 6962, kept as tiles of 256 hashes: how it grows at its right edge, and which hashes prove what.

Leaves come as hashes already (`domain.leaf`); a node is SHA-256(0x01 ‖ left ‖ right). Nothing here checks a proof: that
is the verifier's, which shares no code with this module.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Final, NamedTuple, TypeAlias

HASH_BYTES: Final = 32
TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT

Range: TypeAlias = tuple[int, int]
"""Leaves from the first up to, not including, the second."""

Place: TypeAlias = tuple[int, int]
"""Level and number of a tile."""

_sha256 = hashlib.sha256


class Tile(NamedTuple):
    """A full tile: 256 hashes joined, and the root over them, which is one hash of the level above."""

    level: int
    number: int
    hashes: bytes
    root: bytes


def node(left: bytes, right: bytes) -> bytes:
    """Hash two neighbours."""
    return _sha256(b"\x01" + left + right).digest()


def split(hashes: bytes) -> list[bytes]:
    """Take joined hashes apart."""
    return [hashes[start : start + HASH_BYTES] for start in range(0, len(hashes), HASH_BYTES)]


def complete_root(hashes: Sequence[bytes]) -> bytes:
    """Hash a complete subtree; the number of hashes is a power of two."""
    while len(hashes) > 1:
        hashes = [
            _sha256(b"\x01" + left + right).digest() for left, right in zip(hashes[::2], hashes[1::2], strict=True)
        ]
    return hashes[0]


class Edge:
    """The right edge of a tree: per level the hashes that fill no tile yet. All that growing needs."""

    def __init__(self, size: int = 0, levels: Iterable[Iterable[bytes]] = ()) -> None:
        self.size = size
        self.levels = [list(level) for level in levels]

    def append(self, leaves: bytes) -> list[Tile]:
        """Add joined leaf hashes and return the tiles they fill, in the order in which they became full."""
        filled: list[Tile] = []
        for hash_ in split(leaves):
            self._add(0, hash_, self.size, filled)
            self.size += 1
        return filled

    def _add(self, level: int, hash_: bytes, index: int, filled: list[Tile]) -> None:
        if level == len(self.levels):
            self.levels.append([])
        row = self.levels[level]
        row.append(hash_)
        if len(row) == TILE_WIDTH:
            tile = Tile(level, index // TILE_WIDTH, b"".join(row), complete_root(row))
            filled.append(tile)
            row.clear()
            self._add(level + 1, tile.root, tile.number, filled)

    def root(self) -> bytes:
        """Hash the whole tree (RFC 6962 section 2.1)."""
        peaks = [peak for row in reversed(self.levels) for peak in _peaks(row)]
        return _fold(peaks) if peaks else _sha256().digest()


def _peaks(hashes: Sequence[bytes]) -> list[bytes]:
    """Roots of the complete subtrees that hashes of one level make, the widest first."""
    return [complete_root(hashes[first:end]) for first, end in _widths(0, len(hashes))]


def _fold(peaks: Sequence[bytes]) -> bytes:
    return reduce(lambda right, left: node(left, right), reversed(peaks))


def _widths(first: int, end: int) -> list[Range]:
    """Cut leaves into complete subtrees, the widest first."""
    cut = []
    while first < end:
        width = 1 << ((end - first).bit_length() - 1)
        cut.append((first, first + width))
        first += width
    return cut


def _middle(first: int, end: int) -> int:
    """Where RFC 6962 divides a tree: the largest power of two below its size."""
    return first + (1 << ((end - first - 1).bit_length() - 1))


def inclusion(index: int, size: int) -> list[Range]:
    """The subtrees whose roots prove one leaf within a tree, from its sibling upwards (RFC 6962 section 2.1.1)."""
    path, first, end = [], 0, size
    while end - first > 1:
        middle = _middle(first, end)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((first, middle))
            first = middle
    return path[::-1]


def consistency(old: int, new: int) -> list[Range]:
    """The subtrees whose roots prove a tree (of at least one leaf) the beginning of another (section 2.1.2)."""
    path, first, end = [], 0, new
    while end > old:
        middle = _middle(first, end)
        if old <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((first, middle))
            first = middle
    return [*([(first, end)] if first else []), *reversed(path)]


def tiles_of(ranges: Iterable[Range]) -> set[Place]:
    """Find the tiles from which the roots of subtrees are made."""
    return {_slot(*cut)[0] for first, end in ranges for cut in _widths(first, end)}


def range_root(leaves: Range, tiles: Mapping[Place, bytes]) -> bytes:
    """Make the root of a subtree from tiles, which may be partial where the tree is."""
    return _fold([_complete(*cut, tiles) for cut in _widths(*leaves)])


def _complete(first: int, end: int, tiles: Mapping[Place, bytes]) -> bytes:
    place, begin, width = _slot(first, end)
    hashes = split(tiles[place][begin * HASH_BYTES : (begin + width) * HASH_BYTES])
    if len(hashes) != width:
        raise LookupError(f"tile {place} is too narrow")
    return complete_root(hashes)


def _slot(first: int, end: int) -> tuple[Place, int, int]:
    """Say which hashes of which tile make up a complete subtree: the tile, the first of them, and how many."""
    height = (end - first).bit_length() - 1
    level = height // TILE_HEIGHT
    at = first >> (level * TILE_HEIGHT)
    return (level, at // TILE_WIDTH), at % TILE_WIDTH, 1 << (height % TILE_HEIGHT)


def width_at(level: int, index: int, size: int) -> int:
    """How many hashes a tile has in a tree of a size; 0 when there is no such tile."""
    return max(0, min(TILE_WIDTH, (size >> (level * TILE_HEIGHT)) - index * TILE_WIDTH))
