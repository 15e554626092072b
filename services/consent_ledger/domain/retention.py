"""What may be deleted of a dossier (domain.md 7.4): evidence of consents whose time is over, never a refusal.

Two things go apart. The personal part of a consent goes when its time is over. Its index rows, by which it is found, go
only where nothing but the consent itself rests on them: what links two identifiers, marks one as shared, tells an age
or names several controllers also carries refusals, which would no longer reach everyone they reach.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

import msgspec

from consent_ledger.domain import durations, holds
from consent_ledger.domain.deadlines import evidence_until
from consent_ledger.domain.decision import ADDRESS_OF, decide, decide_address
from consent_ledger.domain.facts import Fact
from consent_ledger.domain.register import CONSENT, Purpose, Register
from consent_ledger.domain.requests import Calendar

DEFAULT: Final = "P3Y"
"""How long evidence is kept where nobody says (ISO 8601)."""
QUARANTINE_DAYS: Final = 30
REQUEST_FILE: Final = "P3Y"
"""How long the file of an answered request is kept, from the answer."""
_AT_ONCE: Final = "P0D"
_UNCONFIRMED: Final = "CONFIRMATION_EXPIRED"
_ENDED: Final = frozenset(
    {"ERASED", "OBJECTION_DM", "COMPLAINT", "ERASURE_REQUESTED", "CONSENT_WITHDRAWN", "CONSENT_ABSENT"}
    | {"CONSENT_EXPIRED", "INACTIVE_EXPIRED", _UNCONFIRMED}
)
"""Why a consent is not relied on any more. What only keeps it from use, such as a restriction, is no end."""
_STEPS_MAX: Final = 1000

Place = tuple[int, int]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What may go of one dossier. `payloads`: places whose personal part goes; `facts`: those that are forgotten whole.

    `purposes`: those of the consents that are over, once for each; `kept`: how many of them are not forgotten whole.
    """

    payloads: frozenset[Place]
    facts: frozenset[Place]
    purposes: tuple[str, ...]
    kept: int


NOTHING: Final = Plan(payloads=frozenset(), facts=frozenset(), purposes=(), kept=0)


def plan(register: Register, facts: Sequence[Fact], controller: str, calendar: Calendar, now: int) -> Plan:
    """Tell what may go of a dossier now. Of whoever is under a legal hold, nothing may."""
    held = holds.held(register, facts, controller, now)
    consents = [one for one in facts if one.type == "consent-given" and held.isdisjoint(one.tokens)]
    over = [one for one in consents if is_over(register, facts, one, controller, calendar, now)]
    if not over:
        return NOTHING
    forgotten = _with(facts, [one for one in over if not _carries(one)], {"consent-confirmed", "event-voided"})
    if not still_suppressed(register, facts, _without(facts, forgotten), controller, now):
        forgotten = frozenset()
    return Plan(
        payloads=_with(facts, over, {"consent-confirmed"}),
        facts=forgotten,
        purposes=tuple(name for one in over for name in one.purposes or ()),
        kept=sum(one.place not in forgotten for one in over),
    )


def is_over(
    register: Register, facts: Sequence[Fact], consent: Fact, controller: str, calendar: Calendar, now: int
) -> bool:
    """Tell whether the last day to keep the evidence of a consent has passed; False while reliance on it has no end."""
    until = until_of(register, facts, consent, controller, calendar, now)
    return until is not None and calendar.day(now) > until


