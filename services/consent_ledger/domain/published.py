"""The shapes of what is published: the records of the topics that the ledger writes, as a reader may rely on them."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from consent_ledger.domain.suppression import Answers

Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Number = Annotated[int, Meta(ge=0)]


class Closed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A shape of which every member is named."""


class Identifier(Closed, frozen=True, kw_only=True):
    """An address by its keyed hash: HMAC-SHA-256(key of the controller, type|normalised value). `kid`: of the key."""

    type: Literal["email", "phone", "postal", "device", "customer_no", "account_id"]
    hash: Hash
    kid: str


class Place(Closed, frozen=True, kw_only=True):
    """A place in the ledger; it orders nothing."""

    shard: Number
    position: Number


class AddressRecord(Closed, frozen=True, kw_only=True):
    """All decisions about one address, by purpose and channel.

    `version` rises per key for ever. `register`: the version they were made under. A purpose that is not there, a
    passed `valid_until`, a decision older than the purpose needs: no.
    """

    controller: str
    identifier: Identifier
    position: Place
    version: Number
    recorded_at: datetime
    register: Number
    decisions: Answers


class PurposesRecord(Closed, frozen=True, kw_only=True):
    """What holds at a controller for an address with nothing on record.

    `check`: HMAC-SHA-256(key, "check"). `needs`: purpose to the oldest register version whose decisions still count.
    """

    controller: str
    kid: str
    check: Hash
    version: Number
    register: Number
    needs: dict[str, Number]
    decisions: Answers


class CallRegisterRecord(Closed, frozen=True, kw_only=True):
    """How fresh a do-not-call register is: from `valid_until` on no yes that needs it counts."""

    register: str
    version: Number
    snapshot_at: datetime
    valid_until: datetime


class WatermarkRecord(Closed, frozen=True, kw_only=True):
    """Everything that Kafka held at `instant` is in the ledger, in the view and on this partition."""

    instant: datetime
    seq: Number
    epoch: Number


class EntryTold(Closed, frozen=True, kw_only=True):
    """An entry without what is personal in it. `purposes` or `channels` null: none were named.

    `occurred_at` is what the source says; `recorded_at` orders what the ledger knew when.
    """

    id: UUID
    shard: Number
    position: Number
    type: str
    source: str
    occurred_at: datetime
    recorded_at: datetime
    purposes: list[str] | None
    channels: list[str] | None


class AddressTold(Closed, frozen=True, kw_only=True):
    """An address whose record has changed, as it is now: `version` and `decisions` are those of its record."""

    type: Literal["email", "phone", "postal", "device", "customer_no", "account_id"]
    hash: Hash
    kid: str
    version: Number
    register: Number
    decisions: Answers


class ChangeRecord(Closed, frozen=True, kw_only=True):
    """What the ledger has learnt of one person at one controller, and which decisions have changed by it.

    `dossier` names the person at this controller until another takes it in, which says so by `merged_from`; the key is
    `controller/dossier`. `entry` null: time, the register or retention has changed something. `seq` rises for each key;
    a record may come twice. Of several entries that came at once, the last tells what all of them have changed.
    """

    controller: str
    dossier: Number
    merged_from: list[Number]
    seq: Number
    entry: EntryTold | None
    addresses: list[AddressTold]


def change_key(controller: str, dossier: int) -> bytes:
    """Key of a person at a controller on the changes topic."""
    return f"{controller}/{dossier}".encode()
