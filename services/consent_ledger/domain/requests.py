"""Requests of subjects (Art. 15 to 22) as the ledger tells them: by when each is to be answered, and who is behind.

The steps of a request may have been recorded in any order. A step that lengthens or ends the time to answer counts only
from a source that serves the controller; whatever is in doubt leaves the request open, and its end where it was.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final, Literal, NamedTuple, Protocol
from uuid import UUID

import msgspec

from consent_ledger.domain import durations
from consent_ledger.domain.deadlines import art12_due
from consent_ledger.domain.reach import addressed
from consent_ledger.domain.register import Register

State = Literal["open", "overdue", "answered"]
Behind = Literal["controller", "subject"]

OPENING: Final[Mapping[str, str]] = {
    "request-received": "", "erasure-requested": "17", "restriction-placed": "18", "objection-raised": "21",
}  # fmt: skip
"""Types that open a request → its article; that of `request-received` stands in the event."""
REFERENCE: Final[Mapping[str, str]] = {
    "request-received": "request_id", "identity-requested": "request_id", "identity-confirmed": "request_id",
    "request-extended": "request_id", "request-answered": "request_id", "recipient-notified": "request_id",
    "erasure-executed": "request_id", "erasure-refused": "request_id", "objection-assessed": "objection_id",
    "restriction-lifted": "restriction_id",
}  # fmt: skip
"""Type of step → the field that names its request."""
PASSED_ON: Final = frozenset({"consent-withdrawn", "identifier-changed"})
"""Types that are no request, and of which recipients are told (Art. 19; C-129/21)."""
FILED: Final = REFERENCE.keys() - {"erasure-executed"}
"""Types that are only the file of a request: their personal part is kept for a time and then goes."""
PAPER: Final = frozenset(
    {"request-received", "identity-requested", "identity-confirmed", "request-extended", "request-answered"}
    | {"recipient-notified"}
)
"""Types on which no answer to a question rests."""
VOID: Final = "event-voided"
# Voiding one of these leaves a request open, or its end earlier; voiding any other step is not for a clock to believe.
_VOIDABLE: Final = REFERENCE.keys() - {"request-received", "identity-confirmed"}
_NAMED: Final = {
    "withdrawal": "7(3)", "access": "15", "rectification": "16", "erasure": "17", "restriction": "18",
    "portability": "20", "objection": "21",
}  # fmt: skip
_ARTICLE: Final = re.compile(r"(?:art(?:icle|ikel)?\.?)?\s*(7\(3\)|1[5-9]|2[0-2])(?!\d)")
# The database asks the same of a row that is to go (migration 0028), so an article is read to the letter here.
_REFUSES_NOTHING: Final = re.compile(
    r"(?:art(?:icle|ikel)?\.?)? ?(?:15|16|19|20|22)|access|rectification|portability", re.ASCII | re.IGNORECASE
)
# A withdrawal or an objection needs nobody's passport.
_NEVER_PAUSED: Final = frozenset({"7(3)", "21"})
# Of what happened at one instant, in this order: a doubt that is cleared at once has lasted no day.
_RANK: Final = {"identity-requested": 0, "request-extended": 1, "identity-confirmed": 2}


class Calendar(Protocol):
    """The days of the place where a controller sits."""

    def day(self, instant: int) -> date:
        """Give the local date of an instant in microseconds since 1970."""

    def is_holiday(self, day: date) -> bool:
        """Tell whether the day is a public holiday."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """An entry about a request. `time`: the earlier of occurrence and recording, in microseconds since 1970.

    `controllers`: whom it speaks to, None for everyone the request is with. `serves`: whom its source serves.
    """

    event_id: UUID
    type: str
    time: int
    occurred: int
    body: Mapping[str, Any]
    controllers: frozenset[str] | None
    serves: frozenset[str]

    def speaks_to(self, controller: str) -> bool:
        """Tell whether the step concerns a controller."""
        return self.controllers is None or controller in self.controllers

    def counts_for(self, controller: str) -> bool:
        """Tell whether a controller's clock believes the step."""
        return self.speaks_to(controller) and controller in self.serves


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request at one controller; nothing in it is personal. `type`: the event that opened it.

    `behind`: who has to move next, None once answered. `late`: answered after the last day, which an extension does not
    move for a refusal (Art. 12(4)).
    """

    id: UUID
    controller: str
    article: str
    type: str
    received: date
    due: date
    state: State
    paused_days: int
    extended: bool
    behind: Behind | None
    answered: date | None
    late: bool

    @property
    def order(self) -> tuple[Any, ...]:
        """Sort by what presses: overdue, open, answered; then by the last day."""
        return ({"overdue": 0, "open": 1, "answered": 2}[self.state], self.due, self.received, self.controller, self.id)


def step(
    register: Register, *, event_id: UUID, type: str, occurred: int, recorded: int, body: Mapping[str, Any]
) -> Step:
    """Read an entry under the register of its recording."""
    source, named = body["source"], body.get("controllers")
    controllers = tuple(named) if isinstance(named, list | tuple) else None
    whom: frozenset[str] | None
    if type in OPENING or type in PASSED_ON:
        # Whoever is not named, but may be meant, has to look at it (specification 6.4); a group has not.
        whom = addressed(register, "erasure-requested", source, controllers, "entity").ungrouped
    else:
        whom = frozenset(controllers) if controllers else None
    serves = register.sources.get(source, frozenset())
    return Step(
        event_id=event_id, type=type, time=min(occurred, recorded), occurred=occurred, body=body, controllers=whom,
        serves=serves,
    )  # fmt: skip


def article_of(said: object) -> str:
    """Read an article as publishers write it: 15, Art. 15, access; "other" for anything else."""
    text = said.strip().lower() if isinstance(said, str) else ""
    if text in _NAMED:
        return _NAMED[text]
    found = _ARTICLE.match(text)
    return found[1] if found else "other"


def is_paper(steps: Iterable[Step]) -> bool:
    """Tell whether nobody refuses anything by a request, and no answer to a question rests on any of its steps.

    Of an article that is not plainly one of Art. 15, 16, 19, 20 and 22 it may be that somebody does.
    """
    return all(one.type in PAPER and _refuses_nothing(one.body.get("article"), one.type) for one in steps)


def _refuses_nothing(article: object, type: str) -> bool:
    if article is None:
        return type not in OPENING
    return isinstance(article, str) and _REFUSES_NOTHING.fullmatch(article) is not None


def fold(together: Mapping[UUID, Sequence[Step]], calendar_of: Callable[[str], Calendar], now: int) -> list[Request]:
    """Tell how all requests stand now, the most pressing first; steps whose request is unknown wait for it."""
    requests = [
        _request(id_, controller, steps_of_one, calendar_of(controller), now)
        for id_, steps_of_one in together.items()
        for controller in sorted(_controllers(steps_of_one))
    ]
    return sorted(requests, key=lambda request: request.order)


def by_request(steps: Iterable[Step]) -> dict[UUID, list[Step]]:
    """Put the steps that stand together by request, each list in the order of time."""
    every = list(steps)
    voided = {UUID(one.body["voids"]) for one in every if one.type == VOID}
    found: dict[UUID, list[Step]] = {}
    for one in every:
        if one.type != VOID and not _is_absolute(one) and not (one.type in _VOIDABLE and one.event_id in voided):
            found.setdefault(_request_id(one), []).append(one)
    for steps_of_one in found.values():
        steps_of_one.sort(key=lambda one: (one.time, _RANK.get(one.type, 3), one.event_id))
    return found


def _is_absolute(one: Step) -> bool:
    """Tell whether an objection is to direct marketing, which is obeyed and not assessed (Art. 21(3))."""
    return one.type == "objection-raised" and one.body.get("kind") == "direct-marketing"


def _request_id(one: Step) -> UUID:
    reference = REFERENCE.get(one.type)
    return one.event_id if reference is None else UUID(one.body[reference])


def _controllers(steps: Iterable[Step]) -> frozenset[str]:
    return frozenset().union(*(one.controllers or () for one in steps if one.type in OPENING))


def _request(id_: UUID, controller: str, steps: Sequence[Step], calendar: Calendar, now: int) -> Request:
    mine = [one for one in steps if one.speaks_to(controller)]
    opening = next(one for one in mine if one.type in OPENING)
    articles = {OPENING[one.type] or article_of(one.body.get("article")) for one in mine if one.type in OPENING}
    received, today = calendar.day(opening.time), calendar.day(now)
    answer = _answer(controller, mine, opening, now)
    answered = None if answer is None else max(received, calendar.day(answer.time))
    clock = _clock(controller, mine, received, answered or today, calendar, pausable=articles.isdisjoint(_NEVER_PAUSED))
    due = clock.due
    if answer is not None and answer.refused:
        due = art12_due(received, paused_days=clock.paused_days, holidays=calendar.is_holiday)
    return Request(
        id=id_,
        controller=controller,
        article=OPENING[opening.type] or article_of(opening.body.get("article")),
        type=opening.type,
        received=received,
        due=due,
        state="answered" if answered else "overdue" if today > due else "open",
        paused_days=clock.paused_days,
        extended=clock.extended,
        behind=None if answered else "subject" if clock.waiting else "controller",
        answered=answered,
        late=answered is not None and answered > due,
    )


class _Answer(NamedTuple):
    """When a request was answered, and whether by refusing to act on it."""

    time: int
    refused: bool


def _answer(controller: str, steps: Sequence[Step], opening: Step, now: int) -> _Answer | None:
    found = [_ends(one) for one in steps if one.counts_for(controller)]
    found.append(_assessed(controller, steps, opening))
    return min((answer for answer in found if answer is not None and answer.time <= now), default=None)


def _ends(one: Step) -> _Answer | None:
    """Give the answer that a step is by itself."""
    if one.type == "request-answered":
        return _Answer(one.time, one.body.get("outcome") == "refused")
    if one.type == "erasure-executed":
        return _Answer(one.time, refused=False)
    if one.type == "erasure-refused" and one.body.get("grounds"):
        return _Answer(one.time, refused=True)
    if one.type == "restriction-lifted":
        informed = _instant(one.body.get("subject_informed_at"))
        return _Answer(one.time, refused=False) if informed is not None and informed <= one.occurred else None
    return None


def _assessed(controller: str, steps: Sequence[Step], opening: Step) -> _Answer | None:
    """Give the instant at which an objection was assessed for all its purposes and the subject knew it (Art. 21(1))."""
    open_purposes = _purposes(opening)
    known = []
    for one in steps:
        informed = _instant(one.body.get("subject_informed_at"))
        if one.type == "objection-assessed" and one.counts_for(controller) and informed is not None:
            outcome = one.body.get("outcome")
            if outcome == "upheld" or (outcome == "rejected" and one.body.get("grounds")):
                known.append((max(one.time, informed), outcome == "rejected", _purposes(one)))
    done: frozenset[str] = frozenset()
    for time, refused, purposes in sorted(known, key=lambda one: one[:2]):
        done |= purposes or frozenset()
        if purposes is None or (open_purposes is not None and open_purposes <= done):
            return _Answer(time, refused)
    return None


def _purposes(one: Step) -> frozenset[str] | None:
    purposes = one.body.get("purposes")
    return frozenset(purposes) if isinstance(purposes, list) and purposes else None


class _Clock(NamedTuple):
    """Where the clock of a request stands."""

    due: date
    paused_days: int
    extended: bool
    waiting: bool


def _clock(
    controller: str, steps: Iterable[Step], received: date, end: date, calendar: Calendar, *, pausable: bool
) -> _Clock:
    """Run the clock from receipt to the answer, or to today."""
    paused, extended = 0, False
    waiting_since: date | None = None

    def due(day: date) -> date:
        waited = (day - waiting_since).days if waiting_since else 0
        return art12_due(received, extended=extended, paused_days=paused + waited, holidays=calendar.is_holiday)

    for one in steps:
        day = max(received, calendar.day(one.time))
        if day > end or not one.speaks_to(controller):
            continue
        if one.type == "identity-confirmed" and waiting_since:
            paused += (day - waiting_since).days
            waiting_since = None
        elif controller in one.serves and day <= due(day):
            if one.type == "identity-requested" and pausable:
                waiting_since = waiting_since or day
            elif one.type == "request-extended" and one.body.get("reason"):
                extended = True
    waited = (end - waiting_since).days if waiting_since else 0
    return _Clock(due(end), paused + waited, extended, waiting_since is not None)


def _instant(value: object) -> int | None:
    try:
        return durations.instant(value) if isinstance(value, str) else None
    except ValueError:
        return None
