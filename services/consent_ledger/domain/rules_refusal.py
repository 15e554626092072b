"""What a refusal means, by its substance and not its label, and what ends it (specification 6.6 and 6.8).

Withdrawal: rows W1 to W20 (Art. 7(3)). Objection and complaint: rows O1 to O25 (Art. 21(2) and (3)). Assessed
objection: rows A1 to A9 (Art. 21(1)). Restriction: rows R1 to R6 (Art. 18). Erasure: rows E1 to E12 (Art. 17).
"""

from collections.abc import Collection
from typing import Final

from consent_ledger.domain.case import Case
from consent_ledger.domain.facts import Fact
from consent_ledger.domain.reach import Scope, covers
from consent_ledger.domain.register import Purpose
from consent_ledger.domain.standing import Elsewhere

_ASSESSED: Final = "Art. 21(1)"
"""An objection that the controller may answer with compelling grounds."""
_WITHDRAWN: Final = ("CONSENT_WITHDRAWN",)
_OBJECTED: Final = ("OBJECTION_DM",)
# An objection to marketing also spends the consent: taken back, it leaves the purpose without one (row O18).
_SPENT: Final = ("OBJECTION_DM", "CONSENT_WITHDRAWN")
_COMPLAINED: Final = ("COMPLAINT", "CONSENT_WITHDRAWN")

_MEANING: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "withdrawal, listed": {
        "consent, marketing": _WITHDRAWN, "consent": _WITHDRAWN, "marketing": _OBJECTED, "other": (_ASSESSED,),
    },
    "withdrawal, all": {"consent, marketing": _WITHDRAWN, "consent": _WITHDRAWN, "marketing": _OBJECTED},
    "direct-marketing, all": {"consent, marketing": _SPENT, "marketing": _OBJECTED},
    "direct-marketing, listed": {
        "consent, marketing": _SPENT, "consent": _WITHDRAWN, "marketing": _OBJECTED, "other": (_ASSESSED,),
    },
    "situation, all": {"consent, marketing": _SPENT, "marketing": _OBJECTED, "other": (_ASSESSED,)},
    "situation, listed": {
        "consent, marketing": _SPENT, "consent": _WITHDRAWN, "marketing": _OBJECTED, "other": (_ASSESSED,),
    },
    "complaint": {"consent, marketing": _COMPLAINED, "marketing": ("COMPLAINT",)},
    "erasure-requested": dict.fromkeys(("consent, marketing", "consent", "marketing", "other"), ("ERASURE_REQUESTED",)),
    "erasure-executed": dict.fromkeys(
        ("consent, marketing", "consent", "marketing", "other", "contract"), ("ERASED",)
    ),
    "restriction-placed": dict.fromkeys(
        ("consent, marketing", "consent", "marketing", "other", "contract"), ("RESTRICTED",)
    ),
}  # fmt: skip


def weigh(case: Case) -> None:
    """Put every refusal in force against the use. What ended one may itself end: then the refusal is back (row O25)."""
    for refusal in case.standing.refusals:
        if reaches(case, refusal.fact, refusal.scope):
            _apply(case, refusal.fact, listed=refusal.scope.names is not None)
    for elsewhere in case.standing.elsewhere:
        if reaches(case, elsewhere.fact, elsewhere.scope) and _shares_a_consent(case, elsewhere):
            _apply(case, elsewhere.fact, listed=elsewhere.scope.names is not None)


def reaches(case: Case, refusal: Fact, scope: Scope) -> bool:
    """Tell whether a refusal is about this purpose and channel."""
    return is_about(case.purpose, case.channel, type=refusal.type, scope=scope, channels=refusal.channels)


def is_about(purpose: Purpose, channel: str, *, type: str, scope: Scope, channels: Collection[str] | None) -> bool:
    """Tell whether a refusal of such a scope and such channels (None: all) is about a purpose and channel.

    Profiling for marketing is reached by every marketing objection, whatever its channels (Art. 21(2); row O4).
    """
    if not covers(scope, purpose):
        return False
    if channels is None or channel in channels:
        return True
    objects = (
        "objection-raised",
        "complaint-received",
        "consent-withdrawn" if purpose.terms.column == "marketing" else "",
    )
    return channel == "internal" and purpose.terms.direct_marketing and type in objects


def _shares_a_consent(case: Case, withdrawal: Elsewhere) -> bool:
    """Tell whether a consent names this controller and purpose beside one that the withdrawal speaks to (C-129/21)."""
    return any(
        case.purpose.id in (consent.purposes or ())
        and not withdrawal.controllers.isdisjoint(consent.controllers or ())
        and consent.time <= withdrawal.fact.time
        for consent in case.standing.consents_of_person
    )


def _apply(case: Case, refusal: Fact, *, listed: bool) -> None:
    if refusal.type.startswith("erasure") and case.terms.erasure_exempt:
        return
    if refusal.type == "restriction-placed" and case.terms.restriction_exempt:
        return
    for code in _MEANING[_row(refusal, listed=listed)].get(case.terms.column, ()):
        if code == _ASSESSED:
            _assess(case, refusal)
        elif not _is_ended(case, code, refusal):
            case.object(code, refusal)


def _row(refusal: Fact, *, listed: bool) -> str:
    extent = "listed" if listed else "all"
    if refusal.type == "consent-withdrawn":
        return f"withdrawal, {extent}"
    if refusal.type == "objection-raised":
        kind = "direct-marketing" if refusal.kind == "direct-marketing" else "situation"
        return f"{kind}, {extent}"
    return "complaint" if refusal.type == "complaint-received" else refusal.type


def _is_ended(case: Case, code: str, refusal: Fact) -> bool:
    """Tell whether what the refusal asks for has ended, for this purpose, channel and address (specification 6.8)."""
    by_consent = case.is_consent and case.is_consented_anew(refusal)
    match code:
        case "OBJECTION_DM" | "COMPLAINT":
            return by_consent or case.is_waived(refusal)
        case "RESTRICTED":
            return by_consent or refusal.event_id in case.standing.lifted
        case "ERASURE_REQUESTED" | "ERASED" if case.terms.column == "marketing":
            return case.is_waived(refusal)
        case "ERASURE_REQUESTED" if not case.is_consent:
            return refusal.event_id in case.standing.refused or case.is_sold_anew(refusal)
        case "ERASED" if not case.is_consent:
            return case.is_sold_anew(refusal)
        case _:
            return by_consent


def _assess(case: Case, objection: Fact) -> None:
    """Follow an objection under Art. 21(1): taken back, upheld for good, rejected with grounds, or else pending."""
    if case.is_waived(objection):
        return
    answers = case.standing.assessments.get(objection.event_id, ())
    upheld = [a for a in answers if a.outcome == "upheld" and (a.purposes is None or case.purpose.id in a.purposes)]
    if upheld:
        case.object("OBJECTION_UPHELD", objection, *upheld)
        return
    for answer in answers:
        if answer.outcome == "rejected" and answer.grounds and _is_for(case, answer) and answer.informed is not None:
            if answer.informed <= case.now:
                case.compelling = True
                case.rests_on.append(answer)
                return
            case.wait_for(answer.informed)
    # Legal claims go on while an objection is assessed (Art. 18(2), 21(1) last clause; row A8).
    if not case.terms.restriction_exempt:
        case.object("OBJECTION_PENDING", objection)


def _is_for(case: Case, answer: Fact) -> bool:
    return answer.purposes is None or case.purpose.id in answer.purposes
