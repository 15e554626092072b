"""CloudEvents 1.0 as they come over Kafka and HTTP, in structured, binary and batch mode, and as publishers make them.

Whatever the mode, an event is read as one JSON object: its attributes, and `data`. The attribute `subject` is refused,
because an address there would stand in headers and logs; `datacontenttype` is application/json; `time` has a zone.
Attributes we do not know belong to the transport and are not part of what was said.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote

import msgspec

from consent_ledger.domain import strictjson
from consent_ledger.domain.errors import Flaw, MalformedError
from consent_ledger.domain.strictjson import Reading

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
JSON: Final = "application/json"

REPLAY_HEADER: Final = "consent-replay"
"""The header of records that tell of old entries. Whatever else they say, they are no news and never an event."""

KafkaHeaders = Sequence[tuple[str | bytes, bytes | None]]

# What almost every record comes with.
_STRUCTURED_HEADERS: Final = (("content-type", STRUCTURED.encode()),)
_PREFIX = "ce_"
_HTTP_PREFIX = "ce-"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Source = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """The attributes of an event, and its data unread."""

    specversion: Literal["1.0"]
    id: uuid.UUID
    type: str
    source: Source
    time: Instant
    data: dict[str, Any]
    datacontenttype: str | None = None
    dataschema: Annotated[str, msgspec.Meta(max_length=200)] | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """An event on its way to Kafka: the value and headers of the record."""

    value: bytes
    headers: tuple[tuple[str, bytes], ...]


# -- reading


def from_kafka(value: bytes | None, headers: KafkaHeaders) -> Reading:
    """Read the event of a record as one JSON object; never raises.

    Structured mode unless the headers hold a readable `ce_specversion`, `ce_type` or `ce_id` and the content type
    does not say otherwise. Headers that are no text are passed over.
    """
    if value is None:
        return Reading(None, Flaw("NULL_VALUE", "the record has no value"))
    if headers and tuple(headers) != _STRUCTURED_HEADERS:
        content_type, attributes = _binary(headers)
        if attributes:
            return _assemble(value, content_type, attributes)
    return strictjson.read(value)


def _binary(headers: KafkaHeaders) -> tuple[str | None, list[tuple[str, Any]]]:
    """Give the content type and the attributes of binary mode; no attributes in structured mode."""
    content_type = None
    attributes: list[tuple[str, Any]] = []
    for key, content in headers:
        name = _text(key).lower()
        if name == "content-type":
            content_type = _text(content)
            if media_type(content_type).startswith("application/cloudevents"):
                return content_type, []
        elif name.startswith(_PREFIX) and (text := _text(content)):
            attributes.append((name.removeprefix(_PREFIX), text))
    is_binary = any(name in {"specversion", "type", "id"} for name, _ in attributes)
    return content_type, attributes if is_binary else []


def _assemble(value: bytes, content_type: str | None, attributes: list[tuple[str, Any]]) -> Reading:
    data, flaw = strictjson.read(value, strictjson.MAX_DEPTH - 1)
    event = strictjson.merge(attributes)
    if len(event) < len(attributes):
        flaw = flaw or Flaw("DUPLICATE_KEY", "an attribute is given more than once in the headers")
    event["data"] = data
    event.setdefault("datacontenttype", content_type)
    return Reading(event, flaw)


def is_replay(headers: KafkaHeaders) -> bool:
    """Tell whether a record is marked as a replay."""
    return any(_text(key).lower() == REPLAY_HEADER for key, _ in headers)


def _text(content: str | bytes | None) -> str:
    if isinstance(content, str):
        return content
    try:
        return content.decode() if content else ""
    except UnicodeDecodeError:
        return ""


def media_type(content_type: str | None) -> str:
    """Take a content type without its parameters, lower case."""
    return (content_type or "").partition(";")[0].strip().lower()


def envelope(event: Any) -> Envelope:
    """Check the attributes of an event that was read without a flaw; raises `MalformedError`."""
    try:
        checked = msgspec.convert(event, Envelope)
    except msgspec.ValidationError as error:
        raise MalformedError(*_flaw_of(str(error))) from None
    if "subject" in event:
        raise MalformedError("SUBJECT_ATTRIBUTE", "the attribute subject is not accepted; identifiers belong into data")
    content_type = checked.datacontenttype
    if content_type is not None and content_type != JSON and media_type(content_type) != JSON:
        raise MalformedError("BAD_CONTENT_TYPE", f"datacontenttype is not {JSON}")
    return checked


def _flaw_of(message: str) -> Flaw:
    for attribute, reason in (("id", "BAD_ID"), ("time", "BAD_TIME"), ("type", "UNKNOWN_TYPE")):
        if message.endswith(f"missing required field `{attribute}`"):
            return Flaw("MISSING_ID" if attribute == "id" else reason, f"the attribute {attribute} is missing")
        if message.endswith(f"at `$.{attribute}`"):
            return Flaw(reason, explain(message))
    return Flaw("NOT_CLOUDEVENT", explain(message))


def utc(instant: datetime) -> datetime:
    """Give the same instant in UTC; beyond the years 1 and 9999 the nearest that there is."""
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        return _FIRST if instant.year == 1 else _LAST


def explain(message: str, root: str = "$") -> str:
    """Make a detail of msgspec's message: what was expected and where, without the value that was found."""
    what, _, where = message.partition(" - at ")
    if not what.startswith(("Expected ", "Object missing required field ", "Invalid RFC3339", "Invalid UUID")):
        what = "Invalid value"
    return f"{what.replace('`', '')} at {where.strip('`').replace('$', root, 1) or root}"


