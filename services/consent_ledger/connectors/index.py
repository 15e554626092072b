"""Which contact of a tool is which address of the ledger: by keyed hash, for the hash cannot be turned back.

No address is kept. A contact is found again by the tool's own number.
"""

import sqlite3
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS contact (
    hash BLOB NOT NULL, id TEXT NOT NULL, controller TEXT NOT NULL, type TEXT NOT NULL, sweep INTEGER NOT NULL,
    PRIMARY KEY (id, controller, type)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS contact_hash ON contact (hash);
CREATE TABLE IF NOT EXISTS settled (id TEXT NOT NULL, what TEXT NOT NULL, PRIMARY KEY (id, what)) WITHOUT ROWID;
"""
_CHUNK: Final = 500


class Hashed(NamedTuple):
    """One address of a contact, as one controller knows it; an empty hash stands for what is no address."""

    hash: bytes
    controller: str
    type: str


class Index:
    """Lies in the connector's own file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.executescript(_SCHEMA)

    def put(self, contacts: Iterable[tuple[str, Collection[Hashed]]], sweep: int) -> None:
        """Keep contacts as they are now, seen in this sweep; an address that one has no more is forgotten."""
        with self._connection as connection:
            for id_, hashes in contacts:
                connection.execute("DELETE FROM contact WHERE id = ?", (id_,))
                connection.executemany(
                    "INSERT OR REPLACE INTO contact VALUES (?, ?, ?, ?, ?)",
                    [(one.hash, id_, one.controller, one.type, sweep) for one in hashes],
                )

    def forget_unseen(self, sweep: int) -> None:
        """Forget contacts that two complete sweeps have not met: a page may pass one over while others are deleted."""
        with self._connection as connection:
            connection.execute("DELETE FROM contact WHERE sweep < ? - 1", (sweep,))
            connection.execute("DELETE FROM settled WHERE id NOT IN (SELECT id FROM contact)")

    def last_sweep(self) -> int:
        """Return the number of the newest sweep; 0 when there was none."""
        newest: int = self._connection.execute("SELECT coalesce(max(sweep), 0) FROM contact").fetchone()[0]
        return newest

    def contacts_of(self, hashes: Collection[bytes]) -> list[str]:
        """Return the contacts that have any of these addresses."""
        found: dict[str, None] = {}
        every = list(hashes)
        for first in range(0, len(every), _CHUNK):
            part = every[first : first + _CHUNK]
            marks = ",".join("?" * len(part))
            rows = self._connection.execute(f"SELECT id FROM contact WHERE hash IN ({marks})", part)  # noqa: S608
            found |= dict.fromkeys(row[0] for row in rows)
        return list(found)

    def addresses_of(self, id_: str) -> list[Hashed]:
        """Return the addresses of a contact."""
        rows = self._connection.execute("SELECT hash, controller, type FROM contact WHERE id = ?", (id_,))
        return [Hashed(*row) for row in rows]

    def count(self) -> int:
        """Return how many contacts there are."""
        count: int = self._connection.execute("SELECT count(DISTINCT id) FROM contact").fetchone()[0]
        return count

    def settled(self, id_: str) -> set[str]:
        """Return what is stopped at a contact by the connector itself, or was declared to the ledger already."""
        return {row[0] for row in self._connection.execute("SELECT what FROM settled WHERE id = ?", (id_,))}

    def settle(self, stops: Iterable[tuple[str, str]]) -> None:
        """Remember of (contact, what) that the ledger knows why the tool says no: nobody need tell it."""
        with self._connection as connection:
            connection.executemany("INSERT OR IGNORE INTO settled VALUES (?, ?)", list(stops))

    def unsettle(self, running: Iterable[tuple[str, str]]) -> None:
        """Remember that the tool would send again: the next no there is somebody's own."""
        with self._connection as connection:
            connection.executemany("DELETE FROM settled WHERE id = ? AND what = ?", list(running))
