"""When a consent counts (specification 6.7, 6.14.1, 6.14.8).

Decided here, where the text is silent:
- A declared minimum age below the threshold leaves the age unknown, whatever the gate: `age_gate` speaks only where
  nothing was declared ("`declared_min_age`, else `age_gate`"), and a purpose without a gate is not open.
- A text version that is no number is older than any.
"""

from datetime import date, datetime
from typing import Any

from oracle.case import Case, Identifier, about, identifiers
from oracle.known import Entry, listed
from oracle.times import END_OF_TIME, article_8_age, birthday, plus

ORIGINS = {"data-subject", "import", "third-party"}
MECHANISMS = {
    "unticked-checkbox", "button", "toggle", "signature", "recorded-call", "double-opt-in", "preference-centre",
}  # fmt: skip
TO_CONFIRM = "P7D"
COUNTS = "counts"


def consents(case: Case) -> list[Entry]:
    """Return the consents that name this controller, purpose, channel and address, in lists; counting or not."""
    return [
        one
        for one in case.of("consent-given")
        if case.controller in listed(one, "controllers")
        and case.purpose["id"] in listed(one, "purposes")
        and case.channel in listed(one, "channels")
        and _at_the_address_or_before_it(case, one)
    ]


def _at_the_address_or_before_it(case: Case, consent: Entry) -> bool:
    return any(_followed(case, consent, address, END_OF_TIME, set()) for address in case.stand_for_the_address)


def _followed(case: Case, consent: Entry, address: Identifier, before: datetime, seen: set[Identifier]) -> bool:
    """6.7: the address is in the event, or replaced one that is, by a verified change of the subject, later than it.

    An address replaces one of its own type, and a chain of changes is followed in the order in which they happened.
    """
    if address in about(consent):
        return True
    return any(
        consent.t < change.t and _followed(case, consent, old, change.t, seen | {address})
        for change in case.of("identifier-changed")
        if case.counts(change)
        and change.body.get("origin") == "data-subject"
        and change.body.get("verified") is True
        and change.t < before
        and address in identifiers([change.body["new"]])
        for old in identifiers([change.body["old"]]) - seen - {address}
        if old[0] == address[0]
    )


def counting(case: Case) -> list[Entry]:
    return [one for one in consents(case) if status(case, one) == COUNTS]


def reported_status(case: Case) -> str:
    """6.9, 6.14.1: of several, none of which counts, the one with the latest t, the first in ledger order on a tie."""
    found = consents(case)
    if not found:
        return "CONSENT_ABSENT"
    return status(case, max(found, key=lambda one: one.t))


def status(case: Case, consent: Entry) -> str:
    """6.14.1: the first condition that fails, in the order of the text."""
    evidence = consent.body.get("evidence") or {}
    if case.basis != "consent" or not case.counts(consent):
        return "CONSENT_INVALID"
    if consent.body.get("origin") not in ORIGINS or consent.body.get("mechanism") not in MECHANISMS:
        return "CONSENT_INVALID"
    if any(evidence.get(field) in (None, "") for field in ("text_id", "text_version", "ref")):
        return "CONSENT_INVALID"
    if _number(evidence["text_version"]) < (case.purpose.get("min_text_version") or 0):
        return "CONSENT_OUTDATED"
    return _age(case, consent) or _confirmation(case, consent) or _lifetime(case, consent) or COUNTS


def _number(version: Any) -> int:
    return version if isinstance(version, int) else 0


def _confirmation(case: Case, consent: Entry) -> str | None:
    """Double opt-in: a confirmation counts from t to t + P7D, both included."""
    last = plus(consent.t, TO_CONFIRM)
    if not case.purpose.get("double_opt_in") or any(
        consent.t <= one.t <= last and confirms(case, one, consent) for one in case.of("consent-confirmed")
    ):
        return None
    return "CONSENT_PENDING" if case.at <= last else "CONFIRMATION_EXPIRED"


def confirms(case: Case, one: Entry, consent: Entry) -> bool:
    return case.counts(one) and consent.is_meant_by(one.body.get("consent_id"))


def _lifetime(case: Case, consent: Entry) -> str | None:
    ttl = case.purpose.get("consent_ttl")
    return "CONSENT_EXPIRED" if ttl and case.at >= plus(consent.t, ttl) else None


def _age(case: Case, consent: Entry) -> str | None:
    """6.7, 6.14.8: verified parental authorisation answers both."""
    if (consent.body.get("parental") or {}).get("verified") is True:
        return None
    said = consent.body.get("age") or {}
    limit = threshold(case, consent)
    established = established_birth(case)
    if established is None and reported_minor(case) and (limit is not None or case.marketing):
        return "MINOR"
    if limit is None:
        return None
    born = established or (date.fromisoformat(said["birth_date"]) if said.get("birth_date") else None)
    if born is not None:
        return "MINOR" if consent.t.date() < birthday(born, limit) else None
    if said.get("declared_min_age") is not None:
        return None if said["declared_min_age"] >= limit else "AGE_UNKNOWN"
    return None if case.purpose.get("age_gate") == "signal" else "AGE_UNKNOWN"


def threshold(case: Case, consent: Entry) -> int | None:
    """max(min_age, for `iss` the Article 8 age of the subject's country, else the controller's)."""
    limits = [case.purpose["min_age"]] if case.purpose.get("min_age") else []
    if case.purpose.get("iss"):
        own = case.register["controllers"][case.controller].get("country")
        limits.append(article_8_age(consent.body.get("country") or own, consent.t.date()))
    return max(limits, default=None)


def _established(case: Case) -> list[Entry]:
    """Return what this controller learnt of the person's age; it stays with the controller that learnt it (9.20)."""
    return [
        one for one in case.of("age-established") if case.controller in case.addressed_by(one) and case.reached_by(one)
    ]


def established_birth(case: Case) -> date | None:
    """6.14.8: the newest established birth date decides; of two at one instant the younger person."""
    dated: list[tuple[Any, date]] = [
        (one.t, date.fromisoformat(one.body["birth_date"])) for one in _established(case) if one.body.get("birth_date")
    ]
    return max(dated)[1] if dated else None


def reported_minor(case: Case) -> bool:
    return any(one.body.get("is_minor") is True for one in _established(case))


def known_under_18(case: Case) -> bool:
    """6.7: marketing on legitimate interest never goes to one; the bar falls on the eighteenth birthday."""
    born = established_birth(case)
    return case.at.date() < birthday(born, 18) if born else reported_minor(case)
