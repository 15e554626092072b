"""Rows of somebody else's suppression list as events, by a mapping of its columns and reasons.

An import can never lift an opt-out: of the permissive events only a consent may be made of a row, and it is marked as
imported, which undoes no refusal (specification 6.7). The same row makes the same event, so a list that is imported
twice counts once.
"""

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args

import msgspec

from consent_ledger.domain import cloudevents, events
from consent_ledger.domain.events import Event, Rejection
from consent_ledger.domain.register import Register

# A name of our own for UUIDs of version 5.
_NAMESPACE: Final = uuid.UUID("0d4e2c0a-5b1f-5c67-9a53-7d0e7f1f6a10")
_CHANNELS: Final = {"email": ("email",), "phone": ("phone", "sms"), "postal": ("post",), "device": ("device",)}
_CONSENT: Final = "consent-given"
_SKEW: Final = timedelta(minutes=5)
# What a date's format must hold to tell more than the day.
_TIME_OF_DAY: Final = re.compile("%[HIcXTs]")
_DAY_CHARS: Final = len("2026-01-31")
_UNFIT: Final = re.compile("[\r\n\ud800-\udfff]")

Column = str | int
Kind = Literal["email", "phone", "postal", "customer_no", "account_id", "device"]
Purposes = list[str] | Literal["all"]


class Columns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which column holds what, by the name in the first row or, where there are no names, by number from 1."""

    address: Column
    reason: Column | None = None
    date: Column | None = None
    type: Column | None = None
    evidence_ref: Column | None = None


class Evidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What proves the consents of a list; `ref` where no column has it."""

    text_id: str
    text_version: int
    ref: str | None = None


class Meaning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a reason in the list stands for."""

    event: Literal[
        "consent-withdrawn", "objection-raised", "complaint-received", "delivery-failed", "erasure-requested",
        "consent-given",
    ]  # fmt: skip
    purposes: Purposes | None = None
    channels: Purposes | None = None
    kind: str | None = None
    mechanism: str | None = None
    evidence: Evidence | None = None


class ListMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to read a list. `otherwise`: what a reason stands for that is not among `reasons`, also an empty one.

    `undated`: the date of rows that have none. `calling_code`: of phone numbers that begin with a single 0, as +32.
    """

    columns: Columns
    reasons: dict[str, Meaning] = {}
    otherwise: Meaning | None = None
    type: Kind = "email"
    date_format: str | None = None
    time_zone: str | None = None
    undated: str | None = None
    calling_code: Annotated[str, msgspec.Meta(pattern=r"^\+[1-9][0-9]{0,2}$")] | None = None
    names: bool = True
    delimiter: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] | None = None
    encoding: str = "utf-8"

    def meanings(self) -> Iterator[tuple[str, Meaning]]:
        """Give what reasons stand for, each with its place in the mapping."""
        yield from ((f"reasons.{reason}", meaning) for reason, meaning in self.reasons.items())
        if self.otherwise is not None:
            yield "otherwise", self.otherwise


class Made(NamedTuple):
    """The event of a row, as it is published. `warning`: recorded, but somebody should look."""

    event: Event
    value: bytes
    warning: str | None = None


class Refused(NamedTuple):
    """Why a row is not imported; nothing of its content."""

    reason: str
    detail: str


