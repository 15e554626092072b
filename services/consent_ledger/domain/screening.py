"""Events of a file, taken in as the ledger takes them in: what is no event has no effect, what refuses suppresses."""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from consent_ledger.domain import durations
from consent_ledger.domain.errors import ConsentError
from consent_ledger.domain.events import Event, decode
from consent_ledger.domain.privacy import PLACES

_NAMESPACE: Final = uuid.UUID("c0e1f1a6-6d6c-5a8e-9c55-0a2f5a1f7b1d")
"""Files name events as they like; the ledger's names are UUIDs."""
_ENVELOPE: Final = {"id": "id", "type": "type", "source": "source", "occurred_at": "time"}
_RECORDED: Final = "recorded_at"
_REFERENCES: Final = frozenset(name for places in PLACES.values() for name in places.references)


class ScenarioError(ConsentError, ValueError):
    """The file, or a part of it, cannot be evaluated; the message says where and why, and holds no value of it."""


class Screened(NamedTuple):
    """The events that have an effect, and for each other, or changed, one: its place in the file and what it lacks."""

    events: list[Mapping[str, Any]]
    remarks: list[str]


def screen(events: object) -> Screened:
    """Leave out what the ledger would reject, and turn malformed refusals into the objections it makes of them.

    Raises `ScenarioError` for what no ledger can hold: an event without a time of recording.
    """
    if not isinstance(events, Sequence) or isinstance(events, str):
        raise ScenarioError("events: must be a list")
    screened = Screened([], [])
    for place, event in enumerate(events):
        screened.events.extend(_screened(event, f"event {place}", screened.remarks))
    return screened


def _screened(event: object, place: str, remarks: list[str]) -> Iterator[Mapping[str, Any]]:
    if not isinstance(event, Mapping):
        remarks.append(f"{place}: no object; left out")
        return
    verdict = decode(None, _as_sent(event), ())
    if isinstance(verdict, Event):
        yield {**event, _RECORDED: _recorded(event, place)}
    elif isinstance(verdict, tuple):
        made, flaw = verdict
        remarks.append(f"{place}: {flaw.reason}, {flaw.detail}; taken as an objection to everything")
        occurred = None if made.occurred_at is None else made.occurred_at.isoformat()
        yield {
            "id": event["id"] if isinstance(event.get("id"), str) else str(made.id),
            "type": made.type, "source": made.source, "occurred_at": occurred, _RECORDED: _recorded(event, place),
            "subject": made.personal["subject"], "malformed": True,
        }  # fmt: skip
    else:
        remarks.append(f"{place}: {verdict.reason}, {verdict.detail}; left out")


def _recorded(event: Mapping[str, Any], place: str) -> str:
    """Give the time of recording; where none is given, it was recorded when it occurred."""
    given = event.get(_RECORDED) or event.get("occurred_at")
    if not isinstance(given, str):
        raise ScenarioError(f"{place}: no recorded_at")
    try:
        durations.instant(given)
    except ValueError:
        raise ScenarioError(f"{place}: recorded_at is no instant with a zone") from None
    return given


def _as_sent(event: Mapping[str, Any]) -> bytes:
    """Write a flat event as a publisher sends it, with UUIDs for the names of events."""
    sent: dict[str, Any] = {"specversion": "1.0"}
    data: dict[str, Any] = {}
    for name, value in event.items():
        if name in _ENVELOPE:
            sent[_ENVELOPE[name]] = _as_uuid(value) if name == "id" else value
        elif name != _RECORDED:
            data[name] = _as_uuid(value) if name in _REFERENCES else value
    return json.dumps({**sent, "data": data}).encode()


def _as_uuid(name: object) -> object:
    return str(uuid.uuid5(_NAMESPACE, name)) if isinstance(name, str) and name.isprintable() and name else name
