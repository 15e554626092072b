"""The tree against published vectors, and what proves a leaf or a beginning to a verifier that shares no code with it.

The vectors are facts: eight leaves with the roots and proofs of the reference implementation of RFC 6962, used in
Certificate Transparency ever since. Go's `sumdb/tlog` checks larger trees (`tests/foreign`).

Seen to fail: 0x00 before a node; left and right exchanged; the tree divided in the middle; peaks in the wrong order;
the root of a full tile left out of the level above; the last element of a consistency proof left out; an inclusion path
from the root down; a path without `x`; levels above 63 let pass; lengths of entries little-endian. In the verifier: a
proof that is too short let pass; the older root, and the newer one, not compared.
"""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_ledger.domain import merkle, tiles
from consent_ledger.domain.merkle import Edge
from consent_ledger.domain.tiles import Resource
from consent_ledger.verifier import tree
from consent_ledger.verifier.tree import ProofError

LEAVES = [
    bytes.fromhex(leaf)
    for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}

BIG = 66_000
"""More leaves than fill a tile of level 1."""


def leaf(number: int) -> bytes:
    return tree.hash_leaf(number.to_bytes(8, "big"))


class Grown:
    """A tree with all its tiles, as the tables hold it."""

    def __init__(self, hashes: bytes) -> None:
        self.edge = Edge()
        self.full = {(tile.level, tile.number): tile.hashes for tile in self.edge.append(hashes)}
        self.hashes = merkle.split(hashes)

    def tiles(self) -> dict[tuple[int, int], bytes]:
        partial = {
            (level, self.edge.size >> (8 * level) >> 8): b"".join(row) for level, row in enumerate(self.edge.levels)
        }
        return self.full | partial

    def root(self, size: int) -> bytes:
        small = Edge()
        small.append(b"".join(self.hashes[:size]))
        return small.root()

    def path(self, ranges: list[merkle.Range]) -> list[bytes]:
        return [merkle.range_root(one, self.tiles()) for one in ranges]


EIGHT = Grown(b"".join(map(tree.hash_leaf, LEAVES)))


@pytest.fixture(scope="module")
def big() -> Grown:
    return Grown(b"".join(map(leaf, range(BIG))))


@pytest.mark.parametrize("size", range(9))
def test_the_root_of_every_size_is_the_published_one(size: int) -> None:
    growing = tree.Growing()
    growing.add(map(tree.hash_leaf, LEAVES[:size]))

    assert EIGHT.root(size).hex() == ROOTS[size]
    assert growing.root().hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_an_inclusion_proof_is_the_published_one(index: int, size: int) -> None:
    path = EIGHT.path(merkle.inclusion(index, size))

    assert [hash_.hex() for hash_ in path] == INCLUSION[index, size]
    assert tree.root_by_inclusion(index, size, tree.hash_leaf(LEAVES[index]), path).hex() == ROOTS[size]


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_a_consistency_proof_is_the_published_one(old: int, new: int) -> None:
    path = EIGHT.path(merkle.consistency(old, new))

    assert [hash_.hex() for hash_ in path] == CONSISTENCY[old, new]
    tree.check_consistency(old, new, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new]), path)


@given(st.data())
def test_every_leaf_of_a_large_tree_can_be_proved_and_nothing_else(big: Grown, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, BIG - 1))
    ranges = merkle.inclusion(index, BIG)
    path = big.path(ranges)
    other = data.draw(st.integers(0, BIG - 1).filter(lambda one: one != index))

    assert tree.root_by_inclusion(index, BIG, leaf(index), path) == big.edge.root()
    assert tree.root_by_inclusion(index, BIG, leaf(other), path) != big.edge.root()
    assert merkle.tiles_of(ranges) <= big.tiles().keys()
    for wrong in (path[:-1], [*path, path[0]]):
        with pytest.raises(ProofError, match=r"too (short|long)"):
            tree.root_by_inclusion(index, BIG, leaf(index), wrong)


