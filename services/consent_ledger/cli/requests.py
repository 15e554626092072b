"""`consent requests`: what subjects have asked for, what is due when, and who has still to be told."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal
from uuid import UUID

import typer
from rich.text import Text

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, USAGE, AsJson, fail, out, run, say_json, table
from consent_ledger.domain import durations
from consent_ledger.domain.notices import Notice
from consent_ledger.domain.requests import Request
from consent_ledger.runtime.clock import SystemClock
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import requests
from consent_ledger.store.requests import Duties

app = typer.Typer(no_args_is_help=True, help="Requests of subjects (Art. 15 to 22) and their last days.")

Wanted = Literal["open", "answered", "overdue", "all"]
_ASKED: dict[Wanted, Callable[[Request], bool]] = {
    "open": lambda request: request.state != "answered",
    "answered": lambda request: request.state == "answered",
    "overdue": lambda request: request.state == "overdue",
    "all": lambda _: True,
}
_TOLD: dict[Wanted, Callable[[Notice], bool]] = {
    "open": lambda notice: notice.state != "acknowledged",
    "answered": lambda notice: notice.state == "acknowledged",
    "overdue": lambda notice: notice.overdue,
    "all": lambda _: True,
}


@app.callback()
def group() -> None:
    """Requests of subjects (Art. 15 to 22) and their last days."""


@app.command("list")
def list_(
    *,
    controller: Annotated[str | None, typer.Option(help="Only those of this controller.")] = None,
    state: Annotated[Wanted, typer.Option(help="`open` are also those overdue.")] = "open",
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """List requests and notices to recipients, the overdue ones first. Exit status 1 when something is overdue."""
    duties = run(_read(found.settings(data))).of(lambda one: controller in (None, one))
    shown = Duties([*filter(_ASKED[state], duties.requests)], [*filter(_TOLD[state], duties.notices)], duties.more)
    _say(shown, as_json=as_json)
    if duties.is_overdue:
        raise typer.Exit(NO)


@app.command()
def show(
    *,
    id_: Annotated[UUID, typer.Argument(metavar="ID", help="The request, as the list names it.")],
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Show one request at every controller it is with, and its notices. Exit status 1 when something is overdue."""
    every = run(_read(found.settings(data)))
    duties = Duties(
        [request for request in every.requests if request.id == id_],
        [notice for notice in every.notices if notice.about == id_],
    )
    if not duties.requests and not duties.notices:
        fail("there is no such request", USAGE)
    _say(duties, as_json=as_json)
    if duties.is_overdue:
        raise typer.Exit(NO)


async def _read(settings: Settings) -> Duties:
    connection = await connect(settings.dsn, "consent_operator")
    try:
        return await requests.duties(connection, durations.instant(SystemClock().now()))
    finally:
        await connection.close()


def _say(duties: Duties, *, as_json: bool) -> None:
    if as_json:
        say_json({"requests": duties.requests, "notices": duties.notices, "more": duties.more})
        return
    out.print(_requests(duties.requests))
    if duties.notices:
        out.print()
        out.print(_notices(duties.notices))
    if duties.more:
        out.print(
            f"Recipients were told of none of more than {requests.NOTICES_MAX:,} withdrawals; the rest is not shown."
        )


def _requests(requests_: Sequence[Request]) -> object:
    rows = [
        (
            request.id, request.controller, request.article, request.received, request.due, _state(request),
            request.paused_days, request.behind,
        )
        for request in requests_
    ]  # fmt: skip
    columns = ("request", "controller", "article", "received", "due", "state", "paused days", "next to move")
    return table("Requests", *columns, rows=rows, right=(6,))


def _state(request: Request) -> Text:
    late = " late" if request.late else ""
    return Text(f"{request.state}{late}", style="bold red" if request.state == "overdue" else "")


def _notices(notices: Sequence[Notice]) -> object:
    rows = [
        (
            notice.about, notice.controller, notice.recipient, notice.since, notice.due,
            Text(f"{notice.state}{' overdue' if notice.overdue else ''}", style="bold red" if notice.overdue else ""),
        )
        for notice in notices
    ]  # fmt: skip
    return table("Recipients to tell (Art. 19)", "about", "controller", "recipient", "since", "due", "state", rows=rows)
