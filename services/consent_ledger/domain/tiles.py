"""Names and contents of a log's static resources (C2SP tlog-tiles): paths of tiles, bundles of entries."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from consent_ledger.domain.merkle import TILE_WIDTH

ENTRY_MAX_BYTES: Final = 0xFFFF
_LEVEL_MAX: Final = 63
_PATH = re.compile(r"(?a:(entries|0|[1-9]\d?)/((?:x\d{3}/)*\d{3})(?:\.p/([1-9]\d{0,2}))?)")


class Resource(NamedTuple):
    """A tile, or with level None a bundle of entries; `width` is less than 256 for a partial one."""

    level: int | None
    number: int
    width: int


def path_of(resource: Resource) -> str:
    """Return the path of a resource behind `tile/`: three digits of the number each, all but the last marked."""
    digits = str(resource.number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    name = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    partial = f".p/{resource.width}" if resource.width < TILE_WIDTH else ""
    return f"{'entries' if resource.level is None else resource.level}/{name}{partial}"


def parse_path(path: str) -> Resource | None:
    """Read a path; None for one that names nothing, such as one with zeros too many."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    level = None if found[1] == "entries" else int(found[1])
    resource = Resource(level, int(re.sub(r"[x/]", "", found[2])), int(found[3] or TILE_WIDTH))
    known = (level or 0) <= _LEVEL_MAX and path_of(resource) == path
    return resource if known else None


def bundle(entries: Iterable[bytes]) -> bytes:
    """Join entries, each behind its length in two bytes. Raises ValueError for one that is longer than that allows."""
    joined = []
    for entry in entries:
        if len(entry) > ENTRY_MAX_BYTES:
            raise ValueError(f"an entry of {len(entry)} bytes fits no bundle")
        joined += [len(entry).to_bytes(2, "big"), entry]
    return b"".join(joined)
