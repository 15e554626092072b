"""A page for people, apart from how it is written: sections with facts, lines, and rows under headings."""

from collections.abc import Sequence
from typing import Final

import msgspec

# Joiners belong to some scripts; whatever else is not printable could hide or turn what is read.
_JOINERS: Final = frozenset({"\u200c", "\u200d"})


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a page. `facts`: what and its value; `rows` under `columns`."""

    title: str
    lines: list[str] = []
    facts: list[tuple[str, str]] = []
    columns: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page; all its texts are plain, and nothing in them means anything to a browser or a reader of PDF."""

    language: str
    title: str
    lead: list[str]
    sections: list[Section]


def plain(text: object) -> str:
    """Make what comes from outside fit to be read: what is not printable, or turns the direction, is written out."""
    return "".join(
        one if one.isprintable() or one in _JOINERS else one.encode("unicode_escape").decode()
        for one in str(text).encode(errors="backslashreplace").decode()
    )
