"""What the basis of a purpose asks for beyond the absence of refusals (specification 6.9).

Nothing on record: rows Q1 to Q4 (Art. 6(1)). Soft opt-in: rows S1 to S4 (ePrivacy Art. 13). Minors: row M7 (Rec. 38).
Silence clock: rows I1 to I6, re-permission: rows P1 to P6 (Art. 5(1)(e)).
"""

from typing import Final

from consent_ledger.domain import durations, rules_consent
from consent_ledger.domain.case import Case
from consent_ledger.domain.facts import Fact
from consent_ledger.domain.rules_refusal import reaches
from consent_ledger.domain.standing import certainly_later

_ADULT_YEARS: Final = 18
_REPERMISSION_WINDOW: Final = "P30D"
_MAILED: Final = ("email", "sms")
# Of what happened at one instant, the end of a relationship comes last.
_STARTED, _CONSENTED, _CONTACTED, _ENDED = range(4)


def weigh(case: Case) -> None:
    """Ask for what the basis needs: a consent, the conditions of ePrivacy Art. 13, a relationship not long silent."""
    if case.is_consent:
        rules_consent.require(case)
    elif case.terms.column == "marketing":
        if case.terms.repermission_for is None:
            _eprivacy(case)
        _adult(case)
    if case.terms.inactivity_ttl is not None:
        _silence(case, case.terms.inactivity_ttl)


def allowed_as(case: Case) -> str:
    """Name the ground on which a use is allowed."""
    if case.terms.repermission_for is not None:
        return "REPERMISSION_ONCE"
    if case.terms.basis == "legitimate-interest":
        if case.terms.direct_marketing and case.terms.soft_opt_in and case.channel in _MAILED:
            return "SOFT_OPT_IN"
        return "LEGITIMATE_INTEREST_COMPELLING" if case.compelling else "LEGITIMATE_INTEREST"
    return case.terms.basis.upper().replace("-", "_")


def _eprivacy(case: Case) -> None:
    """Ask what electronic marketing without consent asks for (ePrivacy Art. 13; rows S1 to S4)."""
    if case.channel in _MAILED:
        if not case.terms.soft_opt_in:
            case.object("EPRIVACY_NO_BASIS")
        else:
            _soft_opt_in(case)
    elif case.channel == "device" or (case.channel == "phone" and not case.terms.dnc):
        case.object("EPRIVACY_NO_BASIS")


def _soft_opt_in(case: Case) -> None:
    """Ask for a sale with this very address that meets ePrivacy Art. 13(2), later than any erasure of the address."""
    erasures = [
        one.fact for one in case.standing.refusals
        if one.fact.type == "erasure-executed" and one.direct and reaches(case, one.fact, one.scope)
    ]  # fmt: skip
    for sale in case.standing.sales:
        if sale.soft_opt_in and all(certainly_later(sale, one.time, one.source) for one in erasures):
            case.rests_on.append(sale)
            return
    case.object("SOFT_OPT_IN_MISSING", *case.standing.sales)


def _adult(case: Case) -> None:
    """Keep marketing on legitimate interest from anybody known to be under 18 (Rec. 38; row M7)."""
    birth_day = rules_consent.newest_birth_day(case)
    if birth_day is None:
        if case.standing.reports:
            case.object("MINOR", *case.standing.reports)
        return
    adult = durations.birthday(birth_day, _ADULT_YEARS)
    case.wait_for(adult)
    if case.now < adult:
        case.object("MINOR", *case.standing.birth_days)


def _silence(case: Case, ttl: str) -> None:
    """Let the silence clock run: from the last consent, end of a relationship, or contact that came in time."""
    started: int | None = None
    running = False
    for time, what in sorted(_clock_events(case)):
        if what == _CONTACTED and not running and started is not None:
            case.rest_on_date()
            if time >= durations.after(started, ttl):
                continue
        running = what == _STARTED or (running and what != _ENDED)
        started = time
    if running:
        return
    if started is None:
        case.object("RETENTION_UNPROVEN")
        return
    expiry = case.end_of(started, ttl)
    if case.now >= expiry:
        case.silent_since = expiry
        case.object("INACTIVE_EXPIRED")


def _clock_events(case: Case) -> list[tuple[int, int]]:
    standing = case.standing
    events = [(one.time, _STARTED if one.type == "relationship-started" else _ENDED) for one in standing.relationship]
    events += [(one.time, _CONTACTED) for one in standing.contacts]
    events += [(one.time, _CONSENTED) for one in case.counting]
    return events


def ask_again(case: Case, underlying: Case) -> None:
    """Allow the one question after silence: only if nothing but silence stands in the way, once, within P30D."""
    case.wait_like(underlying)
    reason = underlying.reason
    if reason is None:
        case.object("REPERMISSION_NOT_DUE")
    elif reason != "INACTIVE_EXPIRED" or underlying.silent_since is None:
        case.object(reason, *underlying.against[reason])
    else:
        _ask_once(case, underlying.silent_since)


def _ask_once(case: Case, silent_since: int) -> None:
    asked = [one for one in case.standing.questions if one.time >= silent_since and _is_about(case, one)]
    if asked:
        case.object("REPERMISSION_ALREADY_SENT", *asked)
    close = durations.after(silent_since, _REPERMISSION_WINDOW)
    case.wait_for(close)
    if case.now >= close:
        case.object("REPERMISSION_WINDOW_CLOSED")


def _is_about(case: Case, question: Fact) -> bool:
    named = question.purposes
    return not named or case.terms.repermission_for in named or case.purpose.id in named
