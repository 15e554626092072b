"""Checks a published log (C2SP tlog-tiles) from its first entry to its newest checkpoint, over HTTP."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import httpx

from consent_ledger.verifier.entry import Entry
from consent_ledger.verifier.finding import Finding
from consent_ledger.verifier.note import Checkpoint, VerifierKey, open_checkpoint
from consent_ledger.verifier.tree import Growing, ProofError, hash_leaf, split

_WIDTH = 256
_TIMEOUT_SECONDS = 30.0

Fetch = Callable[[str], bytes]


class Checked(NamedTuple):
    """A log as it was checked, up to the first finding."""

    checkpoint: Checkpoint
    entries: int
    finding: Finding | None


class Bundle(NamedTuple):
    """Neighbouring entries and the tile of level 0 over them."""

    first: int
    entries: Sequence[bytes]
    leaves: Sequence[bytes]


def check_url(
    url: str,
    key: VerifierKey,
    older: Iterable[Checkpoint] = (),
    witnesses: Iterable[VerifierKey] = (),
    quorum: int = 0,
) -> Checked:
    """Check the log under a URL. Raises `ProofError`, and httpx's `HTTPError` where something cannot be fetched."""
    with httpx.Client(base_url=url.rstrip("/") + "/", timeout=_TIMEOUT_SECONDS) as client:

        def fetch(path: str) -> bytes:
            return client.get(path).raise_for_status().content

        checkpoint = open_checkpoint(fetch("checkpoint"), key, witnesses, quorum)
        return check_bundles(_bundles(checkpoint.size, fetch), checkpoint, older)


def _bundles(size: int, fetch: Fetch) -> Iterator[Bundle]:
    for first in range(0, size, _WIDTH):
        width = min(_WIDTH, size - first)
        partial = "" if width == _WIDTH else f".p/{width}"
        path = f"{_path(first // _WIDTH)}{partial}"
        leaves = split(fetch(f"tile/0/{path}"))
        entries = list(unbundle(fetch(f"tile/entries/{path}")))
        if not len(entries) == len(leaves) == width:
            raise ProofError(f"there are {len(entries)} entries and {len(leaves)} hashes at tile/0/{path}")
        yield Bundle(first, entries, leaves)


def _path(number: int) -> str:
    last, rest = f"{number % 1000:03}", number // 1000
    return f"{_marked(rest)}{last}"


def _marked(number: int) -> str:
    return f"{_marked(number // 1000)}x{number % 1000:03}/" if number else ""


def unbundle(bundle: bytes) -> Iterator[bytes]:
    """Take a bundle of entries apart. Raises `ProofError`."""
    at = 0
    while at < len(bundle):
        end = at + 2 + int.from_bytes(bundle[at : at + 2], "big")
        if end > len(bundle):
            raise ProofError("a bundle of entries ends too soon")
        yield bundle[at + 2 : end]
        at = end


def check_bundles(bundles: Iterable[Bundle], checkpoint: Checkpoint, older: Iterable[Checkpoint] = ()) -> Checked:
    """Check that entries are what was signed, none left out or moved, and every older checkpoint their beginning."""
    tree, waiting = Growing(), sorted(older, key=lambda one: one.size)
    positions: dict[int, int] = {}
    number = 0
    finding: Finding | None = None
    while waiting and waiting[0].size == 0:
        waiting.pop(0)
    for bundle in bundles:
        finding = finding or _first_wrong(bundle, positions)
        begin = 0
        while waiting and waiting[0].size <= bundle.first + len(bundle.leaves):
            old = waiting.pop(0)
            tree.add(bundle.leaves[begin : old.size - bundle.first])
            begin = old.size - bundle.first
            if tree.root() != old.root:
                detail = f"the log is no continuation of the checkpoint of {old.size} entries"
                return Checked(checkpoint, number, finding or Finding("checkpoint", detail))
        tree.add(bundle.leaves[begin:])
        number += len(bundle.leaves)
    if waiting:
        detail = f"a log of {waiting[-1].size} entries was published, and {checkpoint.size} are left"
        return Checked(checkpoint, number, Finding("truncated", detail, leaf_index=checkpoint.size))
    if finding is None and (tree.size, tree.root()) != (checkpoint.size, checkpoint.root):
        finding = Finding("tile", "the hashes of the log do not give the root that was signed")
    return Checked(checkpoint, number, finding)


def _first_wrong(bundle: Bundle, positions: dict[int, int]) -> Finding | None:
    for at, (content, leaf) in enumerate(zip(bundle.entries, bundle.leaves, strict=True), bundle.first):
        entry = Entry.parse(content)
        expected = positions.get(entry.shard, 0)
        if hash_leaf(content) != leaf:
            return Finding("altered", "it is not what was sealed", entry.shard, entry.position, at)
        if entry.position != expected:
            what = "removed" if entry.position > expected else "reordered"
            return Finding(what, f"position {entry.position} comes next", entry.shard, expected, at)  # type: ignore[arg-type]
        positions[entry.shard] = expected + 1
    return None
