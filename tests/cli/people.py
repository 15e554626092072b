"""Events of invented people, as lines of a file for `consent publish`."""

import json
import uuid
from typing import Any

NEWSLETTER = ("--controller", "dekra-be", "--purpose", "newsletter-email", "--channel", "email")


def somebody() -> str:
    """An address that no other test has."""
    return f"p{uuid.uuid4().hex[:12]}@example.be"


def gave(address: str, **more: Any) -> str:
    """A valid consent to the newsletter."""
    evidence = {"text_id": "newsletter-email-nl", "text_version": 1, "ref": "form-snapshot"}
    said = {"mechanism": "unticked-checkbox", "origin": "data-subject", "evidence": evidence, **more}
    return _line("consent-given", address, **said)


def withdrew(address: str, **more: Any) -> str:
    """Its withdrawal."""
    return _line("consent-withdrawn", address, **more)


def _line(kind: str, address: str, *, time: str = "2026-11-02T10:00:00Z", **more: Any) -> str:
    data = {"controllers": ["dekra-be"], "subject": [{"type": "email", "value": address}],
            "purposes": ["newsletter-email"], "channels": ["email"], **more}  # fmt: skip
    return json.dumps({"type": kind, "source": "web:dekra-be", "time": time, "data": data})