@given(st.integers(1, 2_000), st.integers(0, 700), st.data())
def test_a_tree_is_proved_the_beginning_of_its_successor_and_no_other_is(
    old: int, more: int, data: st.DataObject
) -> None:
    grown = Grown(b"".join(map(leaf, range(old + more))))
    path = grown.path(merkle.consistency(old, old + more))
    other = Grown(b"".join(map(leaf, [*range(old - 1), 10**6])))

    tree.check_consistency(old, old + more, grown.root(old), grown.edge.root(), path)
    with pytest.raises(ProofError):
        tree.check_consistency(old, old + more, other.edge.root(), grown.edge.root(), path)
    if path:
        spoiled = data.draw(st.integers(0, len(path) - 1))
        with pytest.raises(ProofError):
            tree.check_consistency(
                old, old + more, grown.root(old), grown.edge.root(),
                [*path[:spoiled], bytes(32), *path[spoiled + 1 :]],
            )  # fmt: skip


def test_from_nothing_every_tree_may_grow_and_none_shrinks() -> None:
    tree.check_consistency(0, 8, tree.EMPTY, bytes.fromhex(ROOTS[8]), [])
    with pytest.raises(ProofError, match="two roots for 8"):
        tree.check_consistency(8, 8, bytes.fromhex(ROOTS[8]), bytes.fromhex(ROOTS[7]), [])
    with pytest.raises(ProofError, match="cannot begin"):
        tree.check_consistency(8, 7, bytes.fromhex(ROOTS[8]), bytes.fromhex(ROOTS[7]), [])


@given(st.lists(st.integers(1, 600), max_size=6))
def test_a_tree_is_the_same_however_its_leaves_come(parts: list[int]) -> None:
    hashes = [leaf(number) for number in range(sum(parts))]
    at_once, bit_by_bit, growing = Edge(), Edge(), tree.Growing()

    filled = at_once.append(b"".join(hashes))
    begun = 0
    for part in parts:
        bit_by_bit.append(b"".join(hashes[begun : begun + part]))
        begun += part
    full = growing.add(hashes)

    assert at_once.root() == bit_by_bit.root() == growing.root()
    assert [tuple(tile) for tile in filled] == [tuple(tile) for tile in full]
    assert at_once.levels == bit_by_bit.levels
    assert [tile.root for tile in filled if tile.level == 0] == [
        merkle.complete_root(hashes[first : first + 256]) for first in range(0, len(hashes) - 255, 256)
    ]


def test_a_tree_of_70_000_has_the_tiles_that_the_specification_lists() -> None:
    widths = {(level, number): merkle.width_at(level, number, 70_000) for level in range(4) for number in range(275)}

    assert sum(width == 256 for (level, _), width in widths.items() if level == 0) == 273
    assert widths[0, 273] == 112
    assert (widths[1, 0], widths[1, 1], widths[2, 0], widths[3, 0]) == (256, 17, 1, 0)
    assert (merkle.width_at(0, 0, 256), merkle.width_at(1, 0, 256), merkle.width_at(0, 1, 256)) == (256, 1, 0)


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("0/x001/x234/067", Resource(0, 1_234_067, 256)),
        ("0/000", Resource(0, 0, 256)),
        ("63/999.p/255", Resource(63, 999, 255)),
        ("entries/x001/000.p/1", Resource(None, 1000, 1)),
    ],
)
def test_a_path_names_one_resource(path: str, resource: Resource) -> None:
    assert tiles.parse_path(path) == resource
    assert tiles.path_of(resource) == path


@pytest.mark.parametrize(
    "path",
    ["", "0", "0/0", "0/0000", "00/000", "64/000", "0/x000/001", "0/000/001", "0/x001/x234", "0/000.p/0", "0/000.p/256",
     "0/000.p/01", "entries/", "entries/000.p/300", "data/000", "0/\u0660\u0660\u0660", "0/000/", "-1/000", "0/../000"],
)  # fmt: skip
def test_no_other_path_names_anything(path: str) -> None:
    assert tiles.parse_path(path) is None


def test_a_bundle_holds_every_entry_behind_its_length() -> None:
    assert tiles.bundle([b"one", b"", b"x" * 258]) == b"\0\3one\0\0\1\2" + b"x" * 258
    with pytest.raises(ValueError, match="fits no bundle"):
        tiles.bundle([bytes(65_536)])


def test_a_leaf_is_hashed_under_its_own_prefix() -> None:
    assert tree.hash_leaf(b"abc") == hashlib.sha256(b"\0abc").digest()
