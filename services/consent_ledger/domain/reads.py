"""The read log: who was shown whose data, when and why, from the entries that record it."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import msgspec

from consent_ledger.domain.access import Place

FORMAT: Final = "urn:consent-ledger:export:reads:1"


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """One look, by its entry.

    `actor` and `reason`: null where they cannot be read, for the person was erased or had no key; of looks at records
    in quarantine they stand beside the ledger. `subject`: the keyed hash of the identifier; null where the look names
    an event (`event`) or a record (`record`). `digest`: of what was shown.
    """

    event_id: UUID
    recorded_at: datetime
    place: Place
    controller: str | None
    actor: str | None
    reason: str | None
    subject: str | None
    event: str | None
    record: str | None
    api_key: str | None
    shown: int
    digest: str


class Reads(msgspec.Struct, frozen=True, kw_only=True):
    """Looks in the order of recording. `actor`, `since`, `until`, `controller`: what was asked for; null: all."""

    format: Literal["urn:consent-ledger:export:reads:1"]
    made_at: datetime
    controller: str | None
    actor: str | None
    since: datetime | None
    until: datetime | None
    reads: list[Read]
