"""What a webhook connector keeps on disk: messages on their way, what was told, the delivery log, and the secrets.

Tables in the connector's own file. A message is put in line before it is sent, and leaves the line in the transaction
that logs its delivery.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from consent_ledger.connectors.state import Item
from consent_ledger.domain.durations import rfc3339
from consent_ledger.domain.webhook import Letter

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS letter (
    place INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, lane TEXT NOT NULL, number INTEGER NOT NULL,
    item BLOB NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, first_at REAL, next_at REAL NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS letter_lane ON letter (lane, place);
CREATE TABLE IF NOT EXISTS told (key TEXT PRIMARY KEY, number INTEGER NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS delivery (
    place INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, id TEXT NOT NULL, key TEXT NOT NULL,
    attempt INTEGER NOT NULL, outcome TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS secret (value TEXT PRIMARY KEY, made_at REAL NOT NULL, until REAL);
"""
_LOG_KEPT: Final = 100_000
# Only the first of a lane may go; what waits for its next attempt holds back those behind it.
_DUE: Final = """
SELECT key, item, attempts, first_at, next_at FROM letter
WHERE next_at <= ? AND place = (SELECT min(place) FROM letter AS other WHERE other.lane = letter.lane)
"""


class Waiting(NamedTuple):
    """A message in line. Instants are seconds since 1970; `first_at` is of the first attempt, None before it."""

    item: Item
    letter: Letter
    attempts: int
    first_at: float | None
    next_at: float


class Delivery(NamedTuple):
    """One attempt, as the log has it: which message, the how many-th attempt it was, and what came of it."""

    at: str
    id: str
    key: str
    attempt: int
    outcome: str


