"""Files of a do-not-call register: one number per line, perhaps with the instant of its registration, as they are read.

A line whose number cannot be read is named by its place in the file, never by its content.
"""

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from consent_ledger.domain.errors import IdentifierError
from consent_ledger.domain.identifiers import normalise

_DELIMITERS: Final = ",;\t"
_NUMBERS: Final = ("number", "phone", "msisdn", "telephone", "value")
_REGISTERED: Final = "registered_at"
_LINE_MAX_BYTES: Final = 65_536
_DATE_CHARS: Final = 10
_GZIP: Final = b"\x1f\x8b"


class Number(NamedTuple):
    """A number in E.164 and when it was put on the register; None where nobody says, or it cannot be read."""

    value: str
    registered_at: datetime | None


class BadLine(NamedTuple):
    """What is wrong with a line. `number`: what could be read all the same, which counts."""

    line: int
    problem: str
    number: Number | None = None


@contextmanager
def opened(file: Path) -> Iterator[tuple[BinaryIO, Callable[[], int]]]:
    """Open a file, unpacked if it is packed by gzip; also gives how far into the file as it lies on disk."""
    with file.open("rb") as packed:
        if packed.peek(2)[:2] != _GZIP:
            yield packed, packed.tell
            return
        with gzip.open(packed) as unpacked:
            yield cast(BinaryIO, unpacked), packed.tell


def numbers(source: BinaryIO, seen: Callable[[bytes], None]) -> Iterator[Number | BadLine]:
    """Read a file from its beginning to its end, a line at a time; every byte read goes to `seen`.

    A line is a row whatever its quotes say: one that is never closed must not swallow the numbers behind it.
    Raises OSError, EOFError or zlib.error for a packed file that is damaged or cut short.
    """
    delimiter, number, registered = ",", 0, 1
    for place, raw in enumerate(iter(lambda: source.readline(_LINE_MAX_BYTES), b""), 1):
        seen(raw)
        line = raw.decode("utf-8-sig", "replace").strip()
        if place == 1:
            delimiter = max(_DELIMITERS, key=line.count)
            header = [cell.strip().lower() for cell in _cells(line, delimiter)]
            if found := [header.index(name) for name in _NUMBERS if name in header]:
                number = found[0]
                registered = header.index(_REGISTERED) if _REGISTERED in header else len(header)
                continue
        if line:
            yield _number(_cells(line, delimiter), number, registered, place)


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip().strip('"') for cell in line.split(delimiter)]


def _number(cells: list[str], number: int, registered: int, place: int) -> Number | BadLine:
    if number >= len(cells):
        return BadLine(place, "no number")
    try:
        value = normalise("phone", cells[number])
    except IdentifierError as error:
        return BadLine(place, str(error))
    return _dated(value, cells[registered] if registered < len(cells) else "", place)


def _dated(value: str, said: str, line: int) -> Number | BadLine:
    if not said:
        return Number(value, None)
    try:
        return Number(value, _instant(said))
    except ValueError:
        # Without a date the listing is as old as the snapshots with it, so fewer consents are later than it.
        return BadLine(line, "registered_at is no instant with a zone, and no date", Number(value, None))


def _instant(said: str) -> datetime:
    """Read an instant; of a refusal of which only the date is known, the end of that day (domain.md 4.1)."""
    instant = datetime.fromisoformat(said)
    if len(said) == _DATE_CHARS:
        return instant.replace(tzinfo=UTC) + timedelta(days=1, seconds=-1)
    if instant.tzinfo is None:
        raise ValueError("no zone")
    return instant
