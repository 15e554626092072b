"""What webhooks say (Standard Webhooks 1.0.0): the messages, made from the records of the topics, and their shapes.

Nothing here holds an address. A receiver keeps of each key the highest `version` (or `seq`): messages may come twice,
and what was redelivered by hand may come late.
"""

import hashlib
from collections.abc import Collection
from datetime import datetime
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec

from consent_ledger.domain.decision import ADDRESS_OF
from consent_ledger.domain.errors import ConsentError
from consent_ledger.domain.published import AddressRecord, AddressTold, ChangeRecord, Closed, Number, PurposesRecord
from consent_ledger.domain.published import CallRegisterRecord as CallRegister
from consent_ledger.domain.suppression import CALL_REGISTER, PURPOSES, Answers

T = TypeVar("T")


class UnreadableError(ConsentError):
    """A record is none of those that its topic has."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver is told of: controllers, of them purposes and channels; of the latter none named means all."""

    controllers: frozenset[str]
    purposes: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()

    def part(self, decisions: Answers) -> Answers:
        """Leave out what is not for this receiver."""
        return {
            purpose: kept for purpose, channels in decisions.items()
            if (not self.purposes or purpose in self.purposes)
            and (kept := {one: said for one, said in channels.items() if not self.channels or one in self.channels})
        }  # fmt: skip

    def has_type(self, type_: str) -> bool:
        """Tell whether an address of this type can be used over any of the channels."""
        return not self.channels or any(ADDRESS_OF[channel] in (None, type_) for channel in self.channels)


class SuppressionChanged(Closed, frozen=True, kw_only=True):
    """The decisions about one address have changed; these are all that hold now, for this receiver."""

    type: Literal["suppression.changed"] = "suppression.changed"
    timestamp: datetime
    data: AddressRecord


class DefaultsChanged(Closed, frozen=True, kw_only=True):
    """What holds for an address with nothing on record has changed."""

    type: Literal["defaults.changed"] = "defaults.changed"
    timestamp: datetime
    data: PurposesRecord


class OfPartition(CallRegister, frozen=True, kw_only=True):
    """How fresh a do-not-call register is, as far as one partition of addresses goes: the earliest of them counts."""

    partition: Number


class CallRegisterChanged(Closed, frozen=True, kw_only=True):
    """From `valid_until` on no yes counts that needs this do-not-call register."""

    type: Literal["call-register.changed"] = "call-register.changed"
    timestamp: datetime
    data: OfPartition


class Complete(Closed, frozen=True, kw_only=True):
    """An instant up to which a receiver has been told everything."""

    instant: datetime


class SuppressionsComplete(Closed, frozen=True, kw_only=True):
    """Everything the ledger was told until `instant` has been delivered; a receiver who has none of late says no."""

    type: Literal["suppressions.complete"] = "suppressions.complete"
    timestamp: datetime
    data: Complete


class PersonChanged(Closed, frozen=True, kw_only=True):
    """Something was learnt of one person at one controller: an entry, and the decisions that it has changed."""

    type: Literal["person.changed"] = "person.changed"
    timestamp: datetime
    data: ChangeRecord


class Challenge(Closed, frozen=True, kw_only=True):
    """A text that was never sent before."""

    challenge: str


class EndpointChallenge(Closed, frozen=True, kw_only=True):
    """Asks an endpoint to prove that it holds the secret, before it is told of anybody."""

    type: Literal["endpoint.challenge"] = "endpoint.challenge"
    timestamp: datetime
    data: Challenge


class ChallengeAnswer(msgspec.Struct, frozen=True):
    """`signature`: `v1,…` as for a message of the id and timestamp in the headers, but over the challenge alone."""

    signature: str


Message = (
    SuppressionChanged
    | DefaultsChanged
    | CallRegisterChanged
    | SuppressionsComplete
    | PersonChanged
    | EndpointChallenge
)
MESSAGES: Final = (
    SuppressionChanged, DefaultsChanged, CallRegisterChanged, SuppressionsComplete, PersonChanged, EndpointChallenge,
)  # fmt: skip


class Letter(msgspec.Struct, frozen=True):
    """A message on its way. `key`: a later one of the same key takes its place. `lane`: those of one go in order.

    `number` rises for each key. `refusal`: it says no to something, so it must arrive.
    """

    key: str
    lane: str
    number: int
    body: bytes
    refusal: bool

    @property
    def id(self) -> str:
        """The same for the same content, so that a receiver knows again what comes twice."""
        return "msg_" + hashlib.sha256(self.body).hexdigest()[:32]


