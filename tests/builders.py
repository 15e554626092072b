"""Events as publishers make them, and a small register to judge them by; every field has a plain default."""

import json
import uuid
from datetime import datetime
from typing import Any

MARCH = "2026-03-01T09:00:00Z"
SOURCE = "web:shop-be"

REGISTER: dict[str, Any] = {
    "controllers": {
        "shop-be": {"name": "Shop BE", "group": "shop", "country": "BE", "default_objection_scope": "group"},
        "shop-nl": {"name": "Shop NL", "group": "shop", "country": "NL", "default_objection_scope": "entity"},
        "garage-be": {"name": "Garage BE", "country": "BE"},
    },
    "sources": {
        "web:shop-be": {"controllers": ["shop-be"]},
        "web:shop-nl": {"controllers": ["shop-nl"]},
        "web:garage-be": {"controllers": ["garage-be"]},
    },
    "purposes": [
        {
            "controller": controller,
            "id": "newsletter",
            "basis": "consent",
            "channels": ["email", "sms"],
            "direct_marketing": True,
        }
        for controller in ("shop-be", "shop-nl", "garage-be")
    ],
    "dnc_registers": {},
}
"""Two shops of one group, where an objection at the first counts for both, and a garage that stands alone."""


def event(type: str, *, without: str = "", **fields: Any) -> dict[str, Any]:
    """A CloudEvent as an object: `id`, `source`, `time` and `data` are attributes, all other fields are data."""
    attributes: dict[str, Any] = {name: fields.pop(name) for name in ("id", "source", "time", "data") if name in fields}
    said: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": SOURCE,
        "type": type,
        "time": MARCH,
        "data": fields,
        **attributes,
    }
    said.pop(without, None)
    return said


def email(value: str = "an@example.be", **fields: Any) -> dict[str, Any]:
    """An identifier of the type email."""
    return {"type": "email", "value": value, **fields}


def given(*subject: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A consent to the newsletter of the first shop, with all that it needs to count."""
    plain = {
        "controllers": ["shop-be"],
        "subject": list(subject) or [email()],
        "purposes": ["newsletter"],
        "channels": ["email"],
        "origin": "data-subject",
        "mechanism": "unticked-checkbox",
        "evidence": {"text_id": "newsletter-nl", "text_version": 1, "ref": "form-snapshot"},
    }
    return event("consent-given", **{**plain, **fields})


def confirmed(consent: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The second step of the double opt-in of a consent."""
    return event("consent-confirmed", **{"controllers": ["shop-be"], "consent_id": consent["id"], **fields})


def withdrawn(*subject: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A withdrawal of the newsletter of the first shop."""
    plain = {"controllers": ["shop-be"], "subject": list(subject) or [email()], "purposes": ["newsletter"]}
    return event("consent-withdrawn", **{**plain, **fields})


def objected(*subject: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An objection to direct marketing at the first shop, which counts for its whole group."""
    plain = {"controllers": ["shop-be"], "subject": list(subject) or [email()], "kind": "direct-marketing"}
    return event("objection-raised", **{**plain, **fields})


def erasure_requested(*subject: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A request for erasure at the first shop."""
    return event("erasure-requested", **{"controllers": ["shop-be"], "subject": list(subject) or [email()], **fields})


def erased(*subject: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An executed erasure at the first shop."""
    plain = {"controllers": ["shop-be"], "subject": list(subject) or [email()], "request_id": str(uuid.uuid4())}
    return event("erasure-executed", **{**plain, **fields})


def held(*subject: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A legal hold at the first shop."""
    plain = {"controllers": ["shop-be"], "subject": list(subject) or [email()], "reason": "a claim"}
    return event("hold-placed", **{**plain, **fields})


def linked(*subject: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Two or more identifiers that belong to one person."""
    return event("identifiers-linked", **{"controllers": ["shop-be"], "subject": list(subject), **fields})


def register_loaded(document: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A load of a register, of `REGISTER` by default."""
    return event("register-loaded", source="operator", document=REGISTER if document is None else document, **fields)


def encode(said: Any) -> bytes:
    """The bytes of an event; of bytes, themselves."""
    return said if isinstance(said, bytes) else json.dumps(said, default=_plain).encode()


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
