"""A walk through a register: every purpose on every channel, in every state of the overview of specification 6.12.

The expected answers are written down here, by basis and flags of the purpose, and computed by nothing of the product.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

Event = dict[str, Any]
Purpose = Mapping[str, Any]
"""A row of a register."""
START: Final = datetime(2026, 3, 1, 9, tzinfo=UTC)
"""When facts come in; a refusal follows after a day, what may end it after two."""
ASKED: Final = START + timedelta(days=3)

_YES: Final[dict[str, str]] = {
    "consent, marketing": "CONSENT",
    "consent": "CONSENT",
    "soft opt-in": "SOFT_OPT_IN",
    "f, marketing": "LEGITIMATE_INTEREST",
    "f, other": "LEGITIMATE_INTEREST",
    "contract": "CONTRACT",
    "law, exempt": "LEGAL_OBLIGATION",
    "f, exempt": "LEGITIMATE_INTEREST",
    "re-permission": "REPERMISSION_NOT_DUE",
}
"""Column → the answer when everything that it needs is on record and nothing stands against it."""
ALLOWED: Final = frozenset(_YES.values()) - {"REPERMISSION_NOT_DUE"} | {"LEGITIMATE_INTEREST_COMPELLING"}
_COLUMNS: Final = tuple(_YES)

_OK: Final = ""
# One row a state, one cell a column in the order of `_YES`; empty: nothing stands against it.
_OVERVIEW: Final[dict[str, tuple[str, ...]]] = {
    "nothing": ("CONSENT_ABSENT", "CONSENT_ABSENT", "SOFT_OPT_IN_MISSING", _OK, _OK, _OK, _OK, _OK, "CONSENT_ABSENT"),
    "facts": (_OK,) * 9,
    "withdrawal of all":
        ("CONSENT_WITHDRAWN", "CONSENT_WITHDRAWN", "OBJECTION_DM", "OBJECTION_DM", _OK, _OK, _OK, _OK, "OBJECTION_DM"),
    "withdrawal, listed":
        ("CONSENT_WITHDRAWN", "CONSENT_WITHDRAWN", "OBJECTION_DM", "OBJECTION_DM", "OBJECTION_PENDING", _OK, _OK, _OK,
         "OBJECTION_DM"),
    "objection": ("OBJECTION_DM", _OK, "OBJECTION_DM", "OBJECTION_DM", _OK, _OK, _OK, _OK, "OBJECTION_DM"),
    "objection, listed":
        ("OBJECTION_DM", "CONSENT_WITHDRAWN", "OBJECTION_DM", "OBJECTION_DM", "OBJECTION_PENDING", _OK, _OK, _OK,
         "OBJECTION_DM"),
    "objection, then a new sale": ("OBJECTION_DM", _OK, "OBJECTION_DM", "OBJECTION_DM", _OK, _OK, _OK, _OK,
                                   "OBJECTION_DM"),
    "complaint about e-mail": ("COMPLAINT", _OK, "COMPLAINT", "COMPLAINT", _OK, _OK, _OK, _OK, "COMPLAINT"),
    "situation": ("OBJECTION_DM", _OK, "OBJECTION_DM", "OBJECTION_DM", "OBJECTION_PENDING", _OK, _OK, _OK,
                  "OBJECTION_DM"),
    "situation, listed":
        ("OBJECTION_DM", "CONSENT_WITHDRAWN", "OBJECTION_DM", "OBJECTION_DM", "OBJECTION_PENDING", _OK, _OK, _OK,
         "OBJECTION_DM"),
    "situation, upheld":
        ("OBJECTION_DM", _OK, "OBJECTION_DM", "OBJECTION_DM", "OBJECTION_UPHELD", _OK, _OK, "OBJECTION_UPHELD",
         "OBJECTION_DM"),
    "situation, rejected":
        ("OBJECTION_DM", _OK, "OBJECTION_DM", "OBJECTION_DM", "LEGITIMATE_INTEREST_COMPELLING", _OK, _OK,
         "LEGITIMATE_INTEREST_COMPELLING", "OBJECTION_DM"),
    "restriction": (*("RESTRICTED",) * 6, _OK, _OK, "RESTRICTED"),
    "restriction, lifted": (_OK,) * 9,
    "erasure requested": (*("ERASURE_REQUESTED",) * 5, _OK, _OK, _OK, "ERASURE_REQUESTED"),
    "erasure refused": (*("ERASURE_REQUESTED",) * 4, _OK, _OK, _OK, _OK, "ERASURE_REQUESTED"),
    "erasure executed": (*("ERASED",) * 6, _OK, _OK, "ERASED"),
    "erasure executed, then a new sale": (*("ERASED",) * 4, _OK, _OK, _OK, _OK, "ERASED"),
    "bounce of the e-mail address": ("HARD_BOUNCE",) * 9,
    "reported minor": ("MINOR", _OK, "MINOR", "MINOR", _OK, _OK, _OK, _OK, "MINOR"),
}  # fmt: skip
# What a fresh consent to one purpose ends for that purpose, and for nothing else.
_ANEW: Final = {
    "withdrawal of all, then a consent": "withdrawal of all",
    "objection, then a consent": "objection",
    "restriction, then a consent": "restriction",
    "erasure executed, then a consent": "erasure executed",
}
STATES: Final = (*_OVERVIEW, *_ANEW)


class Person(NamedTuple):
    """Somebody with an identifier of every type; the email address and customer number may be made up by tests."""

    email: str = "an@example.be"
    phone: str = "+32470112233"
    postal: str = "BE 1000 BRUSSEL, MARKT 1"
    device: str = "device-an"
    customer_no: str = "C-1"

    def told(self) -> list[dict[str, str]]:
        """Give all identifiers as events and questions name them."""
        return [{"type": kind, "value": value} for kind, value in self._asdict().items()]

    def on(self, channel: str) -> dict[str, str]:
        """Give the identifier to ask about on a channel."""
        kinds = {"phone": "phone", "sms": "phone", "post": "postal", "device": "device"}
        kind = kinds.get(channel, "email")
        return {"type": kind, "value": getattr(self, kind)}


def column(purpose: Purpose) -> str:
    """Name the column of the overview in which a purpose stands."""
    basis, marketing = purpose["basis"], purpose.get("direct_marketing") is True
    if basis == "consent":
        return "consent, marketing" if marketing else "consent"
    if marketing:
        if purpose.get("repermission_for"):
            return "re-permission"
        return "soft opt-in" if purpose.get("soft_opt_in") else "f, marketing"
    exempt = purpose.get("erasure_exempt") is True
    if basis == "legitimate-interest":
        return "f, exempt" if exempt else "f, other"
    return "law, exempt" if exempt else "contract"


def expected(purpose: Purpose, channel: str, state: str, again: str | None, *, snapshot: bool = True) -> str:
    """Give the code that must be answered. `again`: the purpose consented to anew in the states of a fresh consent.

    `snapshot`: a fresh snapshot of the do-not-call register, without the person, is on record.
    """
    stands = column(purpose)
    if state in _ANEW and purpose["id"] == again:
        return _YES[stands]
    against = _OVERVIEW[_ANEW.get(state, state)][_COLUMNS.index(stands)]
    if _spares(purpose, channel, state):
        against = _OK
    if state == "nothing" and stands == "f, marketing" and purpose.get("inactivity_ttl"):
        return "RETENTION_UNPROVEN"
    if state == "reported minor" and (purpose.get("min_age") or purpose.get("iss")):
        return "MINOR"
    if against == _OK and stands == "contract" and purpose["basis"] == "legal-obligation":
        return "LEGAL_OBLIGATION"
    answer = against or _YES[stands]
    if answer in ALLOWED and channel == "phone" and purpose.get("dnc") and not snapshot:
        return "DNC_STALE"
    return answer


def _spares(purpose: Purpose, channel: str, state: str) -> bool:
    """Tell whether what is about e-mail leaves a channel alone; a complaint also reaches profiling for marketing."""
    if state == "complaint about e-mail":
        return channel not in ("email", "internal") or purpose.get("direct_marketing") is not True
    return state == "bounce of the e-mail address" and channel != "email"


def consented_anew(purposes: Sequence[Purpose]) -> str | None:
    """Name the purpose that the states of a fresh consent are about: the first for marketing, else the first."""
    found = [purpose for purpose in purposes if purpose["basis"] == "consent"]
    return next((p["id"] for p in sorted(found, key=lambda p: p.get("direct_marketing") is not True)), None)


def events(
    controller: str, purposes: Sequence[Purpose], state: str, person: Person, start: datetime = START
) -> list[Event]:
    """Tell how a person of a controller comes into a state, in the flat form of scenarios; ids are new UUIDs."""
    if state == "nothing":
        return []
    story = _Story(controller, purposes, person, start)
    return [*story.facts(), *story.refusal(state), *story.ending(state)]


def cloudevent(event: Event) -> Event:
    """Give the same event as publishers send it."""
    envelope = {name: event[name] for name in ("id", "type", "source")}
    said = {name: value for name, value in event.items() if name not in (*envelope, "occurred_at", "recorded_at")}
    return {"specversion": "1.0", **envelope, "time": event["occurred_at"], "data": said}


def snapshot(source: str, name: str, at: datetime = ASKED - timedelta(hours=1)) -> Event:
    """A fresh snapshot of a do-not-call register in which nobody of the walk stands."""
    return {
        "id": str(uuid.uuid4()), "type": "preference-register-imported", "source": source, "register": name,
        "occurred_at": at.isoformat(), "recorded_at": at.isoformat(), "numbers": [{"value": "+32470999999"}],
    }  # fmt: skip


def steps(register: Mapping[str, Any]) -> Iterator[tuple[str, list[Purpose], str]]:
    """Walk through a register: each controller, its purposes, each state."""
    for controller in register["controllers"]:
        purposes = [purpose for purpose in register["purposes"] if purpose["controller"] == controller]
        for state in STATES if purposes else ():
            yield controller, purposes, state


_ERASURE: Final[tuple[str, Event]] = ("erasure-requested", {})
_REFUSALS: Final[dict[str, tuple[str, Event]]] = {
    "withdrawal": ("consent-withdrawn", {}),
    "withdrawal of all": ("consent-withdrawn", {}),
    "objection": ("objection-raised", {"kind": "direct-marketing"}),
    "situation": ("objection-raised", {"kind": "situation"}),
    "complaint about e-mail": ("complaint-received", {"kind": "feedback-loop", "channels": ["email"]}),
    "restriction": ("restriction-placed", {"ground": "a"}),
    "erasure requested": _ERASURE,
    "erasure refused": _ERASURE,
    "erasure executed": _ERASURE,
    "bounce of the e-mail address": ("delivery-failed", {"bounce": "hard", "channels": ["email"]}),
    "reported minor": ("age-established", {"is_minor": True}),
}


class _Story:
    def __init__(self, controller: str, purposes: Sequence[Purpose], person: Person, start: datetime) -> None:
        self._controller = controller
        self._purposes = purposes
        self._person = person
        self._start = start
        self._refusal_id = str(uuid.uuid4())

    def facts(self) -> list[Event]:
        """Consent to all that rests on it, confirmed; a sale with soft opt-in; contact."""
        return [
            *self._consent(0, [purpose for purpose in self._purposes if purpose["basis"] == "consent"]),
            self._sale(0),
            self._said(0, "contact-recorded", initiated_by="subject", kind="order"),
        ]

    def refusal(self, state: str) -> list[Event]:
        first, _, extent = state.partition(", ")
        if first not in _REFUSALS:
            return []
        type_, fields = _REFUSALS[first]
        listed = {"purposes": [purpose["id"] for purpose in self._purposes]} if extent == "listed" else {}
        return [self._said(1, type_, id=self._refusal_id, **fields, **listed)]

    def ending(self, state: str) -> list[Event]:
        found: list[Event] = []
        day = self._start + timedelta(days=1, hours=1)
        if state in ("situation, upheld", "situation, rejected"):
            found.append(
                self._staff(
                    "objection-assessed",
                    objection_id=self._refusal_id,
                    outcome=state.rpartition(" ")[2],
                    grounds="because",
                    subject_informed_at=day.isoformat(),
                )
            )
        if state == "restriction, lifted":
            found.append(
                self._staff("restriction-lifted", restriction_id=self._refusal_id, subject_informed_at=day.isoformat())
            )
        if state == "erasure refused":
            found.append(self._staff("erasure-refused", request_id=self._refusal_id, grounds="Art. 17(3)(e)"))
        if state.startswith("erasure executed"):
            told = self._person.told()
            found.append(self._staff("erasure-executed", request_id=self._refusal_id, subject=told))
        if state.endswith("then a new sale"):
            found.append(self._sale(2))
        if state.endswith("then a consent"):
            again = consented_anew(self._purposes)
            found += self._consent(2, [purpose for purpose in self._purposes if purpose["id"] == again])
        return found  # fmt: skip

    def _said(self, day: int, type: str, **fields: Any) -> Event:
        at = (self._start + timedelta(days=day)).isoformat()
        usual = {"id": str(uuid.uuid4()), "source": f"web:{self._controller}", "subject": self._person.told()}
        named = {"type": type, "occurred_at": at, "recorded_at": at, "controllers": [self._controller]}
        return named | usual | fields

    def _staff(self, type: str, **fields: Any) -> Event:
        at = (self._start + timedelta(days=1, hours=2)).isoformat()
        source = f"staff:{self._controller}"
        event = self._said(1, type, source=source, **fields) | {"occurred_at": at, "recorded_at": at}
        return event if "subject" in fields else {name: value for name, value in event.items() if name != "subject"}

    def _sale(self, day: int) -> Event:
        met = dict.fromkeys(("collected_in_sale", "opt_out_offered", "similar_products"), True)
        return self._said(day, "relationship-started", sale_ref="order-1", **met)

    def _consent(self, day: int, purposes: Sequence[Purpose]) -> list[Event]:
        if not purposes:
            return []
        given = self._said(
            day, "consent-given", purposes=[purpose["id"] for purpose in purposes],
            channels=sorted({channel for purpose in purposes for channel in purpose["channels"]}),
            origin="data-subject", mechanism="unticked-checkbox",
            evidence={"text_id": "text-nl", "text_version": 1, "ref": "form-snapshot"},
        )  # fmt: skip
        confirmed = self._said(day, "consent-confirmed", consent_id=given["id"])
        confirmed.pop("subject")
        return [given, confirmed]
