"""What people at the desk do: looks at quarantined records, what became of them, voidings proposed to a second person.

What a person says there is encrypted, like the records themselves, under the key of the quarantine.
"""

import hmac
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec

from consent_ledger.runtime.keys import KeyEncryptionKeys, KeyUnavailableError, decrypt, encrypt, unwrap
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)
_RECORD = b"quarantine"
_DESK = b"desk"


class Quarantined(NamedTuple):
    """A record in quarantine. `position`: its entry, where a malformed refusal has one."""

    shard: int
    offset: int
    reason: str
    detail: str
    event_id: UUID | None
    position: int | None
    recorded_at: datetime
    record: bytes


class Original(NamedTuple):
    """The record as it came. `timestamp`: of Kafka, in milliseconds."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str | bytes, bytes | None]]
    timestamp: int


class Proposal(NamedTuple):
    """A voiding that waits for a second person; `event_id` is what the voiding will have."""

    event_id: UUID
    source: str
    proposed_at: datetime
    entered_by: str
    reason: str


class Desk:
    """Reads and writes with an officer's rights; `key` is that of the quarantine."""

    def __init__(self, connection: Connection, key: bytes) -> None:
        self._connection = connection
        self._key = key

    @classmethod
    async def open(cls, connection: Connection, keks: KeyEncryptionKeys) -> "Desk":
        """Take the key of the quarantine. Raises `KeyUnavailableError`."""
        row = await connection.fetchrow(_SQL["service_key"])
        if row is None:
            raise KeyUnavailableError("nothing was ever recorded here, so there is no key of the quarantine")
        return cls(connection, unwrap(await keks.key(row["kek"]), row["wrapped"]))

    async def record(self, topic: str, partition: int, offset: int) -> Quarantined | None:
        """Return the record in quarantine that came at a place of Kafka."""
        row = await self._connection.fetchrow(_SQL["record"], topic, partition, offset)
        return None if row is None else Quarantined(*row)

    async def look(self, record: Quarantined, event_id: UUID, *, viewer: str, reason: str) -> str:
        """Keep who looks and why for the entry of the look; returns the digest of both and the record, keyed."""
        said = {"viewer": viewer, "reason": reason}
        row = (record.shard, record.offset, self._seal(said), event_id)
        await self._connection.execute(_SQL["add_look"], *row)
        content = msgspec.msgpack.encode((viewer, reason, record.record))
        return "hmac-sha256:" + hmac.digest(self._key, content, "sha256").hex()

    def original(self, record: Quarantined) -> Original:
        """Decrypt a record, once the look at it is on record."""
        return Original(*msgspec.msgpack.decode(decrypt(self._key, record.record, _RECORD)))

    async def looks(self, event_ids: Collection[UUID]) -> dict[UUID, dict[str, str]]:
        """Return who looked (`viewer`) at records in quarantine and why (`reason`), by the event of the look."""
        rows = await self._connection.fetch(_SQL["looks"], list(event_ids))
        return {
            row["event_id"]: msgspec.msgpack.decode(decrypt(self._key, row["said"], _DESK), type=dict[str, str])
            for row in rows
        }

    async def resolve(
        self, record: Quarantined, outcome: Literal["corrected", "voided"], event_id: UUID, said: Mapping[str, str]
    ) -> None:
        """Note which event settles a record."""
        sealed = self._seal(said)
        await self._connection.execute(
            _SQL["add_resolution"], record.shard, record.offset, outcome, event_id, sealed
        )  # fmt: skip

    async def resolve_entry(
        self, place: tuple[int, int], voided: UUID, event_id: UUID, said: Mapping[str, str]
    ) -> None:
        """Note that the record beside a voided entry is settled, if there is one."""
        await self._connection.execute(_SQL["resolve_entry"], *place, event_id, self._seal(said), voided)

    async def propose(self, voids: UUID, event_id: UUID, source: str, *, entered_by: str, reason: str) -> None:
        """Keep a voiding for a second person to approve; a later proposal takes the place of an earlier one."""
        said = self._seal({"entered_by": entered_by, "reason": reason})
        await self._connection.execute(_SQL["add_proposal"], voids, event_id, source, said)

    async def proposal(self, voids: UUID) -> Proposal | None:
        """Return the last proposal to void an event."""
        row = await self._connection.fetchrow(_SQL["proposal"], voids)
        if row is None:
            return None
        said = msgspec.msgpack.decode(decrypt(self._key, row["said"], _DESK), type=dict[str, str])
        return Proposal(row["event_id"], row["source"], row["proposed_at"], said["entered_by"], said["reason"])

    def _seal(self, said: Mapping[str, str]) -> bytes:
        return encrypt(self._key, msgspec.msgpack.encode(dict(said)), _DESK)
