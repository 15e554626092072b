"""What can still be read of a refusal that is malformed, so that it suppresses all the same (domain.md 4.1)."""

import json
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from consent_ledger.domain.catalogue import FIVE_REFUSALS
from consent_ledger.domain.cloudevents import Instant, Source, utc
from consent_ledger.domain.event_parts import MAX_IDENTIFIERS
from consent_ledger.domain.identifiers import TYPES, Identifier, normalise_or_raw
from consent_ledger.domain.strictjson import every

UNKNOWN_SOURCE: Final = "unknown"

# The ids of refusals that came without one of their own: uuid5 of what was said, so that a repetition stays one.
_NAMESPACE = uuid.UUID("6a3f1d0e-94c4-5b7b-8a58-2f1f6a0c9d51")


def is_refusal(event: Any) -> bool:
    """Tell whether this claims to be one of the five refusals."""
    return any(kind in FIVE_REFUSALS for kind in _every_text(event, "type"))


def read_id(event: Any) -> uuid.UUID | None:
    """Give the event's own id, if it has one that is a UUID."""
    found: uuid.UUID | None = _convert(event, "id", uuid.UUID)
    return found


def make_id(event: Any) -> uuid.UUID:
    """Make an id of the content, the same for the same content."""
    return uuid.uuid5(_NAMESPACE, json.dumps(event, sort_keys=True))


def read_time(event: Any) -> datetime | None:
    """Give the event's time in UTC, if it has one with a zone."""
    time = _convert(event, "time", Instant)
    return None if time is None else utc(time)


def read_source(event: Any) -> str:
    """Give the event's source; an unreadable one is no registered one, so it stands for every controller."""
    source = _convert(event, "source", Source)
    return source if source is not None and source.isprintable() else UNKNOWN_SOURCE


def read_identifiers(event: Any) -> tuple[Identifier, ...]:
    """Find the identifiers that the event names, in whatever shape, at most the first 50."""
    found: dict[Identifier, None] = {}
    for identifier in _identifiers(event):
        found[identifier] = None
        if len(found) == MAX_IDENTIFIERS:
            break
    return tuple(found)


def _identifiers(event: dict[str, Any]) -> Iterator[Identifier]:
    for data in every(event.get("data")):
        if isinstance(data, dict):
            yield from _in_subject(data.get("subject"))
    yield from _in_subject(event.get("subject"))


def _in_subject(said: Any) -> Iterator[Identifier]:
    if isinstance(said, list):
        for item in said:
            yield from _in_subject(item)
    elif isinstance(said, dict):
        kinds = [kind.strip().lower() for kind in _every_text(said, "type")] or [""]
        for value in every(said.get("value")):
            for kind in kinds:
                yield from _identifier(kind, value)
    elif isinstance(said, str):
        yield from _identifier("", said)


def _identifier(kind: str, value: Any) -> Iterator[Identifier]:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return
    text = str(value)
    if kind not in TYPES:
        kind = _guess(text)
    normal, raw = normalise_or_raw(kind, text)
    if raw and kind == "phone" and isinstance(value, int):
        # A number of JSON cannot carry the plus sign with which it was meant.
        called, unreadable = normalise_or_raw(kind, f"+{text}")
        normal, raw = (normal, raw) if unreadable else (called, False)
    if normal and kind:
        yield Identifier(type=kind, value=normal, raw=raw)


def _guess(text: str) -> str:
    if "@" in text:
        return "email"
    return "phone" if text.strip().startswith(("+", "00")) else ""


def _every_text(event: Any, name: str) -> list[str]:
    values = every(event.get(name)) if isinstance(event, dict) else []
    return [value for value in values if isinstance(value, str)]


def _convert(event: Any, name: str, form: Any) -> Any:
    try:
        return msgspec.convert(event.get(name), form) if isinstance(event, dict) else None
    except msgspec.ValidationError:
        return None
