"""From the bytes of a record to an event, or to the reason why it is none.

A permission that is not quite right is rejected, and says so to its publisher. A refusal is never dropped: malformed
but readable, it becomes an objection in the widest sense by whatever identifiers it names (domain.md 4.1).
"""

import uuid
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from consent_ledger.domain import cloudevents, privacy, refusals
from consent_ledger.domain.catalogue import CONTROL_TYPES, FIVE_REFUSALS, KINDS, SHAPES, IdentifierChanged, Kind
from consent_ledger.domain.cloudevents import KafkaHeaders
from consent_ledger.domain.errors import Flaw, IdentifierError, MalformedError
from consent_ledger.domain.event_parts import MAX_IDENTIFIERS, Fields, Said
from consent_ledger.domain.identifiers import Identifier, normalise, normalise_or_raw
from consent_ledger.domain.service_events import SubjectViewed

__all__ = [
    "CONTROL_TYPES",
    "FIVE_REFUSALS",
    "KINDS",
    "RAW_IDENTIFIER",
    "Event",
    "Rejection",
    "body_bytes",
    "canonical",
    "content",
    "decode",
    "personal_bytes",
    "read_body",
    "unproved",
    "written",
]

RAW_IDENTIFIER: Final = "RAW_IDENTIFIER"
"""The warning of a refusal that binds a value which could not be normalised."""

_BODY_FORMAT: Final = 1
_ALL: Final = "all"
_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode

