"""The shapes of what is published: the records of the suppressions topic, as a reader may rely on them."""

from datetime import datetime
from typing import Annotated, Literal

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
