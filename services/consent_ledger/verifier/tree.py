"""The Merkle tree of RFC 6962 from a verifier's side: what a proof comes to, and a tree that grows leaf by leaf.

The algorithms are those of RFC 9162 section 2.1.3.2 and 2.1.4.2; nothing is shared with the code that makes proofs.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_WIDTH = 256
_sha256 = hashlib.sha256
EMPTY = _sha256().digest()


class ProofError(Exception):
    """Something does not prove what it should; the text says what is wrong."""


def hash_leaf(content: bytes) -> bytes:
    """Hash the content of an entry."""
    return _sha256(b"\x00" + content).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """Hash two neighbours."""
    return _sha256(b"\x01" + left + right).digest()


def root_by_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes:
    """Return the root to which an inclusion proof leads. Raises `ProofError` for a path of a wrong length."""
    if not 0 <= index < size:
        raise ProofError(f"there is no entry {index} in a tree of {size}")
    at, last, root = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ProofError("the inclusion proof is too long")
        if at & 1 or at == last:
            root = hash_children(sibling, root)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            root = hash_children(root, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofError("the inclusion proof is too short")
    return root


def check_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> None:
    """Check that the tree of `new` leaves begins with that of `old`. Raises `ProofError`."""
    if old > new:
        raise ProofError(f"a tree of {new} cannot begin with one of {old}")
    if old in (0, new):
        if path:
            raise ProofError("the consistency proof is too long")
        if old_root != (new_root if old else EMPTY):
            raise ProofError(f"there are two roots for {old} entries")
        return
    one, other = _roots_by_consistency(old, new, [old_root, *path] if old & (old - 1) == 0 else list(path))
    if one != old_root:
        raise ProofError(f"the entries before {old} are not those of the older checkpoint")
    if other != new_root:
        raise ProofError(f"the proof does not lead to the root of {new} entries")


def _roots_by_consistency(old: int, new: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    if not path:
        raise ProofError("the consistency proof is empty")
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    one = other = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError("the consistency proof is too long")
        if at & 1 or at == last:
            one, other = hash_children(sibling, one), hash_children(sibling, other)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            other = hash_children(other, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofError("the consistency proof is too short")
    return one, other


class Full(NamedTuple):
    """A tile (C2SP tlog-tiles) that has become full: 256 joined hashes, and the root over them."""

    level: int
    number: int
    hashes: bytes
    root: bytes


class Growing:
    """A tree to which leaves are added in order. Kept are hashes that fill no tile yet; `full` ones are handed out."""

    def __init__(self) -> None:
        self.size = 0
        self._rows: list[list[bytes]] = [[]]

    @classmethod
    def after(cls, size: int, rows: Iterable[Iterable[bytes]]) -> "Growing":
        """Return a tree that has grown to a size already, from the hashes by level that fill no tile yet.

        Raises `ProofError` where there are more or fewer than a tree of this size has.
        """
        tree = cls()
        tree.size, tree._rows = size, [list(row) for row in rows] or [[]]
        wide = [(size >> (8 * level)) % _WIDTH for level in range(len(tree._rows))]
        if [len(row) for row in tree._rows] != wide or size >> (8 * len(wide)):
            raise ProofError(f"these hashes are no edge of a tree of {size}")
        return tree

    def add(self, leaves: Iterable[bytes]) -> list[Full]:
        """Add leaf hashes and return the tiles they fill."""
        full: list[Full] = []
        row = self._rows[0]
        for leaf in leaves:
            row.append(leaf)
            self.size += 1
            if len(row) == _WIDTH:
                self._close(0, (self.size - 1) // _WIDTH, full)
        return full

    def _close(self, level: int, number: int, full: list[Full]) -> None:
        row = self._rows[level]
        full.append(Full(level, number, b"".join(row), _root(row)))
        row.clear()
        if level + 1 == len(self._rows):
            self._rows.append([])
        above = self._rows[level + 1]
        above.append(full[-1].root)
        if len(above) == _WIDTH:
            self._close(level + 1, number // _WIDTH, full)

    def copy(self) -> "Growing":
        """Return a tree that grows on its own from here."""
        twin = Growing()
        twin.size, twin._rows = self.size, [row.copy() for row in self._rows]
        return twin

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        root = None
        for row in self._rows:
            end = len(row)
            while end:
                # The last complete subtree of the row: as wide as the lowest bit that is set.
                begin = end - (end & -end)
                peak = _root(row[begin:end])
                root = peak if root is None else hash_children(peak, root)
                end = begin
        return EMPTY if root is None else root


def _root(hashes: Sequence[bytes]) -> bytes:
    """Hash a complete subtree."""
    sha256 = _sha256
    while len(hashes) > 1:
        hashes = [sha256(b"\x01" + hashes[at] + hashes[at + 1]).digest() for at in range(0, len(hashes), 2)]
    return hashes[0]


def split(hashes: bytes) -> list[bytes]:
    """Take joined hashes apart."""
    return [hashes[at : at + 32] for at in range(0, len(hashes), 32)]