Identifiers = tuple[tuple[str, Identifier], ...]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What a publisher said, checked for its form, in the parts in which the ledger keeps it.

    `identifiers` come with their role: subject, old, new, viewed. `controllers` are as named, maybe none; "all" stands
    for itself. `references` are ids of other events. `body` holds what is not personal, `personal` the rest, as given.
    `occurred_at` None: nobody said, so it is the instant of recording. `warning`: recorded, but somebody should look.
    """

    id: uuid.UUID
    type: str
    source: str
    occurred_at: datetime | None
    identifiers: Identifiers
    controllers: tuple[str, ...]
    references: tuple[uuid.UUID, ...]
    body: dict[str, Any]
    personal: dict[str, Any]
    warning: str | None = None


class Rejection(msgspec.Struct, frozen=True):
    """Why a record is no entry as it came. Neither part ever contains a value of the record."""

    reason: str
    detail: str
    event_id: uuid.UUID | None = None


def decode(
    key: bytes | None,  # noqa: ARG001 - a record's key decides its partition and says nothing about the event
    value: bytes | None,
    headers: KafkaHeaders,
) -> Event | Rejection | tuple[Event, Rejection]:
    """Make an event of a Kafka record, or say why not; never raises.

    Both together are a malformed refusal: the synthetic objection that suppresses, and what was wrong.
    """
    try:
        if headers and cloudevents.is_replay(headers):
            # Also a refusal: it was recorded when it came, and what it said then is what counts.
            return Rejection("REPLAYED", "the record is marked as a replay of what was recorded before")
        event, flaw = cloudevents.from_kafka(value, headers)
        if flaw is None:
            try:
                return _event(event)
            except MalformedError as error:
                flaw = error.flaw
        return _rejected(event, flaw)
    except Exception as error:  # noqa: BLE001 - a fault of ours in one record must not stop the shard
        return Rejection("UNREADABLE", f"{type(error).__name__} while reading the record")


def _event(said: Any) -> Event:
    envelope = cloudevents.envelope(said)
    kind = KINDS.get(envelope.type)
    if kind is None:
        raise MalformedError("UNKNOWN_TYPE", "the type is not in the catalogue of events")
    data = envelope.data
    fields = _fields(data, envelope.type)
    identifiers, warning = _identifiers(fields, kind)
    places = privacy.PLACES[envelope.type]
    body, personal = privacy.split(data, places)
    body["source"] = envelope.source
    body["personal"] = sorted(personal)
    if envelope.dataschema is not None:
        body["dataschema"] = envelope.dataschema
    controllers = fields.controllers
    time = envelope.time
    return Event(
        id=envelope.id,
        type=envelope.type,
        source=envelope.source,
        occurred_at=time if time.tzinfo is UTC else cloudevents.utc(time),
        identifiers=identifiers,
        controllers=() if controllers is None else (_ALL,) if controllers == _ALL else tuple(controllers),
        references=privacy.references(body, places) if places.references else (),
        body=body,
        personal=personal,
        warning=warning,
    )


def _fields(data: dict[str, Any], type: str) -> Fields:
    subject = data.get("subject")
    if isinstance(subject, list) and len(subject) > MAX_IDENTIFIERS:
        raise MalformedError("TOO_MANY_IDENTIFIERS", f"data.subject has more than {MAX_IDENTIFIERS} identifiers")
    try:
        return msgspec.convert(data, SHAPES[type])
    except msgspec.ValidationError as error:
        raise MalformedError("BAD_FIELD", cloudevents.explain(str(error), "data")) from None


def _identifiers(fields: Fields, kind: Kind) -> tuple[Identifiers, str | None]:
    role = "viewed" if isinstance(fields, SubjectViewed) else "subject"
    given: list[tuple[str, Said]] = [(role, said) for said in fields.subject or ()]
    if isinstance(fields, IdentifierChanged):
        given += [("old", fields.old), ("new", fields.new)]
    found = [(role, _identifier(role, said, kind)) for role, said in given]
    if len(found) > 1:
        found = list(dict.fromkeys(found))
    warning = RAW_IDENTIFIER if any(identifier.raw for _, identifier in found) else None
    return tuple(found), warning


def _identifier(role: str, said: Said, kind: Kind) -> Identifier:
    """Refuse a permission for an unreadable address; anything else binds the value as it is (domain.md 5)."""
    shared = said.shared is True
    if kind != "P":
        value, raw = normalise_or_raw(said.type, said.value)
        if value:
            return Identifier(type=said.type, value=value, shared=shared, raw=raw)
    try:
        return Identifier(type=said.type, value=normalise(said.type, said.value), shared=shared)
    except IdentifierError as error:
        raise MalformedError("BAD_IDENTIFIER", f"data.{role}, {said.type}: {error}") from None


def _rejected(said: Any, flaw: Flaw) -> Rejection | tuple[Event, Rejection]:
    own_id = refusals.read_id(said)
    identifiers = refusals.read_identifiers(said) if refusals.is_refusal(said) else ()
    if not identifiers:
        return Rejection(flaw.reason, flaw.detail, own_id)
    event_id = own_id or refusals.make_id(said)
    source = refusals.read_source(said)
    subject = [{"type": identifier.type, "value": identifier.value} for identifier in identifiers]
    event = Event(
        id=event_id,
        type="objection-raised",
        source=source,
        occurred_at=refusals.read_time(said),
        identifiers=tuple(("subject", identifier) for identifier in identifiers),
        controllers=(),
        references=(),
        body={"source": source, "malformed": True, "personal": ["entered_by", "subject"]},
        # Two people can void it, as if staff had typed it (domain.md 6.3).
        personal={"entered_by": "ledger", "subject": subject},
        warning=flaw.reason,
    )
    return event, Rejection(flaw.reason, flaw.detail, event_id)


def unproved(event: Event, flaw: Flaw) -> Rejection | tuple[Event, Rejection]:
    """Make of an event that may not be its source's what the ledger makes of it; the flaw says why it may not be.

    One of the five refusals suppresses what it says, no more, as if staff had typed it: two people can void it, and it
    links nobody. Anything else is no entry.
    """
    rejection = Rejection(flaw.reason, flaw.detail, event.id)
    if event.type not in FIVE_REFUSALS:
        return rejection
    personal = {**event.personal, "entered_by": "ledger"}
    body = {**event.body, "malformed": True, "personal": sorted(personal)}
    return msgspec.structs.replace(event, body=body, personal=personal, warning=flaw.reason), rejection


# -- bytes


def canonical(value: Any) -> bytes:
    """Write a value as the one JSON text it has here: keys sorted by code point, no spaces, UTF-8, no floats.

    Raises ValueError for a float, which two programs may write differently.
    """
    if _has_float(value):
        raise ValueError("a float has no canonical form")
    return _encode(value)


def _has_float(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_float, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_float, value))
    return isinstance(value, float)


def body_bytes(event: Event) -> bytes:
    """Write the body as the ledger keeps it for ever: `[format number, body]`, canonical."""
    # What was decoded holds no floats: numbers with a fraction are texts there.
    return _encode((_BODY_FORMAT, event.body))


def read_body(written: bytes) -> dict[str, Any]:
    """Read what `body_bytes` wrote; raises ValueError for a format from the future."""
    number, body = _decode(written)
    if number != _BODY_FORMAT:
        raise ValueError(f"unknown format of a body: {number}")
    return dict(body)


def personal_bytes(event: Event) -> bytes:
    """Write the personal fields, canonical."""
    return _encode(event.personal)


def content(event: Event) -> bytes:
    """Write everything that was said, but the id: equal for the same content in any mode and order of keys."""
    return _joined(event, _encode(event.body), _encode(event.personal))


def written(event: Event) -> tuple[bytes, bytes, bytes]:
    """Write body, personal fields and content at once: what `body_bytes`, `personal_bytes` and `content` write."""
    body, personal = _encode(event.body), _encode(event.personal)
    return b"[%d,%b]" % (_BODY_FORMAT, body), personal, _joined(event, body, personal)


def _joined(event: Event, body: bytes, personal: bytes) -> bytes:
    head = _encode((event.type, event.source, event.occurred_at))
    return b"%b,%b,%b]" % (head[:-1], body, personal)