# -- HTTP


def from_http(content_type: str | None, headers: Iterable[tuple[str, str]], body: bytes) -> list[Message] | Flaw:
    """Take the events of a request apart into records for Kafka, each in the mode and with the bytes it came in.

    A flaw where nothing can be read at all; the events themselves are judged one by one by `events.decode`.
    """
    media = media_type(content_type)
    if media == STRUCTURED:
        return [_structured(body)]
    if media == BATCH:
        try:
            batch = msgspec.json.decode(body, type=list[msgspec.Raw])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return Flaw("NOT_JSON", "the batch is not a JSON array")
        return [_structured(bytes(event)) for event in batch]
    attributes = tuple(
        (_PREFIX + name.lower().removeprefix(_HTTP_PREFIX), unquote(text).encode())
        for name, text in headers
        if name.lower().startswith(_HTTP_PREFIX)
    )
    if media == JSON and attributes:
        return [Message(value=body, headers=(("content-type", JSON.encode()), *attributes))]
    return Flaw("BAD_CONTENT_TYPE", f"neither {STRUCTURED}, nor {BATCH}, nor {JSON} with ce- headers")


def _structured(value: bytes) -> Message:
    return Message(value=value, headers=(("content-type", STRUCTURED.encode()),))


# -- publishing


def build(
    type: str,
    source: str,
    occurred_at: datetime,
    data: Mapping[str, Any],
    id: uuid.UUID | None = None,
) -> bytes:
    """Make a CloudEvent in structured mode, for publishers; without `id` it gets one that sorts by `occurred_at`.

    Publish it again with the same bytes after a doubtful outcome: the same id counts once.
    """
    if occurred_at.tzinfo is None:
        raise ValueError("occurred_at must carry a zone")
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": id or uuid7(occurred_at),
            "source": source,
            "type": type,
            "time": occurred_at,
            "datacontenttype": JSON,
            "data": data,
        }
    )


def uuid7(instant: datetime) -> uuid.UUID:
    """Make a UUID of version 7 (RFC 9562 section 5.7): milliseconds since 1970, then 74 random bits.

    Near in time means near in the index of event ids, which makes it several times faster than random ids.
    """
    milliseconds = max(0, (instant - _EPOCH) // timedelta(milliseconds=1))
    number = milliseconds << 80 | uuid.uuid4().int & ((1 << 80) - 1)
    number = number & ~(0xF << 76) | 0x7 << 76
    return uuid.UUID(int=number & ~(0x3 << 62) | 0x2 << 62)
