"""What may be deleted of a dossier (domain.md 7.4, 10.4): what permitted, once its time is over; never a refusal.

Two things go apart. The personal part of an entry goes when its time is over. Its index rows, by which it is found, go
only where nothing but the entry itself rests on them: what links two identifiers, marks one as shared, tells an age or
names several controllers also carries refusals, which would no longer reach everyone they reach. A person about whom
nothing is relied on, and who never refused anything, is forgotten whole, links and all.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import date
from typing import Final

import msgspec

from consent_ledger.domain import confirmation, durations, holds, reliance
from consent_ledger.domain.catalogue import ERASED, FIVE_REFUSALS
from consent_ledger.domain.deadlines import evidence_until
from consent_ledger.domain.decision import Pair, decide_address
from consent_ledger.domain.facts import Fact
from consent_ledger.domain.register import Register
from consent_ledger.domain.requests import Calendar

QUARANTINE_DAYS: Final = 30
REQUEST_FILE: Final = "P3Y"
"""How long the file of an answered request is kept, from the answer."""
SUPPRESSING: Final = FIVE_REFUSALS | {ERASED}
"""Types of entries that are kept to go on suppressing; looked over once a year, and never deleted."""
_CONSENT: Final = "consent-given"
_SALE: Final = "relationship-started"
_WITHDRAWAL: Final = "consent-withdrawn"
_RELATIONSHIP: Final = frozenset({_SALE, "relationship-ended"})
_DATED: Final = frozenset({"contact-recorded", "relationship-ended"})
_FOLLOWING: Final = frozenset({"consent-confirmed", "event-voided"})
"""Types that refer to a consent and, having no identifiers, are found by it alone."""
_OF_PERSON: Final = frozenset(
    {"identifiers-linked", "identifier-changed", "identifier-verified", "repermission-sent", "objection-withdrawn"}
)
"""Types that tell something of a person for as long as anything else is known."""
_ADULT_YEARS: Final = 18

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


def plan(register: Register, facts: Sequence[Fact], controller: str, calendar: Calendar, now: int, since: int) -> Plan:
    """Tell what may go of a dossier now. Of whoever is under a legal hold, nothing may.

    `since`: when the register came into force.
    """
    held = holds.held(register, facts, controller, now)
    today = calendar.day(now)
    over = [
        one for one in facts
        if _is_free(one, held)
        and (until := until_of(register, facts, one, controller, calendar, now, since)) is not None and today > until
    ]  # fmt: skip
    if not over:
        return NOTHING
    forgotten = next(
        (
            some for some in _candidates(register, facts, over, controller, calendar, now)
            if _same_answers(register, facts, some, controller, now)
        ),
        frozenset[Place](),
    )  # fmt: skip
    return Plan(
        payloads=_with(facts, over, {"consent-confirmed"}) | forgotten,
        facts=forgotten,
        purposes=tuple(name for one in over if one.type == _CONSENT for name in one.purposes or ()),
        kept=sum(one.type == _CONSENT and one.place not in forgotten for one in over),
    )


def until_of(
    register: Register, facts: Sequence[Fact], fact: Fact, controller: str, calendar: Calendar, now: int, since: int
) -> date | None:
    """Give the last day to keep the personal part of an entry; None while it is relied on, or if it has no end.

    Of refusals only the evidence of a withdrawal has one, and not where staff typed it: by who did, it can be voided.
    """
    if _is_minor(fact, now):
        return None
    if fact.type == _CONSENT:
        return reliance.consent_until(register, facts, fact, controller, calendar, now, since)
    if fact.type == _SALE:
        return reliance.sale_until(register, facts, fact, controller, calendar, now)
    if fact.type in _DATED:
        return reliance.contact_until(register, fact, controller, calendar)
    if fact.type == _WITHDRAWAL and fact.entered_by is None:
        return reliance.withdrawal_until(register, fact, controller, calendar)
    return None


def _candidates(
    register: Register, facts: Sequence[Fact], over: Sequence[Fact], controller: str, calendar: Calendar, now: int
) -> Iterator[frozenset[Place]]:
    """Give sets of entries that may be forgotten whole, the largest first."""
    places = {one.place for one in over}
    rest = [
        one for one in facts if one.place not in places and not (one.type in _FOLLOWING and not one.identifiers)
    ]  # fmt: skip
    free = [one for one in over if one.type != _WITHDRAWAL]
    if len(free) == len(over) and not any(_bears_on_others(one, now) for one in facts):
        quiet = reliance.longest(register, controller, register.purposes_of(controller))
        if all(one.type in _OF_PERSON and calendar.day(now) > _quiet(one, quiet, calendar) for one in rest):
            yield frozenset(one.place for one in facts)
    alone = [one for one in free if _is_alone(one, now)]
    relationship = {one.place for one in facts if one.type in _RELATIONSHIP}
    whole = relationship <= {one.place for one in alone}
    used = any(one.type == _CONSENT for one in rest)
    kept_clocks = [
        one for one in alone
        if (whole or one.type not in _RELATIONSHIP) and not (used and one.type == "contact-recorded")
    ]  # fmt: skip
    yield _with(facts, kept_clocks, _FOLLOWING)
    yield _with(facts, [one for one in alone if one.type == _CONSENT], _FOLLOWING)


def _quiet(fact: Fact, retention: str, calendar: Calendar) -> date:
    return evidence_until(calendar.day(fact.recorded), retention)


def _is_alone(fact: Fact, now: int) -> bool:
    """Tell whether an entry says nothing but that something about one address is permitted."""
    return len(fact.identifiers) == 1 and not _bears_on_others(fact, now)


def _bears_on_others(fact: Fact, now: int) -> bool:
    """Tell whether more than this person's permissions rests on an entry.

    It tells something of other people or controllers, that the person is a minor, or when the address may be asked to
    confirm again.
    """
    return (
        any(shared for _, _, _, shared in fact.identifiers)
        or len(fact.controllers or ()) > 1
        or _is_minor(fact, now)
        or (fact.type == _CONSENT and now < durations.after(fact.time, confirmation.ONCE_IN))
    )


def _is_minor(fact: Fact, now: int) -> bool:
    """Tell whether an entry says that the person is not yet 18."""
    return fact.birth_day is not None and durations.birthday(fact.birth_day, _ADULT_YEARS) > now


def _with(facts: Sequence[Fact], chosen: Collection[Fact], types: Collection[str]) -> frozenset[Place]:
    """Take along what refers to what was chosen and, having no identifiers, is found by it alone."""
    ids = {one.event_id for one in chosen}
    referring = (one.place for one in facts if one.type in types and one.refers_to in ids and not one.identifiers)
    return frozenset({*(one.place for one in chosen), *referring})


def _is_free(fact: Fact, held: Collection[bytes]) -> bool:
    """Tell whether a fact is of nobody under a legal hold; one without identifiers may be of anybody in the dossier."""
    return not held or (bool(fact.tokens) and fact.tokens.isdisjoint(held))


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


def _same_answers(
    register: Register, facts: Sequence[Fact], forgotten: Collection[Place], controller: str, now: int
) -> bool:
    """Decide everything without what is to be forgotten: no no may become a yes, and no yes a no or a shorter one."""
    kept = [one for one in facts if one.place not in forgotten]

    def yeses(some: Sequence[Fact], kind: str, token: bytes) -> dict[Pair, int | None]:
        answers = decide_address(register, some, controller=controller, type=kind, token=token, at=now)
        return {pair: answer.valid_until for pair, answer in answers.items() if answer.allow}

    everyone = {(kind, token) for one in facts for _, kind, token, _ in one.identifiers}
    return all(yeses(facts, kind, token) == yeses(kept, kind, token) for kind, token in everyone)
