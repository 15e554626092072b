"""The people and events of the demo: realistic, and all of them invented."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final, NamedTuple

import msgspec

from consent_ledger.cli.watch import Asked
from consent_ledger.domain.cloudevents import build

_FIRST: Final = (
    "an", "bert", "carla", "dirk", "els", "fatima", "gert", "hilde", "ivan", "jana", "karim", "lena", "mehdi", "nele",
    "omar", "petra", "quinten", "rachida", "stijn", "tine", "ugo", "vera", "wout", "xenia", "yusuf", "zoe",
)  # fmt: skip
_LAST: Final = ("peeters", "janssens", "maes", "jacobs", "mertens", "willems", "claes", "goossens", "wouters", "dubois")
_DOMAINS: Final = ("example.be", "example.com")
# One newsletter of each company; that of vloet asks for a double opt-in.
_NEWSLETTERS: Final = (
    ("dekra-be", "newsletter-email"), ("contactexpert", "product-news"), ("socomec", "e-prospecting-consent"),
    ("bechtle-bv", "newsletter"), ("vloet", "newsletter"),
)  # fmt: skip
_DOUBLE_OPT_IN: Final = "vloet"


class Said(NamedTuple):
    """An event ready to be published, and for whom it changes what."""

    kind: str
    id: uuid.UUID
    value: bytes
    asked: Asked


class Cast:
    """Gives new people, one after the other, each with a newsletter of one of the companies."""

    def __init__(self) -> None:
        self._numbers = count()

    def person(self) -> Asked:
        """Return somebody of whom nobody has heard."""
        n = next(self._numbers)
        first, last = _FIRST[n % len(_FIRST)], _LAST[n // len(_FIRST) % len(_LAST)]
        address = f"{first}.{last}{n}@{_DOMAINS[n % len(_DOMAINS)]}"
        controller, purpose = _NEWSLETTERS[n % len(_NEWSLETTERS)]
        return Asked(controller, purpose, "email", "email", address)

    def people(self, number: int) -> list[Asked]:
        """Return that many people."""
        return [self.person() for _ in range(number)]


def gave(person: Asked, at: datetime | None = None) -> Iterator[Said]:
    """The person ticks the box of the form, and where the company asks for it confirms by the link in the mail."""
    at = at or datetime.now(UTC)
    evidence = {"text_id": f"{person.purpose}-nl", "text_version": 1, "ref": f"form-snapshot-{at:%Y%m%d%H%M%S}"}
    given = _say("consent-given", f"web:{person.controller}", person, at, {
        **_about(person), "origin": "data-subject", "mechanism": "unticked-checkbox", "evidence": evidence,
    })  # fmt: skip
    yield given
    if person.controller == _DOUBLE_OPT_IN:
        later = at + timedelta(milliseconds=1)
        data = {"controllers": [person.controller], "consent_id": str(given.id)}
        yield _say("consent-confirmed", f"web:{person.controller}", person, later, data)


def withdrew(person: Asked, at: datetime | None = None) -> Said:
    """The person uses the unsubscribe link."""
    return _say(
        "consent-withdrawn",
        f"esp:{person.controller}",
        person,
        at,
        {**_about(person), "received_via": "list-unsubscribe"},
    )


def objected(person: Asked) -> Said:
    """The person tells the call centre: no more advertising."""
    data = {"controllers": [person.controller], "subject": _subject(person), "kind": "direct-marketing",
            "received_via": "phone", "entered_by": "staff:eva"}  # fmt: skip
    return _say("objection-raised", f"staff:{person.controller}", person, None, data)


def asked_erasure(person: Asked) -> Said:
    """The person asks to be forgotten."""
    data = {"controllers": [person.controller], "subject": _subject(person)}
    return _say("erasure-requested", f"web:{person.controller}", person, None, data)


def erased(person: Asked, request: Said) -> Said:
    """The company erases what the person asked it to."""
    data = {"controllers": [person.controller], "subject": _subject(person), "request_id": str(request.id)}
    return _say("erasure-executed", f"staff:{person.controller}", person, None, data)


def garbled(person: Asked) -> Said:
    """A withdrawal whose sender got the time wrong: no event, but a person who does not want to be written to."""
    said = withdrew(person)
    broken = {**msgspec.json.decode(said.value), "time": "yesterday, about four"}
    return said._replace(kind="malformed", value=msgspec.json.encode(broken))


def _about(person: Asked) -> dict[str, Any]:
    return {
        "controllers": [person.controller],
        "subject": _subject(person),
        "purposes": [person.purpose],
        "channels": [person.channel],
    }


def _subject(person: Asked) -> list[dict[str, str]]:
    return [{"type": person.type, "value": person.value}]


def _say(kind: str, source: str, person: Asked, at: datetime | None, data: dict[str, Any]) -> Said:
    at = at or datetime.now(UTC)
    event_id = uuid.uuid4()
    return Said(kind, event_id, build(kind, source, at, data, event_id), person)
