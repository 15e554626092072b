"""Reads the requests of subjects from the ledger, by an index that holds nothing else."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Final, NamedTuple
from uuid import UUID

from asyncpg import Record

from consent_ledger.domain import durations, notices, requests
from consent_ledger.domain import register as registers
from consent_ledger.domain.events import read_body
from consent_ledger.domain.notices import Notice
from consent_ledger.domain.register import Register
from consent_ledger.domain.requests import Calendar, Request, Step
from consent_ledger.runtime.calendars import of_controllers
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

NOTICES_MAX: Final = 10_000
"""Of how many withdrawals and changes of address that nobody was told of a list tells; the oldest of each shard."""
_SQL = statements.load(__file__)
_PAGE: Final = 2_000


class Duties(NamedTuple):
    """All requests and notices, the most pressing of each first; of `NOTICES_MAX` withdrawals that nobody was told of.

    `more`: there are others that nobody was told of.
    """

    requests: list[Request]
    notices: list[Notice]
    more: bool = False

    @property
    def is_overdue(self) -> bool:
        """Whether somebody should have been answered or told by now."""
        return any(one.state == "overdue" for one in self.requests) or any(one.overdue for one in self.notices)

    def of(self, wanted: Callable[[str], bool]) -> "Duties":
        """Leave out the controllers that are not wanted."""
        return Duties(
            [one for one in self.requests if wanted(one.controller)],
            [one for one in self.notices if wanted(one.controller)],
            self.more,
        )


async def duties(connection: Connection, now: int) -> Duties:
    """Tell how all requests and notices stand at an instant, in microseconds since 1970; of one snapshot."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        together, register = await _read(connection)
        calendar_of: Callable[[str], Calendar] = of_controllers(register)
        told = notices.fold(together, register, calendar_of, now)
        untold, more = await _untold(connection, register, calendar_of, now)
    every = sorted([*told, *untold], key=lambda one: one.order)
    return Duties(requests.fold(together, calendar_of, now), every, more)


async def _untold(
    connection: Connection, register: Register, calendar_of: Callable[[str], Calendar], now: int
) -> tuple[list[Notice], bool]:
    """List the notices of what nobody was told of, page by page, and say whether there are more."""
    found: list[Notice] = []
    abouts: set[UUID] = set()
    place = (-1, -1)
    concerned = sorted(notices.controllers_with_recipients(register))
    known = {register.version: register}
    while concerned and (rows := await connection.fetch(_SQL["passed_on"], *place, concerned, _PAGE)):
        place = (rows[-1]["shard"], rows[-1]["pos"])
        known |= await _registers(connection, [row for row in rows if row["register_version"] not in known])
        steps = [_step(row, known[row["register_version"]]) for row in rows]
        page = notices.fold({one.event_id: [one] for one in steps}, register, calendar_of, now)
        found += page
        abouts |= {one.about for one in page}
        if len(abouts) > NOTICES_MAX:
            return found, True
    return found, False


class File(NamedTuple):
    """What is kept of a request at one controller, and the day it was answered.

    `is_paper`: nobody refuses anything by it.
    """

    controller: str
    article: str
    answered: date
    steps: tuple[UUID, ...]
    is_paper: bool


async def files(connection: Connection, now: int) -> list[File]:
    """List the files of answered requests, without what was refused or carried out: that is no file, it stays."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        together, register = await _read(connection)
    return [
        File(
            request.controller,
            request.article,
            request.answered,
            tuple(one.event_id for one in together[request.id] if one.type in requests.FILED),
            requests.is_paper(together[request.id]),
        )
        for request in requests.fold(together, of_controllers(register), now)
        if request.answered is not None
    ]


async def _read(connection: Connection) -> tuple[dict[UUID, list[Step]], Register]:
    """Read all steps of requests by request, and the register in force."""
    rows = await connection.fetch(_SQL["steps"])
    told = {UUID(read_body(row["body"])["request_id"]) for row in rows if row["type"] == "recipient-notified"}
    rows += await connection.fetch(_SQL["events"], list(told), list(requests.PASSED_ON))
    newest = await connection.fetchval(_SQL["newest"])
    known = await _registers(connection, rows, newest)
    return requests.by_request(_step(row, known[row["register_version"]]) for row in rows), known[newest]


async def _registers(connection: Connection, rows: Sequence[Record], *more: int) -> dict[int, Register]:
    """Compile the registers under which the entries were recorded, and more of them."""
    wanted = {*(row["register_version"] for row in rows), *more}
    found = {
        row[0]: registers.compile(row[1], row[0]) for row in await connection.fetch(_SQL["registers"], list(wanted))
    }
    return {version: found.get(version) or registers.compile({}, version) for version in wanted}


def _step(row: Record, register: Register) -> Step:
    return requests.step(
        register,
        event_id=row["event_id"],
        type=row["type"],
        occurred=durations.instant(row["occurred_at"]),
        recorded=durations.instant(row["recorded_at"]),
        body=read_body(row["body"]),
    )
