"""Builders of records as publishers send them; every field has a plain default."""

import json
from collections.abc import Sequence
from typing import Any

from consent_ledger.domain import events
from consent_ledger.domain.events import Event, Rejection

ID = "0199c3a0-5b00-7000-8000-000000000001"
STRUCTURED = [("content-type", b"application/cloudevents+json")]
MISSING = object()

Headers = Sequence[tuple[str | bytes, bytes | None]]
Verdict = Event | Rejection | tuple[Event, Rejection]


def message(type: str = "consent-given", *, data: Any = None, without: str = "", **attributes: Any) -> dict[str, Any]:
    """A CloudEvent as an object; `data` defaults to that of `type`."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": ID,
        "source": "web:dekra-be",
        "type": type,
        "time": "2026-03-01T09:00:00Z",
        "datacontenttype": "application/json",
        "data": data if data is not None else consent() if type == "consent-given" else refusal(),
    }
    event.update(attributes)
    event.pop(without, None)
    return event


def consent(**fields: Any) -> dict[str, Any]:
    return {
        "controllers": ["dekra-be"],
        "subject": [{"type": "email", "value": "an@example.be"}],
        "purposes": ["newsletter-email"],
        "channels": ["email"],
        "origin": "data-subject",
        "mechanism": "unticked-checkbox",
        "evidence": {"text_id": "newsletter-email-nl", "text_version": 1, "ref": "form-snapshot"},
        **fields,
    }


def refusal(**fields: Any) -> dict[str, Any]:
    return {"controllers": ["dekra-be"], "subject": [{"type": "email", "value": "an@example.be"}], **fields}


def decode(said: Any, headers: Headers = ()) -> Verdict:
    """Decode an object, or bytes as they are."""
    return events.decode(None, said if isinstance(said, bytes) else json.dumps(said).encode(), headers)


def accepted(said: Any, headers: Headers = ()) -> Event:
    verdict = decode(said, headers)
    assert isinstance(verdict, Event), verdict
    return verdict


def rejected(said: Any, headers: Headers = ()) -> Rejection:
    verdict = decode(said, headers)
    assert isinstance(verdict, Rejection), verdict
    return verdict


def synthetic(said: Any, headers: Headers = ()) -> tuple[Event, Rejection]:
    verdict = decode(said, headers)
    assert isinstance(verdict, tuple), verdict
    return verdict


def values(event: Event) -> list[str]:
    return [identifier.value for _, identifier in event.identifiers]
