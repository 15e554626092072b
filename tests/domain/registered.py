"""Small registers for tests: three controllers, of which two are a group, and what a test wants to be there."""

from typing import Any

from consent_ledger.domain import register
from consent_ledger.domain.register import Register


def purpose(controller: str = "north", name: str = "newsletter", **terms: Any) -> dict[str, Any]:
    return {"controller": controller, "id": name, "basis": "consent", "channels": ["email"], **terms}


def document(*purposes: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {
        "controllers": {
            "north": {"group": "poles", "country": "BE", "default_objection_scope": "group"},
            "south": {"group": "poles", "country": "NL", "default_objection_scope": "entity"},
            "east": {"group": None, "country": "FR"},
        },
        "purposes": list(purposes),
        "sources": {
            "web:north": {"controllers": ["north"]},
            "desk": {"controllers": ["north", "east"]},
            "feed": {"controllers": []},
        },
        "dnc_registers": {"be-dncm": {"max_age": "P7D"}},
        **parts,
    }


def compiled(*purposes: dict[str, Any], **parts: Any) -> Register:
    return register.compile(document(*purposes, **parts), 1)
