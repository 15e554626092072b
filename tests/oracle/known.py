"""What is known at a recorded time: order of events, admission, voidings (specification 4.2, 6.1 to 6.4).

Decided here, where the text is silent:
- A reference by id means the first event that bore this id; a refusal counted under a used id has none of its own.
- A neutral event under a used id with other content is ignored, as nothing of it is a refusal.
- A snapshot of a do-not-call register is never voided: no staff typed it, and the next one replaces it.
- The note of a re-permission mail is voided like a refusal: without it a second mail would go out. What else is
  neutral is voided at once.
- Links, changes of address and assessments widen what refusals reach, though they are permissive: only a source that
  serves every controller they name may void them.
- A registered source that serves nobody is taken to serve all, as an unregistered one: a refusal is never dropped.
- A controller that two sets of joint controllers of one purpose share makes them one set.
- The voiding needs no named controller and no instant: "as known from then on" speaks of recorded time alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from oracle.identifiers import normal
from oracle.times import DOUBT, instant

Register = Mapping[str, Any]

PERMISSIVE = {
    "consent-given", "consent-confirmed", "objection-assessed", "objection-withdrawn", "restriction-lifted",
    "erasure-refused", "identifier-changed", "identifiers-linked", "identifier-verified", "relationship-started",
    "relationship-ended", "contact-recorded",
}  # fmt: skip
RESTRICTIVE = {
    "consent-withdrawn", "objection-raised", "complaint-received", "restriction-placed", "erasure-requested",
    "erasure-executed", "delivery-failed", "preference-register-imported", "age-established",
}  # fmt: skip

WIDENING = {"identifiers-linked", "identifier-changed", "objection-assessed"}

REFUSALS = {
    "consent-withdrawn", "objection-raised", "complaint-received", "erasure-requested", "erasure-executed",
    "restriction-placed",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Entry:
    """One event, with its order time `t` (6.2)."""

    body: Mapping[str, Any]
    id: str | None
    type: str
    source: str
    occurred: datetime
    recorded: datetime
    t: datetime

    def is_meant_by(self, reference: Any) -> bool:
        """Is this the event that a reference by id means?"""
        return self.id is not None and self.id == reference

    @property
    def dated_ahead(self) -> bool:
        """6.2: a permission dated more than PT5M after its recording never counts."""
        return self.occurred - self.recorded > DOUBT


def entry(event: Mapping[str, Any]) -> Entry:
    occurred, recorded = instant(event["occurred_at"]), instant(event["recorded_at"])
    return Entry(event, event["id"], event["type"], event["source"], occurred, recorded, min(occurred, recorded))


def certainly_later(permission: Entry, refusal: Entry) -> bool:
    """6.2: more than 0 on the same source's clock, more than PT5M across sources."""
    ahead = permission.t - refusal.t
    return ahead.total_seconds() > 0 if permission.source == refusal.source else ahead > DOUBT


def known(register: Register, events: Sequence[Mapping[str, Any]], as_of: datetime) -> list[Entry]:
    """6.1, 6.3: the events that count, in ledger order, as far as was recorded by `as_of`."""
    admitted = _admitted([entry(event) for event in events if instant(event["recorded_at"]) <= as_of])
    return [one for one in admitted if not any(_voids(register, other, one) for other in admitted)]


def _admitted(entries: list[Entry]) -> list[Entry]:
    """6.3: same id, same content: once. Same id, other content: permissive ignored, restrictive counted."""
    admitted: list[Entry] = []
    for one in entries:
        same_id = [other for other in admitted if other.body["id"] == one.body["id"]]
        if _is_refused(one):
            continue
        repeated = any(_content(other) == _content(one) for other in same_id)
        if not same_id or (one.type in RESTRICTIVE and not repeated):
            admitted.append(replace(one, id=None) if same_id else one)
    return admitted


def _is_refused(one: Entry) -> bool:
    """5: a permission for an identifier that has no proper form is refused; a refusal keeps the raw value."""
    ends = [one.body[role] for role in ("old", "new") if role in one.body]
    said = [*(one.body.get("subject") or ()), *ends]
    return one.type in PERMISSIVE and any(normal(each["type"], each["value"])[1] for each in said)


def _content(one: Entry) -> dict[str, Any]:
    return {field: value for field, value in one.body.items() if field != "recorded_at"}


def _voids(register: Register, void: Entry, target: Entry) -> bool:
    """6.3: permissive at once; restrictive only what staff typed, by two people, from a source serving all of it."""
    if void.type != "event-voided" or not target.is_meant_by(void.body.get("voids")):
        return False
    serves_all = addressed(register, target) <= served_by(register, void.source)
    if target.type in WIDENING:
        return serves_all
    if target.type in ("event-voided", "preference-register-imported"):
        return False
    if target.type not in RESTRICTIVE | {"repermission-sent"}:
        return True
    typist, approver = void.body.get("entered_by"), void.body.get("approved_by")
    first_typist = target.body.get("entered_by")
    two_people = typist and approver and approver not in (typist, first_typist)
    return bool(first_typist and two_people and serves_all)


def served_by(register: Register, source: str) -> set[str]:
    """The controllers of the register that a source serves; an unregistered one serves none."""
    return set(register["sources"].get(source, {}).get("controllers", ())) & set(register["controllers"])


def listed(one: Entry, field: str) -> list[Any]:
    """What a list names; a wildcard, or anything else that is no list, names nothing (K20)."""
    value = one.body.get(field)
    return value if isinstance(value, list) else []


def addressed(register: Register, one: Entry) -> set[str]:
    """6.4: the controllers that an event addresses; only a restrictive one is ever widened."""
    named = listed(one, "controllers")
    reached = {name for name in named if name in register["controllers"]}
    if one.type not in RESTRICTIVE:
        return reached
    if not named or len(reached) < len(set(named)):
        reached |= served_by(register, one.source) or set(register["controllers"])
    for name in list(reached):
        own = register["controllers"][name]
        scope = one.body.get("controller_scope")
        if scope not in ("entity", "group") and one.type == "objection-raised":
            scope = own.get("default_objection_scope")
        if scope == "group" and own.get("group"):
            reached |= {other for other, its in register["controllers"].items() if its.get("group") == own["group"]}
    return reached


def speaks_to(register: Register, one: Entry, controller: str) -> bool:
    """6.4, 3: a permissive event names the controller and comes from a source registered for it."""
    return controller in listed(one, "controllers") and controller in served_by(register, one.source)


def counts_for(register: Register, one: Entry, controller: str) -> bool:
    """May this permission count for the controller at all?"""
    return speaks_to(register, one, controller) and not one.dated_ahead


def joint_controllers(register: Register, controller: str, purpose: str) -> set[str]:
    """6.4: the controllers named in `joint_with` of one purpose, and the one that names them: all of them together."""
    circles = [
        {one["controller"], *(one.get("joint_with") or ())} for one in register["purposes"] if one["id"] == purpose
    ]
    joint = {controller}
    for _ in circles:
        joint = joint.union(*(circle for circle in circles if circle & joint))
    return joint
