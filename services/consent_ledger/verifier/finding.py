"""What a verifier finds: the first thing that is not as it was sealed, by name."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

from consent_ledger.verifier.entry import Entry
from consent_ledger.verifier.tree import ProofError

What: TypeAlias = Literal["altered", "removed", "added", "reordered", "truncated", "checkpoint", "tile", "destroyed"]


class Finding(NamedTuple):
    """What was done, to which entry. `leaf_index`: the place in the log; None where none is known."""

    what: What
    detail: str
    shard: int | None = None
    position: int | None = None
    leaf_index: int | None = None

    def __str__(self) -> str:
        where = f"shard {self.shard}, position {self.position}: " if self.shard is not None else ""
        index = f" (index {self.leaf_index} of the log)" if self.leaf_index is not None else ""
        return f"{self.what}: {where}{self.detail}{index}"


class Stored(NamedTuple):
    """An entry as the ledger stores it, and the hash that is stored beside it."""

    entry: Entry
    leaf_hash: bytes


def name_change(
    shard: int, position: int, leaf_index: int, rows: Mapping[int, Stored], sealed: Mapping[int, bytes]
) -> Finding:
    """Name what was done to the first entry that is not as it was sealed.

    `rows` are the ledger's from this position on, and `sealed` the hashes that were sealed for the same positions.
    """
    here = rows.get(position)
    what: What = "altered"
    if here is None:
        what, detail = "removed", "the ledger has no such entry any more"
    elif _fits(rows.get(position + 1), position, sealed):
        what, detail = "added", "an entry that was never sealed stands here, and what follows was moved"
    elif _fits(here, position + 1, sealed):
        what, detail = "removed", "the entry is gone, and what followed was moved up"
    elif (other := next((at for at, row in rows.items() if _fits(row, position, sealed)), None)) is not None:
        what, detail = "reordered", f"the entry that was sealed here stands at position {other}"
    elif here.leaf_hash == sealed.get(position):
        detail = "its columns are not what was sealed"
    elif _leaf(here.entry) == sealed.get(position):
        detail = "the stored hash is not that of its columns, which are what was sealed"
    elif _leaf(here.entry) == here.leaf_hash:
        detail = "its columns are not what was sealed, and their hash was made anew"
    else:
        detail = "neither its columns nor the stored hash are what was sealed"
    return Finding(what, detail, shard, position, leaf_index)


def _fits(row: Stored | None, position: int, sealed: Mapping[int, bytes]) -> bool:
    """Tell whether an entry is what was sealed at another position than it has now."""
    if row is None or row.entry.position == position or position not in sealed:
        return False
    return _leaf(row.entry._replace(position=position)) == sealed[position]


def _leaf(entry: Entry) -> bytes | None:
    try:
        return entry.leaf()
    except ProofError:
        return None
