"""When a consent counts (Art. 4(11), 7 and 8; specification 6.7).

Consent: rows K1 to K20. Minors: rows M1 to M6 and M8 to M10.
"""

from typing import Final

from consent_ledger.domain import durations
from consent_ledger.domain.ages import age_of_consent, has_changed
from consent_ledger.domain.case import SUBJECT, Case
from consent_ledger.domain.facts import UNREADABLE, Fact
from consent_ledger.domain.identity import in_window

_CONFIRMATION_OVER: Final = "P7DT0.000001S"
"""The first instant at which a double opt-in can no longer be confirmed."""
_ORIGINS: Final = frozenset({SUBJECT, "import", "third-party"})
MECHANISMS: Final = frozenset(
    {"unticked-checkbox", "button", "toggle", "signature", "recorded-call", "double-opt-in", "preference-centre"}
)
"""By these a consent may be given; silence, pre-ticked boxes and bundles are no consent."""


def weigh(case: Case) -> None:
    """Find the consents to this purpose, channel and address, and which of them count.

    Left out is one behind which a later one of the same source stands that counts: that ends no sooner, and undoes
    every refusal that the earlier one does. Somebody may have consented a thousand times.
    """
    if not case.is_consent:
        return
    behind = set[tuple[str, bool, bool]]()
    for consent in sorted(_named(case), key=lambda one: one.time, reverse=True):
        own, here = consent.origin == SUBJECT, consent.event_id in case.standing.consents_at_address
        if (consent.source, own, here) in behind:
            continue
        flaw = _flaw(case, consent)
        case.candidates.append((consent, flaw))
        if flaw is None:
            case.counting.append(consent)
            behind |= {(consent.source, as_own, at_it) for as_own in {own, False} for at_it in {here, False}}


def candidates(case: Case) -> list[tuple[Fact, str | None]]:
    """Give every consent to this purpose, channel and address, in the order of the ledger, with what it lacks."""
    aside = Case(case.standing, case.purpose, case.channel, case.now)
    return [(consent, _flaw(aside, consent)) for consent in _named(case)]


def _named(case: Case) -> list[Fact]:
    return [consent for consent in case.standing.consents if case.is_named_in(consent)]


def require(case: Case) -> None:
    """Ask for one consent that counts; else report the flaw of the newest, on a tie the first in the ledger."""
    if case.counting:
        case.rests_on.append(max(case.counting, key=lambda consent: consent.time))
    elif case.candidates:
        consent, flaw = max(
            case.candidates, key=lambda candidate: (candidate[0].time, -candidate[0].shard, -candidate[0].pos)
        )
        case.object(flaw or "CONSENT_INVALID", consent)
    else:
        case.object("CONSENT_ABSENT")


def _flaw(case: Case, consent: Fact) -> str | None:
    """Give the first condition that a consent fails, in the order of specification 6.14.1."""
    standing = case.standing
    if consent.ahead or not standing.register.serves(consent.source, standing.controller):
        return "CONSENT_INVALID"
    # Silence, pre-ticked boxes and bundles are no consent (Rec. 32; C-673/17, C-61/19), nor is what cannot be shown.
    if consent.origin not in _ORIGINS or consent.mechanism not in MECHANISMS or not consent.evident:
        return "CONSENT_INVALID"
    if case.terms.min_text_version is not None and (consent.text_version or 0) < case.terms.min_text_version:
        return "CONSENT_OUTDATED"
    return _age(case, consent) or _confirmation(case, consent) or _expiry(case, consent)


def _age(case: Case, consent: Fact) -> str | None:
    """Tell whether the subject was too young on the day of the consent (Art. 8; rows M1 to M6, M8 to M10)."""
    standing, terms = case.standing, case.terms
    if consent.parental:
        return None
    is_limited = terms.min_age is not None or terms.iss
    if standing.reports and not standing.birth_days:
        return "MINOR" if is_limited or terms.direct_marketing else None
    if not is_limited:
        return None
    born = newest_birth_day(case) if standing.birth_days else consent.birth_day
    if born is not None and born != UNREADABLE:
        case.rest_on_date()
        return "MINOR" if consent.time < durations.birthday(born, _limit(case, consent)) else None
    declared = consent.declared_min_age
    suffices = terms.age_gate == "signal" if declared is None else declared >= _limit(case, consent)
    return None if suffices and born is None else "AGE_UNKNOWN"


def _limit(case: Case, consent: Fact) -> int:
    """Give the age under which a consent needs the parents: the policy's, or the law's for an online service."""
    policy = case.terms.min_age or 0
    if not case.terms.iss:
        return policy
    country, day = consent.country or case.terms.country, durations.moment(consent.time).date()
    if has_changed(country):
        case.rest_on_date()
    return max(policy, age_of_consent(country, day))


def newest_birth_day(case: Case) -> int | None:
    """Give the birth date established last, whatever was reported; of two at one instant, the younger person's."""
    newest = max(case.standing.birth_days, key=lambda fact: (fact.time, fact.birth_day or 0), default=None)
    return newest.birth_day if newest else None


def _confirmation(case: Case, consent: Fact) -> str | None:
    """Ask for the second step of a double opt-in, from the instant of the consent to P7D after it (Art. 7(1))."""
    if not case.terms.double_opt_in:
        return None
    confirmations = case.standing.confirmations.get(consent.event_id)
    if confirmations:
        case.rest_on_date()
        if any(in_window(consent, one) for one in confirmations):
            return None
    over = case.end_of(consent.time, _CONFIRMATION_OVER)
    return "CONSENT_PENDING" if case.now < over else "CONFIRMATION_EXPIRED"


def _expiry(case: Case, consent: Fact) -> str | None:
    """Let a consent end at its age (storage limitation, Art. 5(1)(e))."""
    if case.terms.consent_ttl is None:
        return None
    end = case.end_of(consent.time, case.terms.consent_ttl)
    return "CONSENT_EXPIRED" if case.now >= end else None