class Record(NamedTuple):
    """A record of a topic. `at`: when Kafka took it."""

    key: bytes
    value: bytes
    partition: int
    at: datetime


def of_suppression(record: Record, scope: Scope) -> Letter | None:
    """Make the message for a record of the suppressions topic; None: not for this receiver.

    Raises `UnreadableError`.
    """
    key = record.key.decode("utf-8", "replace")
    if key.startswith(f"{PURPOSES}/"):
        return _of_defaults(record, scope)
    if key.startswith(f"{CALL_REGISTER}/"):
        said = _read(record.value, CallRegister)
        register = OfPartition(**msgspec.structs.asdict(said), partition=record.partition)
        name = f"call-register/{_short(record.key)}/{record.partition}"
        return _letter(name, said.version, CallRegisterChanged(timestamp=record.at, data=register), refusal=False)
    found = _read(record.value, AddressRecord)
    if found.controller not in scope.controllers or not scope.has_type(found.identifier.type):
        return None
    data = msgspec.structs.replace(found, decisions=scope.part(found.decisions))
    message = SuppressionChanged(timestamp=found.recorded_at, data=data)
    return _letter(f"address/{_short(record.key)}", found.version, message, refusal=_says_no([data.decisions]))


def _of_defaults(record: Record, scope: Scope) -> Letter | None:
    found = _read(record.value, PurposesRecord)
    if found.controller not in scope.controllers:
        return None
    needs = {name: one for name, one in found.needs.items() if not scope.purposes or name in scope.purposes}
    data = msgspec.structs.replace(found, decisions=scope.part(found.decisions), needs=needs)
    message = DefaultsChanged(timestamp=record.at, data=data)
    return _letter(f"defaults/{found.controller}", found.version, message, refusal=True)


def of_change(record: Record, scope: Scope) -> Letter | None:
    """Make the message for a record of the changes topic; None: not for this receiver. Raises `UnreadableError`."""
    found = _read(record.value, ChangeRecord)
    if found.controller not in scope.controllers or not _concerns(found, scope):
        return None
    data = msgspec.structs.replace(found, addresses=[
        msgspec.structs.replace(one, decisions=scope.part(one.decisions)) for one in _of_types(found.addresses, scope)
    ])  # fmt: skip
    at = record.at if found.entry is None else found.entry.recorded_at
    lane = f"person/{_short(record.key)}"
    refusal = _says_no([one.decisions for one in data.addresses])
    return _letter(f"{lane}/{found.seq}", found.seq, PersonChanged(timestamp=at, data=data), refusal=refusal, lane=lane)


def _concerns(found: ChangeRecord, scope: Scope) -> bool:
    """Tell whether an entry, or what it has changed, is about any of the purposes and channels."""
    if any(scope.part(one.decisions) for one in _of_types(found.addresses, scope)):
        return True
    entry = found.entry
    return entry is not None and _meet(entry.purposes, scope.purposes) and _meet(entry.channels, scope.channels)


def _of_types(addresses: Collection[AddressTold], scope: Scope) -> list[AddressTold]:
    return [one for one in addresses if scope.has_type(one.type)]


def _meet(named: Collection[str] | None, wanted: frozenset[str]) -> bool:
    return named is None or not wanted or not wanted.isdisjoint(named)


def complete(instant: datetime, number: int) -> Letter:
    """Make the message that everything until an instant has been delivered."""
    message = SuppressionsComplete(timestamp=instant, data=Complete(instant=instant))
    return _letter("complete", number, message, refusal=False)


def challenge(text: str, now: datetime) -> bytes:
    """Write the message that asks an endpoint for proof."""
    return _encode(EndpointChallenge(timestamp=now, data=Challenge(challenge=text)))


def _letter(key: str, number: int, message: Message, *, refusal: bool, lane: str | None = None) -> Letter:
    return Letter(key, lane or key, number, _encode(message), refusal)


def _says_no(several: Collection[Answers]) -> bool:
    return any(not said.allow for one in several for channels in one.values() for said in channels.values())


def _short(key: bytes) -> str:
    """Name a key where the keyed hash in it is nobody's business."""
    return hashlib.sha256(key).hexdigest()[:24]


def _read(value: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(value, type=type_)
    except msgspec.MsgspecError as error:
        # Its text may quote the record.
        raise UnreadableError(type(error).__name__) from None


_encode: Final = msgspec.json.Encoder().encode
