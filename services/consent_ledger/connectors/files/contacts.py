"""A tool's own contacts, from a CSV file that its operator puts there: the only way from a hash to an address.

Addresses are hashed as they are read, and none is kept. What is kept is the SHA-256 of each, as the lists show it.
"""

import asyncio
import csv
import hashlib
import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from consent_ledger.client.local import LocalView
from consent_ledger.connectors.files.lists import Address, Lists
from consent_ledger.domain.errors import IdentifierError
from consent_ledger.domain.identifiers import normalise

_SEEN: Final = "files_contacts"
_PAGE: Final = 2_000


class NoContactsError(OSError):
    """The file of contacts cannot be used; the text quotes nothing of it."""


class Contacts:
    """`path`: a CSV file whose header names a column after the type of address, such as `email`."""

    def __init__(self, path: Path, controller: str, type_: str) -> None:
        self.type = type_
        self._path = path
        self._controller = controller

    async def read(self, lists: Lists, view: LocalView) -> None:
        """Learn of contacts that are new, if the file is. Who has left the file stays on a list where he was on one."""
        stat = self._path.stat()
        seen = f"{stat.st_mtime_ns}/{stat.st_size}/{stat.st_ino}"
        if _fact(lists.connection) == seen:
            return
        with self._path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if self.type not in (rows.fieldnames or ()):
                raise NoContactsError(f"the file of contacts has no column {self.type}")
            values: Iterator[str | None] = (row[self.type] for row in rows)
            while some := list(islice(values, _PAGE)):
                lists.show([one for value in some if (one := self._address(value, view)) is not None])
                await asyncio.sleep(0)
        lists.connection.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (_SEEN, seen))

    def _address(self, value: str | None, view: LocalView) -> Address | None:
        try:
            address = normalise(self.type, value or "")
        except IdentifierError:
            # What is no address cannot be sent to either.
            return None
        hash_ = view.hash_of(self._controller, address, self.type)
        return Address(hash_, self._controller, self.type, sha256_of(address)) if hash_ else None


def sha256_of(address: str) -> str:
    """Return the SHA-256 by which ad platforms match an address: of its normalised form in UTF-8, in hexadecimal."""
    return hashlib.sha256(address.encode()).hexdigest()


def _fact(connection: sqlite3.Connection) -> str | None:
    found = connection.execute("SELECT value FROM fact WHERE name = ?", (_SEEN,)).fetchone()
    return None if found is None else found[0]
