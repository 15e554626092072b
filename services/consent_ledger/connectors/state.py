"""What a connector keeps on disk: up to where it has come, and what its tool did not take.

A SQLite file beside the connector: one process writes it, and the command line reads it and asks for redelivery while
it runs. Place and parked items change in one transaction, after the calls; so whoever is killed between a call and its
place makes the same call again, and calls are of a kind that may be made twice.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from consent_ledger.domain.durations import rfc3339
from consent_ledger.domain.errors import ConsentError

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY CHECK (one = 1), place BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS parked (
    key TEXT PRIMARY KEY, item BLOB NOT NULL, refusal INTEGER NOT NULL, reason TEXT NOT NULL, since TEXT NOT NULL,
    again INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_BUSY_SECONDS: Final = 30.0


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be done at a tool. `key` names it: what is parked under a key is replaced under the same key.

    Neither key nor value holds an address. `refusal`: somebody said no, so it must arrive. `partitions`: those of the
    suppressions topic that it came from; none: it is not known.
    """

    key: str
    value: bytes = b""
    refusal: bool = True
    partitions: tuple[int, ...] = ()


class Parked(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool refused for good, why, and since when. `again`: somebody has asked for another attempt."""

    item: Item
    reason: str
    since: str
    again: bool


class BusyError(ConsentError):
    """Another process runs this connector."""


class State:
    """The file of one connector. `dry`: a copy in memory, so that nothing of what is done is kept."""

    def __init__(self, directory: Path, *, dry: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.directory = directory
        self._lock: int | None = None
        self.connection = _open(directory / "connector.db")
        if dry:
            stored, self.connection = self.connection, sqlite3.connect(":memory:")
            stored.backup(self.connection)
            stored.close()
        self.connection.executescript(_SCHEMA)

    def hold(self) -> None:
        """Become the one that runs this connector, until the process ends. Raises `BusyError`."""
        descriptor = os.open(self.directory / "connector.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise BusyError("another process runs this connector") from None
        self._lock = descriptor

    def is_held(self) -> bool:
        """Tell whether some process runs this connector."""
        try:
            self.hold()
        except BusyError:
            return True
        self._let_go()
        return False

    def close(self) -> None:
        """Close the file, and let another process run the connector."""
        self.connection.close()
        self._let_go()

    def _let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def place(self) -> bytes | None:
        """Up to where everything is applied or parked; None at the beginning."""
        found = self.connection.execute("SELECT place FROM place").fetchone()
        return None if found is None else bytes(found[0])

    def advance(
        self,
        place: bytes | None,
        *,
        done: Collection[str] = (),
        parked: Sequence[tuple[Item, str]] = (),
        also: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        """Move the place behind what was applied (`done`, by key) or parked, with the reasons.

        None leaves the place where it is. `also` writes what a kind keeps besides, in the same transaction.
        """
        with self.connection as connection:
            if place is not None:
                connection.execute("INSERT OR REPLACE INTO place VALUES (1, ?)", (place,))
            connection.executemany("DELETE FROM parked WHERE key = ?", [(key,) for key in done])
            connection.executemany(
                "INSERT INTO parked (key, item, refusal, reason, since) VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) "
                "DO UPDATE SET item = excluded.item, refusal = max(refusal, excluded.refusal),"
                " reason = excluded.reason, again = 0",
                [(item.key, _encode(item), item.refusal, reason, _now()) for item, reason in parked],
            )
            if also is not None:
                also(connection)

    def parked(self) -> list[Parked]:
        """Return what is parked, the oldest first."""
        found = self.connection.execute("SELECT item, reason, since, again FROM parked ORDER BY since, key")
        return [
            Parked(item=_decode(item), reason=reason, since=since, again=bool(again))
            for item, reason, since, again in found
        ]

    def is_parked(self, key: str) -> bool:
        """Tell whether something is parked under a key."""
        return self.connection.execute("SELECT 1 FROM parked WHERE key = ?", (key,)).fetchone() is not None

    def ask_again(self, keys: Collection[str] | None = None) -> int:
        """Have another attempt made at what is parked under these keys, or at all; return how many there are."""
        with self.connection as connection:
            if keys is None:
                return connection.execute("UPDATE parked SET again = 1").rowcount
            asked = [connection.execute("UPDATE parked SET again = 1 WHERE key = ?", (key,)).rowcount for key in keys]
            return sum(asked)

    def count_parked(self) -> tuple[int, int]:
        """Return how many refusals are parked, and how many other items."""
        found = self.connection.execute("SELECT coalesce(sum(refusal), 0), count(*) FROM parked").fetchone()
        return found[0], found[1] - found[0]

    def note(self, **facts: str) -> None:
        """Keep facts for the command line to show."""
        with self.connection as connection:
            connection.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", list(facts.items()))

    def facts(self) -> dict[str, str]:
        """Return the facts that were noted."""
        return dict(self.connection.execute("SELECT name, value FROM fact ORDER BY name").fetchall())


def _open(path: Path) -> sqlite3.Connection:
    with suppress(FileExistsError):
        # What a tool's contacts are hashed to is not for other users of the machine.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS)
    with closing(connection.execute("PRAGMA journal_mode = WAL")):
        connection.execute("PRAGMA synchronous = FULL")
    return connection


def _now() -> str:
    return rfc3339(datetime.now(UTC))


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Item).decode
