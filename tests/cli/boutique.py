"""A controller with people of its own, for tests of evidence and exports on a running installation."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

from cli.installed import Answer, Up, consent

WHY = ("--reason", "request of 3 March")
AT = ("--controller", "boutique")
NEWSLETTER = (*AT, "--purpose", "newsletter", "--channel", "email")
TEXT = "Ja, stuur mij de nieuwsbrief.\r\nAfmelden kan altijd: <b>onderaan</b> elke mail. «Ελληνικά» 山\n"

DOCUMENT: dict[str, Any] = {
    "controllers": {
        "boutique": {"name": "Boutique <i>Élodie</i> NV", "country": "BE", "contact": "privacy@boutique.example"},
        "atelier-2": {"name": "Atelier 2", "country": "NL"},
    },
    "purposes": [
        {"controller": "boutique", "id": "newsletter", "basis": "consent", "channels": ["email"],
         "direct_marketing": True, "double_opt_in": True, "consent_ttl": "P3Y", "evidence_retention": "P5Y",
         "doc": {"description": "news of the shop", "recipients": ["Mailer GmbH (processor)"], "retention": "P3Y",
                 "withdrawal_method": "link in every mail", "storage_locations": "Ghent, Belgium"}},
        {"controller": "boutique", "id": "orders", "basis": "contract", "channels": ["email", "post"],
         "direct_marketing": False, "retention": "P7Y"},
        {"controller": "boutique", "id": "catalogue", "basis": "legitimate-interest", "channels": ["post"],
         "direct_marketing": True},
        {"controller": "atelier-2", "id": "newsletter", "basis": "consent", "channels": ["email"],
         "direct_marketing": True},
    ],
    "sources": {
        "web:boutique": {"controllers": ["boutique"]},
        "staff:boutique": {"controllers": ["boutique"]},
        "web:atelier-2": {"controllers": ["atelier-2"]},
    },
    "dnc_registers": {},
}  # fmt: skip


def load(up: Up, directory: Path) -> None:
    """Register the boutique, and keep the text of its newsletter."""
    register(up, DOCUMENT, directory)
    text = directory / "newsletter.txt"
    text.write_bytes(TEXT.encode())
    assert notice(up, text).status == 0


def register(up: Up, document: dict[str, Any], directory: Path) -> None:
    file = directory / "register.json"
    file.write_text(json.dumps(document))
    assert consent("register", "load", str(file), data=up.data).status == 0


def notice(
    up: Up, file: Path, *, name: str = "newsletter-text", version: int = 1, language: str = "nl",
    options: tuple[str, ...] = AT,
) -> Answer:  # fmt: skip
    named = ("--id", name, "--version", str(version), "--language", language)
    return consent("notice", "add", str(file), *options, *named, "--json", data=up.data)


def email(value: str, **more: Any) -> dict[str, Any]:
    return {"type": "email", "value": value, **more}


def said(type: str, *subject: dict[str, Any], source: str = "web:boutique", **fields: Any) -> dict[str, Any]:
    """An event at the boutique; without a subject it names another event."""
    data = {"controllers": ["boutique"], **({"subject": list(subject)} if subject else {}), **fields}
    time_ = data.pop("time", "2026-11-02T10:00:00Z")
    return {"specversion": "1.0", "id": str(uuid.uuid4()), "type": type, "source": source, "time": time_,
            "data": data}  # fmt: skip


def gave(*subject: dict[str, Any], **fields: Any) -> dict[str, Any]:
    plain = {
        "purposes": ["newsletter"], "channels": ["email"], "mechanism": "unticked-checkbox", "origin": "data-subject",
        "evidence": {"text_id": "newsletter-text", "text_version": 1, "ref": "snapshot-17", "notice_version": "7"},
        "ip": "192.0.2.17",
    }  # fmt: skip
    return said("consent-given", *subject, **{**plain, **fields})


def confirmed(given: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return said("consent-confirmed", consent_id=given["id"], **{"time": "2026-11-02T11:30:00Z", **fields})


def withdrew(*subject: dict[str, Any], **fields: Any) -> dict[str, Any]:
    plain = {"purposes": ["newsletter"], "channels": ["email"], "time": "2026-11-03T10:00:00Z"}
    return said("consent-withdrawn", *subject, **{**plain, **fields})


def publish(up: Up, *events: dict[str, Any]) -> None:
    lines = "\n".join(map(json.dumps, events))
    assert consent("publish", "-", data=up.data, said_in=lines).status == 0


def recorded(up: Up, event: dict[str, Any], directory: Path) -> None:
    """Wait until the ledger has an event, and the log its entry."""
    deadline = time.monotonic() + 30
    while consent("prove", event["id"], "-o", str(directory / "proof"), data=up.data).status != 0:
        assert time.monotonic() < deadline, event["type"]


def decided(up: Up, address: str, reason: str) -> None:
    """Wait until the newsletter is decided so for an address."""
    deadline = time.monotonic() + 30
    while (answer := consent("decide", *NEWSLETTER, address, "--json", data=up.data)).data["reason"] != reason:
        assert time.monotonic() < deadline, answer


def export(up: Up, *arguments: str, address: str | None = None) -> Answer:
    """Run `consent export` at the boutique, with the reason given."""
    return consent("export", *arguments, *AT, *WHY, data=up.data, said_in=None if address is None else f"{address}\n")
