"""What was declared and is not delivered yet, on disk: a form loses no withdrawal while everything else is down."""

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS waiting (
    id INTEGER PRIMARY KEY AUTOINCREMENT, event_id BLOB NOT NULL UNIQUE, event BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS parked (event_id BLOB PRIMARY KEY, event BLOB NOT NULL, reason TEXT NOT NULL);
"""
_BUSY_SECONDS: Final = 30.0


class Waiting(NamedTuple):
    """An event that waits for its delivery, by its place in the order of declaration."""

    place: int
    event: bytes


class Parked(NamedTuple):
    """An event that the service refused for good, and why."""

    event_id: UUID
    event: bytes
    reason: str


class Outbox:
    """A SQLite file that threads and processes share. What `put` has returned from survives a crash of the machine."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._local = threading.local()
        with closing(self._open()) as connection:
            connection.executescript(_SCHEMA)

    def put(self, event_id: UUID, event: bytes) -> None:
        """Keep an event; one that is there already stays as it is."""
        with self._connection() as connection:
            connection.execute("INSERT OR IGNORE INTO waiting (event_id, event) VALUES (?, ?)", (event_id.bytes, event))

    def next(self, limit: int) -> list[Waiting]:
        """Return the oldest events that wait."""
        found = self._connection().execute("SELECT id, event FROM waiting ORDER BY id LIMIT ?", (limit,))
        return [Waiting(*row) for row in found]

    def delivered(self, places: Sequence[int]) -> None:
        """Forget events that were taken."""
        with self._connection() as connection:
            connection.executemany("DELETE FROM waiting WHERE id = ?", [(place,) for place in places])

    def park(self, place: int, reason: str) -> None:
        """Set an event apart that was refused for good."""
        with self._connection() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO parked SELECT event_id, event, ? FROM waiting WHERE id = ?", (reason, place)
            )
            connection.execute("DELETE FROM waiting WHERE id = ?", (place,))

    def parked(self) -> list[Parked]:
        """Return what was refused for good."""
        found = self._connection().execute("SELECT event_id, event, reason FROM parked ORDER BY event_id")
        return [Parked(UUID(bytes=event_id), event, reason) for event_id, event, reason in found]

    def retry_parked(self) -> int:
        """Let everything that was refused wait for delivery again; return how many there are."""
        with self._connection() as connection:
            moved = connection.execute(
                "INSERT OR IGNORE INTO waiting (event_id, event) SELECT event_id, event FROM parked"
            )
            connection.execute("DELETE FROM parked")
            return moved.rowcount

    def __len__(self) -> int:
        count: int = self._connection().execute("SELECT count(*) FROM waiting").fetchone()[0]
        return count

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._local.connection = self._open()
        return found

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS)
        connection.execute("PRAGMA journal_mode = WAL")
        # Whoever was told that the withdrawal is taken relies on it, also through a power cut.
        connection.execute("PRAGMA synchronous = FULL")
        return connection
