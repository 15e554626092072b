"""What a refusal means and what ends it (specification 6.6, 6.8, 6.14.4 to 6.14.7, 6.14.10).

Decided here, where the text is silent:
- Direct marketing on any basis but consent is refused like marketing on f: Art. 21(2) knows no bases.
- Vital interest and a legal obligation that is not exempt stand with contract.
- The substance of a withdrawal from marketing on f is an objection: it too reaches internal marketing always.
- A refusal of erasure without grounds refuses nothing (Art. 12(4)), as a rejection without grounds.
- "Named in the same consent" is looked for among controllers of one group, or served by a common source, as the reach
  of a withdrawal is fixed when it is recorded.
- A consent that ended a refusal ends it still after it was withdrawn itself: the withdrawal is the answer then
  (S101; "the block is back" in 6.8 is left to consents that expire or stop counting).
"""

from oracle import known
from oracle.case import Case
from oracle.consents import counting
from oracle.known import Entry, certainly_later, listed
from oracle.times import instant

CHANNELS = {"email", "phone", "sms", "post", "device", "media", "internal"}
OBJECTION = "Art. 21(1) objection"
COMPELLING = "rejected"


def column(case: Case) -> str:
    """Return the column of the tables in 6.6 and 6.8."""
    if case.basis == "consent":
        return "consent"
    if case.marketing:
        return "marketing on f"
    return "other f / e" if case.basis in ("legitimate-interest", "public-task") else case.basis


def is_all(case: Case, refusal: Entry) -> bool:
    """6.14.5: no list, or one with a purpose unknown to the controllers addressed, means all purposes."""
    names = listed(refusal, "purposes")
    to = known.addressed(case.register, refusal)
    own = {purpose["id"] for purpose in case.register["purposes"] if purpose["controller"] in to}
    return not names or any(name not in own for name in names)


def covers_purpose(case: Case, refusal: Entry) -> bool:
    """6.6, 6.14.5: is the purpose listed, by its id or by the name of its withdrawal group, or are all meant?"""
    if is_all(case, refusal):
        return True
    names = listed(refusal, "purposes")
    to = known.addressed(case.register, refusal)
    groups = {
        purpose.get("withdrawal_group")
        for purpose in case.register["purposes"]
        if purpose["controller"] in to and purpose["id"] in names
    } - {None}
    return case.purpose["id"] in names or case.purpose.get("withdrawal_group") in groups


def covers_channel(case: Case, refusal: Entry) -> bool:
    """6.6: no list, or an unknown channel, means all; marketing objections reach internal purposes always."""
    names = listed(refusal, "channels")
    objecting = {"objection-raised", "complaint-received"}
    if column(case) == "marketing on f":
        objecting.add("consent-withdrawn")
    if case.channel == "internal" and case.marketing and refusal.type in objecting:
        return True
    return not names or any(name not in CHANNELS for name in names) or case.channel in names


def in_scope(case: Case, refusal: Entry) -> bool:
    """Does the refusal reach this controller, person, purpose and channel?"""
    return (
        (case.addresses(refusal) or _by_the_same_consent(case, refusal))
        and case.reached_by(refusal)
        and covers_purpose(case, refusal)
        and covers_channel(case, refusal)
    )


def _by_the_same_consent(case: Case, refusal: Entry) -> bool:
    """6.14.6: one withdrawal, all controllers of the consent."""
    near = {name for name in known.addressed(case.register, refusal) if _near(case, name)}
    return refusal.type == "consent-withdrawn" and any(
        case.controller in listed(consent, "controllers")
        and case.purpose["id"] in listed(consent, "purposes")
        and near
        and known.addressed(case.register, refusal) & set(listed(consent, "controllers"))
        and consent.t <= refusal.t
        and case.of_the_person(consent)
        for consent in case.of("consent-given")
    )


def _near(case: Case, other: str) -> bool:
    """Are the two controllers of one group, or served by a common source?"""
    register = case.register
    group = register["controllers"][case.controller].get("group")
    return (group is not None and register["controllers"][other].get("group") == group) or any(
        {case.controller, other} <= known.served_by(register, source) for source in register["sources"]
    )


