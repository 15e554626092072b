"""A person's entries at one controller, decrypted, for an officer who may see them."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag

from consent_ledger.domain.events import read_body
from consent_ledger.domain.leaf import SALT_BYTES
from consent_ledger.runtime.keys import KeyEncryptionKeys, decrypt
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import keys, statements

_SQL = statements.load(__file__)
_decode = msgspec.json.Decoder(dict[str, Any]).decode

Place = tuple[int, int]


class Named(NamedTuple):
    """One identifier of an entry, as the controller knows it."""

    role: str
    type: str
    shared: bool
    hash: bytes


class Line(NamedTuple):
    """An entry as one controller may see it.

    `opening`: the salt and the canonical personal fields, whose SHA-256 is the entry's commitment (`domain.leaf`);
    None: this controller holds none that can be read. `kept`: somebody's were kept when it was recorded.
    """

    shard: int
    pos: int
    event_id: UUID
    type: str
    occurred_at: datetime
    recorded_at: datetime
    register_version: int
    body: dict[str, Any]
    identifiers: tuple[Named, ...]
    opening: bytes | None
    kept: bool

    @property
    def personal(self) -> dict[str, Any] | None:
        """The personal fields, if they can be read."""
        return None if self.opening is None else dict(_decode(self.opening[SALT_BYTES:]))

    @property
    def place(self) -> Place:
        """Where it stands."""
        return (self.shard, self.pos)


class Recorded(NamedTuple):
    """Where an event became an entry."""

    shard: int
    position: int
    recorded_at: datetime


class InQuarantine(msgspec.Struct, frozen=True):
    """A record in quarantine that came under the id of an event."""

    shard: int
    offset: int
    reason: str


async def lines(
    connection: Connection, keks: KeyEncryptionKeys, controller: str, places: Collection[Place]
) -> list[Line]:
    """Return entries, the oldest recording first, with what this controller holds of them and nothing else."""
    if not places:
        return []
    columns = [list(column) for column in zip(*places, strict=True)]
    rows = await connection.fetch(_SQL["lines"], *columns, controller)
    named: dict[Place, list[Named]] = {}
    for row in await connection.fetch(_SQL["subjects"], *columns, controller):
        named.setdefault((row["shard"], row["pos"]), []).append(Named(*row[2:]))
    persons = {row["person"] for row in rows if row["person"] is not None}
    found = await keys.keys_of_persons(connection, keks, persons)
    return [
        Line(
            shard=row["shard"],
            pos=row["pos"],
            event_id=row["event_id"],
            type=row["type"],
            occurred_at=row["occurred_at"],
            recorded_at=row["recorded_at"],
            register_version=row["register_version"],
            body=read_body(row["body"]),
            identifiers=tuple(named.get((row["shard"], row["pos"]), ())),
            opening=_opened(found.get(row["person"]), row["ciphertext"], row["event_id"], controller),
            kept=row["kept"],
        )
        for row in rows
    ]


def _opened(key: bytes | None, ciphertext: bytes | None, event_id: UUID, controller: str) -> bytes | None:
    """Decrypt personal fields; None when the key is gone, or never fitted."""
    if key is None or ciphertext is None:
        return None
    try:
        return decrypt(key, ciphertext, keys.payload_context(event_id, controller))
    except InvalidTag:
        return None


async def looks(connection: Connection, hashes: Iterable[bytes]) -> list[Place]:
    """Return the places of the looks at these identifiers."""
    return [(row[0], row[1]) for row in await connection.fetch(_SQL["looks"], list(hashes))]


async def place(connection: Connection, event_id: UUID) -> Recorded | None:
    """Return where an event became an entry; None when it has not, or not yet."""
    row = await connection.fetchrow(_SQL["place"], event_id)
    return None if row is None else Recorded(*row)


async def request_names(connection: Connection, places: Collection[Place]) -> dict[Place, bytes]:
    """Return the names under which these requests were received."""
    if not places:
        return {}
    columns = [list(column) for column in zip(*places, strict=True)]
    return {(row[0], row[1]): UUID(row[2]).bytes for row in await connection.fetch(_SQL["request_names"], *columns)}


async def waiting(connection: Connection, references: Sequence[tuple[UUID, int, int]]) -> dict[Place, UUID]:
    """Return which of these entries (event referred to, shard, position) wait for the event they refer to."""
    if not references:
        return {}
    columns = [list(column) for column in zip(*references, strict=True)]
    return {(row[0], row[1]): row[2] for row in await connection.fetch(_SQL["waiting"], *columns)}


async def quarantined(connection: Connection, event_ids: Collection[UUID]) -> dict[UUID, list[InQuarantine]]:
    """Return the records in quarantine that came under the ids of these events."""
    found: dict[UUID, list[InQuarantine]] = {}
    for row in await connection.fetch(_SQL["quarantined"], list(event_ids)):
        found.setdefault(row[0], []).append(InQuarantine(*row[1:]))
    return found


async def reads(connection: Connection, since: datetime | None, until: datetime | None) -> list[Place]:
    """Return the places of all looks that were recorded from an instant on and before another, in that order."""
    return [(row[0], row[1]) for row in await connection.fetch(_SQL["reads"], since, until)]
