"""The decision (specification 6.1, 6.11): slow and obvious, written from the text alone."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from oracle import basis, refusals
from oracle.case import ADDRESS_OF, Case, identifiers
from oracle.known import Entry, Register, known
from oracle.times import instant

PRECEDENCE = (
    "UNKNOWN_CONTROLLER", "UNKNOWN_PURPOSE", "CHANNEL_NOT_COVERED", "NO_ADDRESS", "ERASED", "OBJECTION_DM",
    "COMPLAINT", "ERASURE_REQUESTED", "OBJECTION_UPHELD", "OBJECTION_PENDING", "RESTRICTED", "CONSENT_WITHDRAWN",
    "EPRIVACY_NO_BASIS", "MINOR", "AGE_UNKNOWN", "CONSENT_ABSENT", "CONSENT_INVALID", "CONSENT_OUTDATED",
    "CONSENT_PENDING", "CONFIRMATION_EXPIRED", "CONSENT_EXPIRED", "SOFT_OPT_IN_MISSING", "RETENTION_UNPROVEN",
    "INACTIVE_EXPIRED", "REPERMISSION_NOT_DUE", "REPERMISSION_ALREADY_SENT", "REPERMISSION_WINDOW_CLOSED",
    "DNC_LISTED", "DNC_STALE", "ADDRESS_RETIRED", "HARD_BOUNCE",
)  # fmt: skip
Answer = tuple[bool, str, set[str]]


def decide(register: Register, events: Sequence[Mapping[str, Any]], question: Mapping[str, Any], as_of: str) -> Answer:
    """Answer one question: allow, the reason, and all reasons that apply."""
    return answer(register, known(register, events, instant(as_of)), question)


def answer(register: Register, entries: Sequence[Entry], question: Mapping[str, Any]) -> Answer:
    """Answer from the events that are known (6.1)."""
    controller, channel = question["controller"], question["channel"]
    if controller not in register["controllers"]:
        return _no({"UNKNOWN_CONTROLLER"})
    own = [one for one in register["purposes"] if one["controller"] == controller and one["id"] == question["purpose"]]
    if not own:
        return _no({"UNKNOWN_PURPOSE"})
    if channel not in own[0]["channels"]:
        return _no({"CHANNEL_NOT_COVERED"})
    asked, kind = frozenset(identifiers(question["subject"])), ADDRESS_OF[channel]
    if not asked or (kind is not None and len([one for one in asked if one[0] == kind]) != 1):
        return _no({"NO_ADDRESS"})
    at: datetime = instant(question["at"])
    return _judge(Case(register, entries, controller, own[0], channel, asked, at), question)


def _judge(case: Case, question: Mapping[str, Any]) -> Answer:
    standing = refusals.standing(case)
    reasons = standing - {refusals.COMPELLING}
    reasons |= basis.basis_reasons(case) | basis.do_not_call(case) | basis.address_reasons(case)
    underlying = case.purpose.get("repermission_for")
    if underlying:
        reasons |= basis.repermission_reasons(case, lambda name: _of(case, question, name), _as(case, underlying))
    if reasons:
        return _no(reasons)
    return True, _why(case, rejected=refusals.COMPELLING in standing), set()


def _of(case: Case, question: Mapping[str, Any], purpose: str) -> Answer:
    return answer(case.register, case.entries, {**question, "purpose": purpose})


def _as(case: Case, purpose: str) -> Case:
    own = [one for one in case.register["purposes"] if (one["controller"], one["id"]) == (case.controller, purpose)]
    chosen = own[0] if own else case.purpose
    return Case(case.register, case.entries, case.controller, chosen, case.channel, case.asked, case.at)


def _no(reasons: set[str]) -> Answer:
    return False, min(reasons, key=PRECEDENCE.index), reasons


def _why(case: Case, *, rejected: bool) -> str:
    if case.purpose.get("repermission_for"):
        return "REPERMISSION_ONCE"
    if case.basis == "legitimate-interest" and rejected:
        return "LEGITIMATE_INTEREST_COMPELLING"
    if case.basis == "legitimate-interest" and basis.needs_soft_opt_in(case) and case.marketing:
        return "SOFT_OPT_IN"
    return str(case.basis.upper().replace("-", "_"))
