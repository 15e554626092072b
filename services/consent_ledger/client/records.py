"""The records of the suppressions topic as a reader meets them, brought to the compact form in which a copy keeps them.

Most addresses share their decisions with many others, but for the instants in them. So a copy keeps the decisions once,
as a template with numbered places for the instants, and with each address only the template's number and the instants.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeVar

import msgspec

from consent_ledger.domain.errors import ConsentError
from consent_ledger.domain.leaf import micros
from consent_ledger.domain.suppression import Answers

T = TypeVar("T")

PURPOSES: Final = b"!purposes/"
DNC: Final = b"!dnc/"
WATERMARK: Final = b"!watermark"

_INSTANT: Final = re.compile(rb'"(since|valid_until)":"([^"\\]*)"')


class UnreadableRecordError(ConsentError):
    """A record of the topic is not one; a copy that holds it cannot be trusted."""


class Slot(msgspec.Struct, frozen=True):
    """One decision of a template; `since` and `valid_until` are places among the instants of an address."""

    allow: bool
    reason: str
    reasons: tuple[str, ...] = ()
    since: int | None = None
    valid_until: int | None = None
    needs_dnc: str | None = None


Template = dict[str, dict[str, Slot]]
"""Purpose → channel → decision."""


class Row(NamedTuple):
    """What one record says of one address. `instants` are microseconds since 1970, numbered by the template."""

    controller: str
    hash: bytes
    version: int
    register: int
    template: bytes
    instants: tuple[int, ...]


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """What holds at a controller for an address with nothing on record, and the oldest register that still counts.

    `check` and `kid` let a reader see that it holds the right hash key; `needs`: purpose → register version.
    """

    controller: str
    kid: str
    check: str
    version: int
    register: int
    needs: dict[str, int]
    decisions: Answers


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """How fresh the snapshot of a do-not-call register is, as far as one partition goes. `version` rises on each."""

    version: int
    snapshot_at: datetime | None = None
    valid_until: datetime | None = None


class Watermark(msgspec.Struct, frozen=True, kw_only=True):
    """Every event that Kafka held at `instant` is on this partition."""

    instant: datetime
    seq: int
    epoch: int


class _Identifier(msgspec.Struct, frozen=True):
    type: str
    hash: str
    kid: str


class _Record(msgspec.Struct, frozen=True):
    controller: str
    identifier: _Identifier
    version: int
    register: int
    decisions: msgspec.Raw


_decode_record: Final = msgspec.json.Decoder(_Record).decode
_decode_template: Final = msgspec.json.Decoder(Template).decode
_decode_defaults: Final = msgspec.json.Decoder(Defaults).decode
_decode_snapshot: Final = msgspec.json.Decoder(Snapshot).decode
_decode_watermark: Final = msgspec.json.Decoder(Watermark).decode


def read_row(value: bytes) -> Row:
    """Read the record of an address. Raises `UnreadableRecordError`."""
    try:
        record = _decode_record(value)
        instants: list[int] = []

        def number(found: re.Match[bytes]) -> bytes:
            instants.append(to_micros(found[2]))
            return b'"%b":%d' % (found[1], len(instants) - 1)

        template = _INSTANT.sub(number, bytes(record.decisions))
        hash_ = bytes.fromhex(record.identifier.hash)
    except (msgspec.MsgspecError, ValueError) as error:
        raise UnreadableRecordError(type(error).__name__) from None
    return Row(record.controller, hash_, record.version, record.register, template, tuple(instants))


def read_template(template: bytes) -> Template:
    """Read a template. Raises `UnreadableRecordError`."""
    return _read(_decode_template, template)


def read_defaults(value: bytes) -> Defaults:
    """Read a `!purposes` record. Raises `UnreadableRecordError`."""
    return _read(_decode_defaults, value)


def read_snapshot(value: bytes) -> Snapshot:
    """Read a `!dnc` record. Raises `UnreadableRecordError`."""
    return _read(_decode_snapshot, value)


def read_watermark(value: bytes) -> Watermark:
    """Read a watermark. Raises `UnreadableRecordError`."""
    return _read(_decode_watermark, value)


def to_micros(text: bytes) -> int:
    """Turn an instant in RFC 3339 into microseconds since 1970. Raises ValueError."""
    return micros(datetime.fromisoformat(text.decode()).astimezone(UTC))


def _read(decode: Callable[[bytes], T], value: bytes) -> T:
    try:
        return decode(value)
    except msgspec.MsgspecError as error:
        raise UnreadableRecordError(type(error).__name__) from None
