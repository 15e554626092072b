"""Who may void what: an earlier event was entered by mistake (specification 6.3; rows V1 to V3)."""

from typing import Final

from consent_ledger.domain.catalogue import VIEWED
from consent_ledger.domain.facts import Fact
from consent_ledger.domain.reach import addressed
from consent_ledger.domain.register import RESTRICTIVE, Register

_NEUTRAL: Final = frozenset({"repermission-sent"})
# Without these events a refusal reaches less, so that only the controller's own sources may undo them.
_WIDENING: Final = frozenset({"identifiers-linked", "identifier-changed", "objection-assessed"})


def concerned(register: Register, target: Fact) -> frozenset[str]:
    """Name the controllers that an event speaks to, whose source a voiding of it must come from."""
    whom = addressed(register, target.type, target.source, target.controllers, target.controller_scope)
    return whom.controllers


def obstacle(register: Register, target: Fact, voiding: Fact) -> str | None:
    """Say why a voiding has no effect on its target; None: it has.

    A permission is voided at once. What restricts, only if staff typed it, by two people, the second neither the first
    nor the typist, from a source that serves every controller concerned.
    """
    if target.type == "event-voided":
        return "a voiding cannot be voided"
    if target.type == VIEWED:
        return "a look cannot be voided"
    restricts = target.type in RESTRICTIVE or target.type in _NEUTRAL
    if not restricts and target.type not in _WIDENING:
        return None
    if not all(register.serves(voiding.source, controller) for controller in concerned(register, target)):
        return "the source does not serve every controller that it concerns"
    return _people(target, voiding) if restricts else None


def _people(target: Fact, voiding: Fact) -> str | None:
    if not target.entered_by:
        return "nobody of the staff is on record as its typist: the subject's own word is not voided"
    if not voiding.entered_by or not voiding.approved_by:
        return "two people must agree: one enters the voiding, another approves it"
    if voiding.approved_by == voiding.entered_by:
        return "who approves must be another than who proposes"
    if voiding.approved_by == target.entered_by:
        return "who approves must be another than who typed the event"
    return None
