"""Until when what permits was relied on (domain.md 7.4): a consent, a sale with its soft opt-in, a contact.

Reliance ends by withdrawal, objection, complaint, expiry or erasure, whichever comes first. What never permitted
anything was relied on by nobody after its recording.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final

from consent_ledger.domain import durations
from consent_ledger.domain.deadlines import evidence_until
from consent_ledger.domain.decision import ADDRESS_OF, Decision, decide
from consent_ledger.domain.facts import Fact
from consent_ledger.domain.register import CONSENT, Purpose, Register
from consent_ledger.domain.requests import Calendar

DEFAULT: Final = "P3Y"
"""How long evidence is kept where nobody says (ISO 8601)."""
_AT_ONCE: Final = "P0D"
_UNCONFIRMED: Final = "CONFIRMATION_EXPIRED"
_ENDED: Final = frozenset(
    {"ERASED", "OBJECTION_DM", "COMPLAINT", "ERASURE_REQUESTED", "CONSENT_WITHDRAWN", "CONSENT_ABSENT"}
    | {"CONSENT_EXPIRED", "INACTIVE_EXPIRED", _UNCONFIRMED}
)
"""Why a consent is not relied on any more. What only keeps it from use, such as a restriction, is no end."""
_NOT_COUNTING: Final = frozenset({"CONSENT_INVALID", "CONSENT_OUTDATED", "MINOR", "AGE_UNKNOWN"})
"""What a consent is while it lacks something; another register, or what is learnt of the person, may change that."""
_NO_SALE: Final = _ENDED | {"SOFT_OPT_IN_MISSING", "EPRIVACY_NO_BASIS"}
_STEPS_MAX: Final = 1000

_Question = tuple[Purpose, str, tuple[str, bytes]]


def consent_until(
    register: Register, facts: Sequence[Fact], consent: Fact, controller: str, calendar: Calendar, now: int, since: int
) -> date | None:
    """Give the last day to keep the evidence of a consent; None while it is relied on.

    `since`: when the register came into force, in microseconds since 1970. A consent that does not count under it, or
    whose purpose it does not know, was relied on until then at most.
    """
    if controller not in register.controllers:
        return None
    given = calendar.day(consent.recorded)
    own = [one for one in facts if one.type != "consent-given" or one.place == consent.place]
    days = [given]
    for name in consent.purposes or ("",):
        purpose = register.purposes.get((controller, name))
        if purpose is None:
            unknown = calendar.day(max(consent.recorded, since))
            days.append(evidence_until(unknown, retention_of(register, controller, name)))
            continue
        asked = _questions(consent, purpose) if purpose.terms.basis == CONSENT else []
        if not asked:
            days.append(evidence_until(given, retention_of(register, controller, name)))
        for question in asked:
            end = _consent_end(register, own, consent, controller, question, now, since)
            if end is None:
                return None
            days.append(_consent_day(register, facts, consent, controller, calendar, question, *end))
    return max(days)


def sale_until(
    register: Register, facts: Sequence[Fact], sale: Fact, controller: str, calendar: Calendar, now: int
) -> date | None:
    """Give the last day to keep the evidence of a sale; None while a soft opt-in or a silence clock rests on it."""
    own = [one for one in facts if one.type != "relationship-started" or one.place == sale.place]
    of_customers = _of_customers(register, controller)
    days = [evidence_until(calendar.day(sale.recorded), longest(register, controller, of_customers))]
    for purpose in of_customers:
        for question in _questions(sale, purpose, purpose.channels):
            end = None
            for instant, answer in _walk(register, own, sale, controller, question, now):
                end = (end or instant) if _NO_SALE.intersection(answer.reasons) else None
            if end is None:
                return None
            days.append(evidence_until(calendar.day(end), retention_of(register, controller, purpose.id)))
    return max(days)


def contact_until(register: Register, contact: Fact, controller: str, calendar: Calendar) -> date:
    """Give the last day to keep a contact, or the end of a relationship: counted from when its clock ran out."""
    of_customers = _of_customers(register, controller)
    ends = [durations.after(contact.time, one.terms.inactivity_ttl) for one in of_customers if one.terms.inactivity_ttl]
    return evidence_until(calendar.day(max([contact.recorded, *ends])), longest(register, controller, of_customers))


def withdrawal_until(register: Register, withdrawal: Fact, controller: str, calendar: Calendar) -> date:
    """Give the last day to keep the evidence of a withdrawal, counted from itself."""
    purposes = [one for one in register.purposes_of(controller) if one.id in (withdrawal.purposes or (one.id,))]
    return evidence_until(calendar.day(withdrawal.recorded), longest(register, controller, purposes))


def retention_of(register: Register, controller: str, purpose: str) -> str:
    """Give how long evidence is kept after reliance ends: of the purpose, of its controller, or P3Y."""
    rows: Iterable[Mapping[str, Any]] = register.document.get("purposes", ())
    row = next((one for one in rows if (one["controller"], one["id"]) == (controller, purpose)), {})
    doc = row.get("doc")
    said = [
        row.get("evidence_retention"),
        doc.get("evidence_retention") if isinstance(doc, dict) else None,
        register.document.get("controllers", {}).get(controller, {}).get("evidence_retention"),
    ]
    return next((one for one in said if _is_duration(one)), DEFAULT)


def longest(register: Register, controller: str, purposes: Iterable[Purpose]) -> str:
    """Give the longest time for which evidence of any of some purposes is kept; P3Y at least."""
    found = [retention_of(register, controller, purpose.id) for purpose in purposes]
    return max([DEFAULT, *found], key=lambda said: durations.after(0, said))


def _consent_end(
    register: Register, own: Sequence[Fact], consent: Fact, controller: str, question: _Question, now: int, since: int
) -> tuple[int, str] | None:
    """Find the first instant at which nobody relied on a consent any more, and why; None if there is none."""
    uncounted: tuple[int, str] | None = None
    for instant, answer in _walk(register, own, consent, controller, question, now):
        ended = next((reason for reason in answer.reasons if reason in _ENDED), None)
        if ended is not None:
            return instant, ended
        lacking = next((reason for reason in answer.reasons if reason in _NOT_COUNTING), None)
        uncounted = (uncounted or (max(instant, since), lacking)) if lacking else None
    return uncounted


def _consent_day(
    register: Register, facts: Sequence[Fact], consent: Fact, controller: str, calendar: Calendar,
    question: _Question, end: int, reason: str,
) -> date:  # fmt: skip
    purpose, channel, _ = question
    calls = [calendar.day(one.time) for one in facts if one.type == "contact-recorded" and one.kind == "call"]
    return evidence_until(
        calendar.day(end),
        _AT_ONCE if reason == _UNCONFIRMED else retention_of(register, controller, purpose.id),
        german_calls=channel == "phone" and (consent.country or purpose.terms.country or "").upper() == "DE",
        given=calendar.day(consent.recorded),
        last_used=max(calls, default=None),
    )


def _walk(
    register: Register, own: Sequence[Fact], fact: Fact, controller: str, question: _Question, now: int
) -> Iterator[tuple[int, Decision]]:
    """Answer a question from the recording of a fact on, at every instant at which the answer may change."""
    purpose, channel, identifier = question
    recordings = sorted({one.recorded for one in own if fact.recorded < one.recorded <= now})
    instant: int | None = fact.recorded
    for _ in range(_STEPS_MAX):
        if instant is None or instant > now:
            return
        answer = decide(
            register, own, controller=controller, identifiers=[identifier], purpose=purpose.id, channel=channel,
            at=instant,
        )  # fmt: skip
        yield instant, answer
        later = [answer.due, next((one for one in recordings if one > instant), None)]
        instant = min((one for one in later if one and one > instant), default=None)


def _questions(fact: Fact, purpose: Purpose, channels: Iterable[str] | None = None) -> list[_Question]:
    """List what a fact can permit of a purpose: by its channels, or those it names itself, and its addresses."""
    return [
        (purpose, channel, (kind, token))
        for channel in (fact.channels or () if channels is None else channels) if channel in purpose.channels
        for _, kind, token, _ in fact.identifiers if ADDRESS_OF[channel] in (None, kind)
    ]  # fmt: skip


def _of_customers(register: Register, controller: str) -> list[Purpose]:
    """List the purposes whose answers rest on sales and contacts."""
    return [one for one in register.purposes_of(controller) if one.terms.soft_opt_in or one.terms.inactivity_ttl]


def _is_duration(value: object) -> bool:
    try:
        return isinstance(value, str) and durations.parse(value) is not None
    except durations.DurationError:
        return False
