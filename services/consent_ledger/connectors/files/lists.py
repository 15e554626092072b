"""What a files connector keeps on disk: which addresses there are, what its lists say of them, and the files made.

Tables in the connector's own file. What a file says is remembered in the transaction that remembers the file, before
anybody gets it: whoever is killed in between hands out that same file again, never another of its number.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from consent_ledger.domain.published import Hash

Pair = tuple[str, str]
"""Purpose and channel."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS address (
    hash BLOB PRIMARY KEY, controller TEXT NOT NULL, type TEXT NOT NULL, shown TEXT, dirty INTEGER NOT NULL DEFAULT 1,
    due INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS address_dirty ON address (dirty) WHERE dirty = 1;
CREATE INDEX IF NOT EXISTS address_due ON address (due) WHERE due IS NOT NULL;
CREATE TABLE IF NOT EXISTS line (
    hash BLOB NOT NULL, purpose TEXT NOT NULL, channel TEXT NOT NULL, PRIMARY KEY (hash, purpose, channel)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS file (
    sequence INTEGER PRIMARY KEY, kind TEXT NOT NULL, manifest BLOB NOT NULL, delivered INTEGER NOT NULL DEFAULT 0
);
"""
_PAGE: Final = 2_000
_COLUMNS: Final = "hash, controller, type, shown"


_FILE: Final = r"^[0-9]{12}-(full|increment)-[0-9]{8}T[0-9]{6}Z\.csv$"


class Address(NamedTuple):
    """An address by its keyed hash. `shown`: what stands for it in a list, None where the keyed hash does."""

    hash: bytes
    controller: str
    type: str
    shown: str | None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What stands beside each file of a list, written after it.

    `sequence` rises by one from file to file, full or not. `complete_until`: every refusal that the ledger was told
    before is in the list. `sha256` is of the file, `previous` of the one before. `unlisted`: by controller, purpose and
    channel, whether an address with nothing on record may be used; being on no list is no permission where it may not.
    """

    sequence: Annotated[int, Meta(ge=1)]
    kind: Literal["full", "increment"]
    file: Annotated[str, Meta(pattern=_FILE)]
    sha256: Hash
    rows: Annotated[int, Meta(ge=0)]
    complete_until: datetime
    made_at: datetime
    previous: Hash | None
    hashes: Literal["keyed", "sha256"]
    unlisted: dict[str, dict[str, dict[str, bool]]]


class Lists:
    """The addresses of one connector, what its lists say, and its files."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        connection.executescript(_SCHEMA)

    # -- addresses

    def learn(self, addresses: Iterable[Address]) -> None:
        """Take in addresses that have a record; those that are known stay as they are."""
        with self.connection as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO address (hash, controller, type, shown) VALUES (?, ?, ?, ?)", list(addresses)
            )

    def show(self, contacts: Iterable[Address]) -> None:
        """Take in contacts of a tool: from now on these are listed too, for ever."""
        self.connection.executemany(
            "INSERT INTO address (hash, controller, type, shown) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (hash) DO UPDATE SET shown = excluded.shown, dirty = 1 WHERE shown IS NULL",
            list(contacts),
        )

    def touch(self, hashes: Collection[bytes] | None) -> None:
        """Have these addresses judged anew; None: all."""
        if hashes is None:
            self.connection.execute("UPDATE address SET dirty = 1")
        else:
            self.connection.executemany("UPDATE address SET dirty = 1 WHERE hash = ?", [(one,) for one in hashes])

    def pages(self, *, due_at: int | None = None, shown: bool) -> Iterator[list[Address]]:
        """Give all addresses, or those that must be judged anew at an instant, page by page.

        `shown`: only those that something stands for in a list.
        """
        last = b""
        wanted = "" if due_at is None else " AND (dirty = 1 OR due <= :at)"
        only = " AND shown IS NOT NULL" if shown else ""
        statement = f"SELECT {_COLUMNS} FROM address WHERE hash > :last{wanted}{only} ORDER BY hash LIMIT {_PAGE}"  # noqa: S608
        while True:
            found = self.connection.execute(statement, {"last": last, "at": due_at}).fetchall()
            if not found:
                return
            page = [Address(*row) for row in found]
            yield page
            last = page[-1].hash

    def is_due(self, hash_: bytes, at: int) -> bool:
        """Tell whether an address must be judged anew."""
        found = self.connection.execute(
            "SELECT 1 FROM address WHERE hash = ? AND (dirty = 1 OR due <= ?)", (hash_, at)
        ).fetchone()
        return found is not None

    # -- lines

    def listed(self, hash_: bytes) -> set[Pair]:
        """Return for what an address is on the list."""
        return set(self.connection.execute("SELECT purpose, channel FROM line WHERE hash = ?", (hash_,)))

    def judge(self, hash_: bytes, added: Collection[Pair], removed: Collection[Pair], due: int | None) -> None:
        """Remember what the list says of an address, and when time alone may change it (microseconds)."""
        self.connection.executemany("INSERT INTO line VALUES (?, ?, ?)", [(hash_, *one) for one in added])
        self.connection.executemany(
            "DELETE FROM line WHERE hash = ? AND purpose = ? AND channel = ?", [(hash_, *one) for one in removed]
        )
        self.connection.execute("UPDATE address SET dirty = 0, due = ? WHERE hash = ?", (due, hash_))

    # -- files

    def last(self, kind: str | None = None) -> Manifest | None:
        """Return the manifest of the newest file, of a kind if one is given."""
        found = self.connection.execute(
            "SELECT manifest FROM file WHERE kind = coalesce(?, kind) ORDER BY sequence DESC LIMIT 1", (kind,)
        ).fetchone()
        return None if found is None else _decode(found[0])

    def made(self, manifest: Manifest) -> None:
        """Remember a file that has yet to be handed out."""
        self.connection.execute(
            "INSERT INTO file (sequence, kind, manifest) VALUES (?, ?, ?)",
            (manifest.sequence, manifest.kind, msgspec.json.encode(manifest)),
        )

    def undelivered(self) -> list[Manifest]:
        """Return the files that have yet to be handed out, in order."""
        rows = self.connection.execute("SELECT manifest FROM file WHERE delivered = 0 ORDER BY sequence")
        return [_decode(row[0]) for row in rows]

    def delivered(self, sequence: int) -> None:
        """Remember that a file is where it belongs."""
        with self.connection as connection:
            connection.execute("UPDATE file SET delivered = 1 WHERE sequence = ?", (sequence,))

    def outdated(self, keep: int) -> list[Manifest]:
        """Return the files before the oldest of so many full lists that are kept."""
        rows = self.connection.execute(
            "SELECT manifest FROM file WHERE delivered = 1 AND sequence < (SELECT sequence FROM file"
            " WHERE kind = 'full' AND delivered = 1 ORDER BY sequence DESC LIMIT 1 OFFSET ?)",
            (keep - 1,),
        )
        return [_decode(row[0]) for row in rows]

    def forget(self, sequence: int) -> None:
        """Forget a file that was taken away."""
        with self.connection as connection:
            connection.execute("DELETE FROM file WHERE sequence = ?", (sequence,))


_decode: Final = msgspec.json.Decoder(Manifest).decode