def meaning(case: Case, refusal: Entry) -> set[str]:
    """6.6: the table, row by row."""
    where, everything = column(case), is_all(case, refusal)
    match refusal.type:
        case "consent-withdrawn":
            listed_only = set() if everything else {OBJECTION}
            return _by_column(where, {"CONSENT_WITHDRAWN"}, {"OBJECTION_DM"}, listed_only)
        case "objection-raised":
            marketing_only = everything and refusal.body.get("kind") == "direct-marketing"
            if where == "consent" and not case.marketing:
                return set() if everything else {"CONSENT_WITHDRAWN"}
            other = set() if marketing_only else {OBJECTION}
            return _by_column(where, {"OBJECTION_DM", "CONSENT_WITHDRAWN"}, {"OBJECTION_DM"}, other)
        case "complaint-received":
            if where == "consent" and not case.marketing:
                return set()
            return _by_column(where, {"COMPLAINT", "CONSENT_WITHDRAWN"}, {"COMPLAINT"}, set())
        case "erasure-requested" if not case.purpose.get("erasure_exempt"):
            return _by_column(where, *[{"ERASURE_REQUESTED"}] * 3)
        case "erasure-executed" if not case.purpose.get("erasure_exempt"):
            return {"ERASED"}
        case "restriction-placed" if not case.purpose.get("restriction_exempt"):
            return {"RESTRICTED"}
    return set()


def _by_column(where: str, consent: set[str], marketing_on_f: set[str], other_f_or_e: set[str]) -> set[str]:
    columns = {"consent": consent, "marketing on f": marketing_on_f, "other f / e": other_f_or_e}
    return columns.get(where, set())


def standing(case: Case) -> set[str]:
    """6.8: the reasons of all refusals that nothing has ended; `COMPELLING` for an objection that was rejected.

    Fresh consent (6.7) counts, and is of the subject's own making.
    """
    fresh = [one for one in counting(case) if one.body.get("origin") == "data-subject"]
    return {
        outcome
        for refusal in case.of(*known.REFUSALS)
        if in_scope(case, refusal)
        for block in meaning(case, refusal)
        if not _ended(case, refusal, block, fresh)
        for outcome in [_assessed(case, refusal) if block == OBJECTION else block]
        if outcome
    }


def _ended(case: Case, refusal: Entry, block: str, fresh: list[Entry]) -> bool:
    """6.8: the table, cell by cell."""
    where = column(case)
    if where == "consent" and any(certainly_later(consent, refusal) for consent in fresh):
        return True
    match block, where:
        case "RESTRICTED", _:
            return any(_lifts(case, one, refusal) for one in case.of("restriction-lifted"))
        case "OBJECTION_DM" | "COMPLAINT", _:
            return _objection_withdrawn(case, refusal)
        case _, "other f / e" if block == OBJECTION:
            return _objection_withdrawn(case, refusal)
        case "ERASURE_REQUESTED" | "ERASED", "marketing on f":
            return _objection_withdrawn(case, refusal)
        case "ERASURE_REQUESTED", "other f / e":
            return _new_relationship(case, refusal) or any(
                case.counts(one) and one.body.get("grounds") and refusal.is_meant_by(one.body.get("request_id"))
                for one in case.of("erasure-refused")
            )
        case "ERASED", "other f / e" | "contract" | "vital-interest" | "legal-obligation":
            return _new_relationship(case, refusal)
    return False


def _objection_withdrawn(case: Case, refusal: Entry) -> bool:
    """By the subject, later, for exactly this purpose, channel and address."""
    return any(
        case.counts(one)
        and one.body.get("origin") == "data-subject"
        and case.purpose["id"] in listed(one, "purposes")
        and case.channel in listed(one, "channels")
        and case.at_the_address(one)
        and certainly_later(one, refusal)
        for one in case.of("objection-withdrawn")
    )


def _new_relationship(case: Case, refusal: Entry) -> bool:
    return any(
        case.counts(one) and case.at_the_address(one) and certainly_later(one, refusal)
        for one in case.of("relationship-started")
    )


def _lifts(case: Case, lifting: Entry, refusal: Entry) -> bool:
    informed = lifting.body.get("subject_informed_at")
    return bool(
        case.counts(lifting)
        and refusal.is_meant_by(lifting.body.get("restriction_id"))
        and informed
        and instant(informed) <= lifting.occurred
    )


def _assessed(case: Case, refusal: Entry) -> str | None:
    """6.8: upheld is final; rejected needs grounds, and the subject informed. Exempt purposes run on while pending."""
    outcomes = {
        one.body.get("outcome")
        for one in case.of("objection-assessed")
        if case.counts(one)
        and refusal.is_meant_by(one.body.get("objection_id"))
        and (one.body.get("purposes") is None or case.purpose["id"] in listed(one, "purposes"))
        and (one.body.get("outcome") != "rejected" or _told_why(case, one))
    }
    if "upheld" in outcomes:
        return "OBJECTION_UPHELD"
    if "rejected" in outcomes:
        return COMPELLING
    return None if case.purpose.get("restriction_exempt") else "OBJECTION_PENDING"


def _told_why(case: Case, assessment: Entry) -> bool:
    informed = assessment.body.get("subject_informed_at")
    return bool(assessment.body.get("grounds") and informed and instant(informed) <= case.at)
