"""Lists of addresses in CSV files: rows in, the same rows out, byte for byte."""

import csv
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, TextIO

import msgspec

_DELIMITERS: Final = ",;\t|"
_NAMES: Final = ("address", "email", "e-mail", "e-mail address", "phone", "mail")
_BYTE_ORDER_MARK: Final = "\ufeff"


class Row(NamedTuple):
    """A row as it stands in the file, line ends and all. `address` None: it has none that could be asked about."""

    raw: str
    address: str | None


class Summary(msgspec.Struct, kw_only=True):
    """What became of a list. `not_final`: answers that may be others soon, such as while the service catches up."""

    asked: int = 0
    allowed: int = 0
    refused: int = 0
    not_final: int = 0
    reasons: dict[str, int] = msgspec.field(default_factory=dict)
    seconds: float = 0.0

    def count(self, reasons: Counter[str], allowed: int, not_final: int) -> None:
        """Add the answers of one batch."""
        self.asked += reasons.total()
        self.allowed += allowed
        self.refused += reasons.total() - allowed
        self.not_final += not_final
        self.reasons = dict((Counter(self.reasons) + reasons).most_common())


class Sheet:
    """A CSV file with addresses in the column `address` (or `email`, …), else in the first one.

    The first row is a header unless its first cell is itself an address. `header` is it as it stands there.
    """

    def __init__(self, file: TextIO) -> None:
        self._lines = _Kept(file)
        first = next(self._lines, "")
        delimiter = max(_DELIMITERS, key=first.count)
        self._lines.push_back()
        self._rows = csv.reader(self._lines, delimiter=delimiter)
        self._column = 0
        self.header = ""
        cells = next(csv.reader([first], delimiter=delimiter), [])
        names = [cell.strip().strip(_BYTE_ORDER_MARK).strip().lower() for cell in cells]
        if names and not _is_address(names[0]):
            self._column = next((names.index(name) for name in _NAMES if name in names), 0)
            next(self._rows, None)
            self.header = self._lines.take()

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """Give the rows in lists of at most `size`. Raises `csv.Error` for what is no CSV."""
        rows = self._read()
        while chunk := list(islice(rows, size)):
            yield chunk

    def _read(self) -> Iterator[Row]:
        for cells in self._rows:
            raw = self._lines.take()
            if any(cell.strip() for cell in cells):
                cell = cells[self._column] if self._column < len(cells) else ""
                yield Row(raw, _askable(cell))


class _Kept:
    """Lines of a file on their way to the CSV reader, kept until the row they belong to is whole."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._back: list[str] = []
        self._kept: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._back.pop() if self._back else next(self._file)
        self._kept.append(line)
        return line

    def push_back(self) -> None:
        """Undo the reading of everything that was not taken."""
        self._back = self._kept[::-1]
        self._kept = []

    def take(self) -> str:
        """Return the lines read since the last time."""
        raw = "".join(self._kept)
        self._kept.clear()
        return raw


def _is_address(cell: str) -> bool:
    return "@" in cell or cell.lstrip("+").replace(" ", "").isdecimal()


def _askable(cell: str) -> str | None:
    """Bytes that are no UTF-8 come as lone surrogates; with them it is no address."""
    address = cell.strip().strip(_BYTE_ORDER_MARK).strip()
    try:
        address.encode()
    except UnicodeEncodeError:
        return None
    return address or None


def opened(file: Path) -> TextIO:
    """Open a list for reading, whatever its bytes are."""
    return file.open(encoding="utf-8", errors="surrogateescape", newline="")


@contextmanager
def written_whole(*paths: Path | None) -> Iterator[list[TextIO | None]]:
    """Open files that get their names only when the block has ended well: half a list is never taken for all."""
    parts = {path: path.with_name(f"{path.name}.part") for path in paths if path is not None}
    try:
        with ExitStack() as stack:
            files = {
                path: stack.enter_context(part.open("w", encoding="utf-8", errors="surrogateescape", newline=""))
                for path, part in parts.items()
            }
            yield [files[path] if path is not None else None for path in paths]
        for path, part in parts.items():
            part.replace(path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