class Line:
    """The messages of one endpoint, in order."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # What is deleted must not be legible in the file any more.
        connection.execute("PRAGMA secure_delete = ON")
        connection.executescript(_SCHEMA)

    def put(self, items: Iterable[Item]) -> None:
        """Put messages at the end of the line, but none that was told already, or is followed by a later one.

        A later message takes the place of one of the same key, as if nothing had been attempted.
        """
        with self._connection as connection:
            for item in items:
                letter = read_letter(item)
                connection.execute(
                    "INSERT INTO letter (key, lane, number, item) SELECT ?1, ?2, ?3, ?4"
                    " WHERE NOT EXISTS (SELECT 1 FROM told WHERE key = ?1 AND number >= ?3)"
                    " ON CONFLICT (key) DO UPDATE SET number = excluded.number, item = excluded.item, attempts = 0,"
                    " first_at = NULL, next_at = 0 WHERE letter.number < excluded.number",
                    (letter.key, letter.lane, letter.number, _encode(item)),
                )

    def due(self, now: float, limit: int = 100) -> list[Waiting]:
        """Return messages that may be attempted now, the oldest first."""
        return [_waiting(row) for row in self._connection.execute(f"{_DUE} ORDER BY place LIMIT ?", (now, limit))]

    def due_one(self, key: str, now: float) -> Waiting | None:
        """Return the message of a key if it may be attempted now."""
        found = self._connection.execute(f"{_DUE} AND key = ?", (now, key)).fetchone()
        return None if found is None else _waiting(found)

    def delivered(self, one: Waiting, now: datetime, outcome: str) -> None:
        """Take a message out of the line: it has arrived."""
        letter = one.letter
        with self._connection as connection:
            connection.execute("DELETE FROM letter WHERE key = ? AND number = ?", (letter.key, letter.number))
            connection.execute(
                "INSERT INTO told VALUES (?1, ?2, ?3)"
                " ON CONFLICT (key) DO UPDATE SET number = max(number, ?2), at = ?3",
                (letter.key, letter.number, now.timestamp()),
            )
            self._log(one, now, outcome)

    def failed(self, one: Waiting, now: datetime, outcome: str, next_at: float | None) -> None:
        """Note an attempt that failed, and when the next is due; None: there is none, it leaves the line."""
        with self._connection as connection:
            if next_at is None:
                connection.execute("DELETE FROM letter WHERE key = ?", (one.letter.key,))
            else:
                connection.execute(
                    "UPDATE letter SET attempts = attempts + 1, first_at = coalesce(first_at, ?), next_at = ?"
                    " WHERE key = ?",
                    (now.timestamp(), next_at, one.letter.key),
                )
            self._log(one, now, outcome)

    def _log(self, one: Waiting, now: datetime, outcome: str) -> None:
        self._connection.execute(
            "INSERT INTO delivery (at, id, key, attempt, outcome) VALUES (?, ?, ?, ?, ?)",
            (rfc3339(now), one.letter.id, one.letter.key, one.attempts + 1, outcome),
        )
        self._connection.execute(
            "DELETE FROM delivery WHERE place <= (SELECT max(place) FROM delivery) - ?", (_LOG_KEPT,)
        )

    def log(self, limit: int) -> list[Delivery]:
        """Return the newest attempts, the newest last."""
        found = self._connection.execute(
            "SELECT at, id, key, attempt, outcome FROM delivery ORDER BY place DESC LIMIT ?", (limit,)
        ).fetchall()
        return [Delivery(*row) for row in reversed(found)]

    def is_told(self, letter: Letter) -> bool:
        """Tell whether this message, or a later one of its key, has arrived."""
        found = self._connection.execute(
            "SELECT 1 FROM told WHERE key = ? AND number >= ?", (letter.key, letter.number)
        ).fetchone()
        return found is not None

    def forget(self, before: float) -> None:
        """Forget which single messages about persons were told so long ago that their topic has them no more."""
        with self._connection as connection:
            connection.execute("DELETE FROM told WHERE at < ? AND key GLOB 'person/*'", (before,))

    def holds(self, letter: Letter) -> bool:
        """Tell whether this message, or a later one of its key, is in line."""
        found = self._connection.execute(
            "SELECT 1 FROM letter WHERE key = ? AND number >= ?", (letter.key, letter.number)
        ).fetchone()
        return found is not None

    def count(self) -> int:
        """Return how many messages are in line."""
        with closing(self._connection.execute("SELECT count(*) FROM letter")) as found:
            count: int = found.fetchone()[0]
        return count

    def partitions(self) -> set[int]:
        """Return the partitions of which a refusal is in line."""
        items = (_decode(row[0]) for row in self._connection.execute("SELECT item FROM letter"))
        return {partition for item in items if item.refusal for partition in item.partitions}

    # -- secrets

    def secrets(self, now: float) -> list[str]:
        """Return the secrets that are good now, the newest first; those that are over are destroyed."""
        found = self._connection.execute("SELECT value, until FROM secret ORDER BY made_at DESC").fetchall()
        good = [value for value, until in found if until is None or until > now]
        if len(good) < len(found):
            self._destroy(now)
        return good

    def _destroy(self, now: float) -> None:
        with self._connection as connection:
            connection.execute("DELETE FROM secret WHERE until <= ?", (now,))
        # The log of SQLite has pages as they were before.
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def renew(self, secret: str, now: float, overlap: float) -> None:
        """Let a new secret be the one, and those before it for so many seconds beside it."""
        with self._connection as connection:
            connection.execute("UPDATE secret SET until = min(coalesce(until, ?1), ?1)", (now + overlap,))
            connection.execute("INSERT INTO secret VALUES (?, ?, NULL)", (secret, now))
        self._destroy(now)


def item_of(letter: Letter, partitions: tuple[int, ...] = ()) -> Item:
    """Give a message the form in which connectors pass it on."""
    return Item(key=letter.key, value=_encode_letter(letter), refusal=letter.refusal, partitions=partitions)


def read_letter(item: Item) -> Letter:
    """Take a message out of that form."""
    return _decode_letter(item.value)


def _waiting(row: tuple[str, bytes, int, float | None, float]) -> Waiting:
    item = _decode(row[1])
    return Waiting(item, read_letter(item), *row[2:])


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Item).decode
_encode_letter: Final = msgspec.msgpack.Encoder().encode
_decode_letter: Final = msgspec.msgpack.Decoder(Letter).decode
