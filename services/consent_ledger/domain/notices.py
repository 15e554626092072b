"""Who must be told of an erasure, rectification, restriction or withdrawal, and who has been (Art. 19; C-129/21)."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec

from consent_ledger.domain.deadlines import NOTICE_DAYS
from consent_ledger.domain.register import Register
from consent_ledger.domain.requests import OPENING, PASSED_ON, Calendar, Step, article_of

_TOLD = "recipient-notified"


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient to tell at one controller. `about`: the request or event; `since`: the day that made it a duty.

    `state`: open until the recipient was told, told until it has acknowledged. `overdue`: not told by the last day.
    """

    about: UUID
    controller: str
    recipient: str
    since: date
    due: date
    state: Literal["open", "told", "acknowledged"]
    told: date | None
    acknowledged: date | None
    overdue: bool

    @property
    def order(self) -> tuple[Any, ...]:
        """Sort by what presses."""
        return (not self.overdue, self.state != "open", self.due, self.controller, self.about, self.recipient)


def fold(
    by_request: Mapping[UUID, Sequence[Step]], register: Register, calendar_of: Callable[[str], Calendar], now: int
) -> list[Notice]:
    """List all notices there are to give, and those that were given; the most pressing first.

    Recipients are those that the register names for the purposes concerned, and whoever else was told.
    """
    notices = [
        notice
        for about, steps in by_request.items()
        for controller in sorted({name for one in steps for name in one.controllers or ()})
        for notice in _notices(about, controller, steps, register, calendar_of(controller), now)
    ]
    return sorted(notices, key=lambda notice: notice.order)


def _notices(
    about: UUID, controller: str, steps: Sequence[Step], register: Register, calendar: Calendar, now: int
) -> Iterable[Notice]:
    mine = [one for one in steps if one.speaks_to(controller) and one.time <= now]
    acts = [one for one in mine if _is_act(one, mine, controller)]
    if not acts:
        return
    since = calendar.day(acts[0].time)
    due, today = since + timedelta(days=NOTICE_DAYS), calendar.day(now)
    told: dict[str, list[Step]] = {}
    for one in mine:
        if one.type == _TOLD and isinstance(one.body.get("recipient"), str):
            told.setdefault(one.body["recipient"].strip(), []).append(one)
    opened = [one for one in mine if one.type in OPENING or one.type in PASSED_ON]
    for recipient in sorted({*_recipients(register, controller, opened), *told}):
        said = told.get(recipient, [])
        days = [calendar.day(one.time) for one in said]
        confirmed = [calendar.day(one.time) for one in said if one.body.get("outcome") == "acknowledged"]
        yield Notice(
            about=about,
            controller=controller,
            recipient=recipient,
            since=since,
            due=due,
            state="acknowledged" if confirmed else "told" if said else "open",
            told=min(days, default=None),
            acknowledged=min(confirmed, default=None),
            overdue=not said and today > due,
        )


def _is_act(one: Step, steps: Sequence[Step], controller: str) -> bool:
    """Tell whether a step is what recipients have to know of."""
    if one.type == "erasure-executed":
        return one.counts_for(controller)
    if one.type == "request-answered":
        articles = {article_of(other.body.get("article")) for other in steps if other.type == "request-received"}
        return one.counts_for(controller) and "16" in articles and one.body.get("outcome") != "refused"
    return one.type == "restriction-placed" or one.type in PASSED_ON


def controllers_with_recipients(register: Register) -> set[str]:
    """Name the controllers that have any recipient to tell."""
    return {name for name in register.controllers if any(_recipients_of(register, name, None))}


def _recipients(register: Register, controller: str, opened: Iterable[Step]) -> Iterable[str]:
    """Name the recipients that the register has for the purposes of what was opened; of all, if it names none."""
    wanted: set[str] | None = set()
    for one in opened:
        purposes = one.body.get("purposes")
        wanted = wanted | set(purposes) if wanted is not None and isinstance(purposes, list) and purposes else None
    return _recipients_of(register, controller, wanted)


def _recipients_of(register: Register, controller: str, wanted: Collection[str] | None) -> Iterable[str]:
    for row in register.document.get("purposes", ()):
        if row["controller"] == controller and (wanted is None or row["id"] in wanted):
            doc = row.get("doc")
            found = row.get("recipients") or (doc.get("recipients") if isinstance(doc, dict) else None)
            yield from (one.strip() for one in found or () if isinstance(one, str))