def until_of(
    register: Register, facts: Sequence[Fact], consent: Fact, controller: str, calendar: Calendar, now: int
) -> date | None:
    """Give the last day to keep the evidence of a consent; None while it is relied on, or nobody can tell.

    Reliance ends by withdrawal, objection, expiry or erasure, whichever comes first, for every purpose and channel of
    the consent. One that never gave any permission was relied on by nobody after its recording.
    """
    given = calendar.day(consent.recorded)
    asked = _questions(register, consent, controller)
    if asked is None:
        return None
    days = [given]
    own = [one for one in facts if one.type != "consent-given" or one.place == consent.place]
    for purpose, channel, identifier in asked:
        end = _end(register, own, consent, (controller, purpose.id, channel, identifier), now)
        if end is None:
            return None
        instant, reason = end
        retention = _AT_ONCE if reason == _UNCONFIRMED else retention_of(register, controller, purpose.id)
        german = channel == "phone" and (consent.country or purpose.terms.country or "").upper() == "DE"
        calls = [calendar.day(one.time) for one in facts if one.type == "contact-recorded" and one.kind == "call"]
        days.append(
            evidence_until(
                calendar.day(instant), retention, german_calls=german, given=given, last_used=max(calls, default=None)
            )
        )
    if not asked:
        days += [evidence_until(given, retention_of(register, controller, name)) for name in consent.purposes or ("",)]
    return max(days)


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


def _questions(
    register: Register, consent: Fact, controller: str
) -> list[tuple[Purpose, str, tuple[str, bytes]]] | None:
    """List what a consent can permit, by purpose, channel and address; None if the register does not know a purpose."""
    purposes = [register.purposes.get((controller, name)) for name in consent.purposes or ()]
    if controller not in register.controllers or None in purposes:
        return None
    return [
        (purpose, channel, (kind, token))
        for purpose in purposes if purpose is not None and purpose.terms.basis == CONSENT
        for channel in consent.channels or () if channel in purpose.channels
        for _, kind, token, _ in consent.identifiers if ADDRESS_OF[channel] in (None, kind)
    ]  # fmt: skip


def _end(
    register: Register, own: Sequence[Fact], consent: Fact, asked: tuple[str, str, str, tuple[str, bytes]], now: int
) -> tuple[int, str] | None:
    """Find the first instant at which nobody relied on a consent any more, and why; None if there is none."""
    controller, purpose, channel, identifier = asked
    recordings = sorted({one.recorded for one in own if consent.recorded < one.recorded <= now})
    instant: int | None = consent.recorded
    for _ in range(_STEPS_MAX):
        if instant is None or instant > now:
            return None
        answer = decide(
            register, own, controller=controller, identifiers=[identifier], purpose=purpose, channel=channel, at=instant
        )
        ended = next((reason for reason in answer.reasons if reason in _ENDED), None)
        if ended is not None:
            return instant, ended
        later = [one for one in (answer.due, next((one for one in recordings if one > instant), None)) if one]
        instant = min((one for one in later if one > instant), default=None)
    return None


def _carries(consent: Fact) -> bool:
    """Tell whether more than the consent rests on its index rows."""
    return (
        len(consent.identifiers) > 1
        or any(shared for _, _, _, shared in consent.identifiers)
        or len(consent.controllers or ()) > 1
        or consent.birth_day is not None
    )


def _with(facts: Sequence[Fact], consents: Collection[Fact], types: Collection[str]) -> frozenset[Place]:
    """Take along what refers to consents and, having no identifiers, is found by them alone."""
    ids = {one.event_id for one in consents}
    referring = (one.place for one in facts if one.type in types and one.refers_to in ids and not one.identifiers)
    return frozenset({*(one.place for one in consents), *referring})


def _without(facts: Sequence[Fact], forgotten: Collection[Place]) -> list[Fact]:
    return [one for one in facts if one.place not in forgotten]


def still_suppressed(
    register: Register, before: Sequence[Fact], after: Sequence[Fact], controller: str, now: int
) -> bool:
    """Decide everything with the facts left over: no answer may have become a yes."""
    for kind, token in {(kind, token) for one in before for _, kind, token, _ in one.identifiers}:
        was, is_ = (
            decide_address(register, some, controller=controller, type=kind, token=token, at=now)
            for some in (before, after)
        )
        if any(answer.allow and not was[pair].allow for pair, answer in is_.items()):
            return False
    return True


def _is_duration(value: object) -> bool:
    try:
        return isinstance(value, str) and durations.parse(value) is not None
    except durations.DurationError:
        return False
