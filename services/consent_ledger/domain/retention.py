"""What may be deleted of a dossier (domain.md 7.4, 10.4): what permitted, once its time is over; never a refusal.

Two things go apart. The personal part of an entry goes when its time is over. Its index rows, by which it is found, go
only where nothing but the entry itself rests on them: what links two identifiers, marks one as shared, tells an age or
names several controllers also carries refusals, which would no longer reach everyone they reach. A person about whom
nothing is relied on, and who never refused anything, is forgotten whole, links and all. The file of a request goes with
all its steps, or stays with all of them.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date
from typing import Final, NamedTuple

import msgspec

from consent_ledger.domain import confirmation, durations, holds, reliance
from consent_ledger.domain.catalogue import ERASED, FIVE_REFUSALS
from consent_ledger.domain.deadlines import evidence_until
from consent_ledger.domain.decision import Pair, decide_address
from consent_ledger.domain.facts import UNREADABLE, EventId, Fact, without_personal
from consent_ledger.domain.register import Register
from consent_ledger.domain.requests import PAPER, VOID, Calendar

QUARANTINE_DAYS: Final = 30
REQUEST_FILE: Final = "P3Y"
"""How long the file of an answered request is kept, from the answer."""
SUPPRESSING: Final = FIVE_REFUSALS | {ERASED}
"""Types of entries that are kept to go on suppressing; looked over once a year, and never deleted."""
_CONSENT: Final = "consent-given"
_SALE: Final = "relationship-started"
_WITHDRAWAL: Final = "consent-withdrawn"
_REQUEST: Final = "request-received"
_OF_FILE: Final = PAPER | {VOID}
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


class Answered(NamedTuple):
    """Requests at one controller that were answered so long ago that the time of their files is over.

    `files`: step → all steps of its file. `paper`: the steps of those by which nobody refuses anything.
    """

    files: Mapping[EventId, AbstractSet[EventId]]
    paper: AbstractSet[EventId]


NO_FILES: Final = Answered({}, frozenset())


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What may go of one dossier. `payloads`: places whose personal part goes; `facts`: those that are forgotten whole.

    `files`: steps of requests in `payloads`. `unsaid`: what of `facts` no answer can ever have rested on.
    `purposes`: those of the consents that are over, once for each; `kept`: how many of them are not forgotten whole.
    """

    payloads: frozenset[Place]
    facts: frozenset[Place]
    purposes: tuple[str, ...] = ()
    kept: int = 0
    files: frozenset[Place] = frozenset()
    unsaid: frozenset[Place] = frozenset()


NOTHING: Final = Plan(payloads=frozenset(), facts=frozenset())


def plan(
    register: Register, facts: Sequence[Fact], controller: str, calendar: Calendar, now: int, since: int,
    answered: Answered = NO_FILES,
) -> Plan:  # fmt: skip
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
    steps = _steps(register, facts, answered, controller, now)
    files = [file for file in _files(facts, answered.paper, now) if all(_is_free(one, held) for one in file)]
    if not (over or steps):
        return NOTHING
    forgotten = next(
        (
            some for some in _candidates(register, facts, over, files, controller, calendar, now)
            if not some or _same_answers(register, facts, some, controller, now)
        ),
        frozenset[Place](),
    )  # fmt: skip
    filed = [one for file in files for one in file if one.place in forgotten]
    parts = _with(facts, over, {"consent-confirmed"}) | {one.place for one in steps}
    return Plan(
        payloads=parts | forgotten,
        facts=forgotten,
        purposes=tuple(name for one in over if one.type == _CONSENT for name in one.purposes or ()),
        kept=sum(one.type == _CONSENT and one.place not in forgotten for one in over),
        files=frozenset(one.place for one in (*filed, *steps)),
        unsaid=frozenset(one.place for one in filed if _links_nothing(one)),
    )


def left(facts: Sequence[Fact], plan: Plan) -> list[Fact]:
    """Give a dossier as it is once a plan was carried out."""
    return _without(facts, plan.payloads, plan.facts)


def _without(facts: Sequence[Fact], parts: Collection[Place], gone: Collection[Place] = ()) -> list[Fact]:
    return [without_personal(one) if one.place in parts else one for one in facts if one.place not in gone]


def _steps(register: Register, facts: Sequence[Fact], answered: Answered, controller: str, now: int) -> list[Fact]:
    """Give the steps of files of which no step is about somebody under a hold."""
    steps = [one for one in facts if one.event_id in answered.files]
    about_held = holds.events(register, facts, controller, now) if steps else frozenset[EventId]()
    return [one for one in steps if about_held.isdisjoint(answered.files[one.event_id])]


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
    register: Register, facts: Sequence[Fact], over: Sequence[Fact], files: Sequence[Sequence[Fact]],
    controller: str, calendar: Calendar, now: int,
) -> Iterator[frozenset[Place]]:  # fmt: skip
    """Give sets of entries that may be forgotten whole, the largest first."""
    places = {one.place for some in (over, *files) for one in some}
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
    free_files = frozenset(one.place for file in files if all(map(_links_nothing, file)) for one in file)
    yield _with(facts, kept_clocks, _FOLLOWING) | free_files
    yield _with(facts, [one for one in alone if one.type == _CONSENT], _FOLLOWING) | free_files
    yield free_files


def _files(facts: Sequence[Fact], paper: AbstractSet[EventId], now: int) -> Iterator[list[Fact]]:
    """Give the files, each with everything that is found by the name of its request, and nothing else.

    What is later than the question may have changed what `paper` says; of what has the name of an event, that event
    may be the request.
    """
    received = [one for one in facts if one.type == _REQUEST]
    for name in dict.fromkeys(one.refers_to for one in received if one.event_id in paper):
        file = _referring(facts, name)
        is_known = all(one.type in _OF_FILE and one.recorded <= now for one in file)
        is_over = all(one.event_id in paper for one in file if one.type == _REQUEST)
        if is_known and is_over and all(one in file for one in facts if one.event_id == name):
            yield file


def _referring(facts: Sequence[Fact], name: EventId | None) -> list[Fact]:
    """Give what refers to a request by its name, and what refers to that."""
    pending = [one for one in facts if one.refers_to is not None]
    ids = {name}
    while found := {one.event_id for one in pending if one.refers_to in ids} - ids:
        ids |= found
    return [one for one in pending if one.refers_to in ids]


def _links_nothing(fact: Fact) -> bool:
    return len(fact.identifiers) <= 1 and not any(shared for _, _, _, shared in fact.identifiers)


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
    if fact.birth_day is None or fact.birth_day == UNREADABLE:
        return False
    return durations.birthday(fact.birth_day, _ADULT_YEARS) > now


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