class _RowError(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.refused = Refused(reason, detail)


def problems(mapping: ListMapping, register: Register, controller: str, source: str) -> Iterator[str]:
    """Find everything for which no row can be imported by a mapping."""
    if controller not in register.controllers:
        yield f"controller {controller} is not registered"
    if not mapping.reasons and mapping.otherwise is None:
        yield "neither reasons nor otherwise: no row means anything"
    if mapping.columns.date is None and mapping.undated is None:
        yield "neither columns.date nor undated: no row has a date"
    for place, meaning in mapping.meanings():
        if isinstance(meaning.purposes, list):
            unknown = [name for name in meaning.purposes if (controller, name) not in register.purposes]
            yield from (f"{place}: {controller} has no purpose {name}" for name in unknown)
        if meaning.event == _CONSENT:
            yield from (f"{place}: a consent {problem}" for problem in _consent_problems(mapping, meaning))
            if not register.serves(source, controller):
                yield f"{place}: source {source} is not registered for {controller}, so its consents would not count"


def _consent_problems(mapping: ListMapping, meaning: Meaning) -> Iterator[str]:
    if not isinstance(meaning.purposes, list) or not isinstance(meaning.channels, list):
        yield "is for purposes and channels that are named"
    if meaning.mechanism is None:
        yield "was given by a mechanism"
    if meaning.evidence is None or (meaning.evidence.ref is None and mapping.columns.evidence_ref is None):
        yield "needs evidence, with a ref or the column evidence_ref"


class Rows:
    """Makes events of the rows of one list.

    `header`: the names of the columns, None where the list has none. `zone`: of times that do not say theirs. `digest`
    is keyed by a secret of the controller, so that nobody can try whether an id stands for an address.
    Raises `KeyError` with the name of a column that is not there.
    """

    def __init__(
        self,
        mapping: ListMapping,
        *,
        controller: str,
        source: str,
        zone: tzinfo | None,
        header: Sequence[str] | None,
        digest: Callable[[bytes], bytes],
    ) -> None:
        self._mapping = mapping
        self._controller = controller
        self._source = source
        self._zone = zone
        self._digest = digest
        self._reasons = {reason.strip().casefold(): meaning for reason, meaning in mapping.reasons.items()}
        self._columns = {
            name: _number(column, header)
            for name in Columns.__struct_fields__
            if (column := getattr(mapping.columns, name)) is not None
        }
        self._width = len(header) if header is not None else None

    def read(self, cells: Sequence[str], now: datetime) -> Made | Refused:
        """Make the event of a row, or say why not."""
        try:
            found = self._found(cells)
            meaning, kind = self._meaning(found), self._kind(found)
            occurred_at = self._occurred_at(found, meaning, now)
            return self._event(meaning.event, occurred_at, self._data(meaning, kind, found))
        except _RowError as error:
            return error.refused

    def _found(self, cells: Sequence[str]) -> dict[str, str]:
        wanted = max(self._columns.values()) + 1
        if len(cells) < wanted or (self._width is not None and len(cells) != self._width):
            raise _RowError("BROKEN_ROW", f"{len(cells)} cells")
        found = {name: cells[number].strip() for name, number in self._columns.items()}
        if any(_UNFIT.search(cell) for cell in found.values()):
            raise _RowError("BROKEN_ROW", "a cell goes on behind the line's end, or is not in the encoding of the list")
        if not found["address"]:
            raise _RowError("NO_ADDRESS", "the row names no address")
        return found

    def _meaning(self, found: dict[str, str]) -> Meaning:
        meaning = self._reasons.get(found.get("reason", "").casefold(), self._mapping.otherwise)
        if meaning is None:
            raise _RowError("UNKNOWN_REASON", "the reason is not in the mapping, and nothing stands for otherwise")
        return meaning

    def _kind(self, found: dict[str, str]) -> str:
        kind = found.get("type") or self._mapping.type
        if kind not in get_args(Kind):
            raise _RowError("UNKNOWN_KIND", "the type is none of " + ", ".join(get_args(Kind)))
        return kind

    def _occurred_at(self, found: dict[str, str], meaning: Meaning, now: datetime) -> datetime:
        occurred_at = self._instant(found.get("date") or self._mapping.undated or "", meaning)
        if meaning.event == _CONSENT and occurred_at > now + _SKEW:
            raise _RowError("FUTURE_CONSENT", "a consent that is still to come never counts")
        return occurred_at

    def _data(self, meaning: Meaning, kind: str, found: dict[str, str]) -> dict[str, Any]:
        value = found["address"]
        if kind == "phone" and self._mapping.calling_code and value.startswith("0") and not value.startswith("00"):
            value = self._mapping.calling_code + value[1:]
        data: dict[str, Any] = {
            "controllers": [self._controller],
            "subject": [{"type": kind, "value": value}],
            "purposes": meaning.purposes,
            "channels": meaning.channels,
            "kind": meaning.kind,
        }
        if meaning.event == "objection-raised":
            data["kind"] = meaning.kind or "direct-marketing"
        elif meaning.event == "delivery-failed":
            data |= {"bounce": "hard", "channels": meaning.channels or list(_CHANNELS.get(kind, ()))}
        elif meaning.event == "complaint-received":
            data |= {
                "kind": meaning.kind or "feedback-loop",
                "channels": meaning.channels or list(_CHANNELS.get(kind, ())),
            }
        elif meaning.event == _CONSENT and meaning.evidence is not None:
            ref = found.get("evidence_ref") or meaning.evidence.ref
            if not ref:
                raise _RowError("NO_EVIDENCE", "the row does not say where the proof of the consent is kept")
            proof = {"text_id": meaning.evidence.text_id, "text_version": meaning.evidence.text_version, "ref": ref}
            data |= {"origin": "import", "mechanism": meaning.mechanism, "evidence": proof}
        return {name: said for name, said in data.items() if said is not None}

    def _event(self, type: str, occurred_at: datetime, data: dict[str, Any]) -> Made | Refused:
        content = events.canonical([type, self._source, occurred_at.isoformat(), data])
        event_id = uuid.uuid5(_NAMESPACE, self._digest(content).hex())
        value = cloudevents.build(type, self._source, occurred_at, data, event_id)
        said = events.decode(None, value, ())
        if isinstance(said, Rejection):
            return Refused(said.reason, said.detail)
        event, rejection = said if isinstance(said, tuple) else (said, None)
        return Made(event, value, rejection.reason if rejection else event.warning)

    def _instant(self, text: str, meaning: Meaning) -> datetime:
        """Read a date. Where only the day is known, a refusal is of its last second and a consent of its first."""
        layout = self._mapping.date_format
        if not text:
            raise _RowError("BAD_DATE", "the row has no date; say with undated which one to take")
        try:
            found = datetime.strptime(text, layout) if layout else datetime.fromisoformat(text)  # noqa: DTZ007
        except ValueError:
            form = layout or "YYYY-MM-DD, with or without a time"
            raise _RowError("BAD_DATE", f"not a date of the form {form}") from None
        only_day = not _TIME_OF_DAY.search(layout) if layout else len(text) == _DAY_CHARS
        if only_day and meaning.event != _CONSENT:
            found = found.replace(hour=23, minute=59, second=59)
        if found.tzinfo is None:
            if self._zone is None:
                raise _RowError("BAD_DATE", "the date has no zone; say with time_zone which one to take")
            found = found.replace(tzinfo=self._zone)
        return cloudevents.utc(found)


def _number(column: Column, header: Sequence[str] | None) -> int:
    if isinstance(column, int):
        return column - 1
    names = [name.strip() for name in header or ()]
    if column not in names:
        raise KeyError(column)
    return names.index(column)
