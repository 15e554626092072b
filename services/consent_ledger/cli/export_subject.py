"""`consent export subject`: what a person may ask for: access (Art. 15) and portability (Art. 20)."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import typer

from consent_ledger.cli import exporting, found
from consent_ledger.cli.exporting import Ledger, Wanted
from consent_ledger.cli.found import Data
from consent_ledger.cli.pages.html import html
from consent_ledger.cli.pages.subject import access_page, portability_page
from consent_ledger.cli.recorded import publish_recorded
from consent_ledger.cli.terminal import NO, USAGE, AsJson, fail, out, run, say_json
from consent_ledger.domain import access as telling
from consent_ledger.domain import durations
from consent_ledger.domain.access import SharedError
from consent_ledger.domain.cloudevents import build, uuid7
from consent_ledger.domain.requests import Request
from consent_ledger.runtime.clock import SystemClock
from consent_ledger.store import requests

Language = Annotated[Literal["nl", "fr", "de", "en"], typer.Option(help="The language of the pages.")]


def subject(
    *,
    controller: exporting.Controller,
    reason: exporting.Reason,
    language: Language,
    output: Annotated[Path, typer.Option("--output", "-o", file_okay=False, help="The directory to write to.")],
    event: exporting.Event = None,
    file: exporting.AddressFile = None,
    kind: exporting.Kind = None,
    viewer: exporting.As = None,
    request: Annotated[
        UUID | None, typer.Option(help="The request that this answers; the answer is recorded with its digest.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Who answers the request: a source registered for the controller.")
    ] = None,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Write what a controller holds of a person, and what they provided: JSON for programs, HTML and PDF for people.

    The look is recorded first. Other people's data are left out, and names of staff. Whoever asks must have shown who
    they are: with --request that is checked, and the answer recorded.
    """
    if (request is None) != (source is None):
        fail("give --request and --source together", USAGE)
    who = exporting.wanted(controller, reason, viewer, file, kind, event)
    written = run(_subject(data, who, language, output, (request, source) if request and source else None))
    if as_json:
        say_json({"files": written})
    else:
        for path in written:
            out.print(path, soft_wrap=True)


async def _subject(
    data: Path, who: Wanted, language: str, directory: Path, answering: tuple[UUID, str] | None
) -> list[str]:
    async with exporting.ledger(data) as ledger:
        if answering is not None:
            await _require_identity(ledger, who.controller, answering[0])
        shown = await exporting.person(data, who)
        files = dict(await documents(ledger, shown, language))
        exporting.write_all(directory, files)
        if answering is not None:
            await _answered(ledger, who.controller, *answering, files["access.json"])
    return [str(directory / name) for name in files]


async def documents(ledger: Ledger, shown: dict[str, Any], language: str) -> list[tuple[str, bytes]]:
    """Make the documents for a person who was shown, by the names of their files.

    Ends the command where several people use the identifier that was asked about.
    """
    register, made_at = await exporting.register_of(ledger.connection), exporting.now()
    try:
        access = telling.access(register, shown, made_at)
        portability = telling.portability(register, shown, made_at)
    except SharedError as error:
        fail(str(error), NO)
    return [*_written(access, portability, language, datetime.fromisoformat(made_at).astimezone(UTC))]


def _written(
    access: telling.Access, portability: telling.Portability, language: str, made_at: datetime
) -> Iterator[tuple[str, bytes]]:
    from consent_ledger.cli.pages.pdf import pdf  # noqa: PLC0415 - takes longer to load than all other commands

    for name, document, page in (
        ("access", access, access_page(access, language)),
        ("portability", portability, portability_page(portability, language)),
    ):
        yield f"{name}.json", exporting.pretty(document)
        yield f"{name}.html", html(page)
        yield f"{name}.pdf", pdf(page, made_at)


async def _require_identity(ledger: Ledger, controller: str, request: UUID) -> None:
    """End the command unless the request is there and nobody waits for proof of identity (Art. 12(6))."""
    now = durations.instant(SystemClock().now())
    duties = await requests.duties(ledger.connection, now)
    there: list[Request] = [one for one in duties.requests if (one.id, one.controller) == (request, controller)]
    if not there:
        fail("there is no such request at this controller", USAGE)
    if there[0].behind == "subject":
        fail("the requester has not shown yet who they are: nothing is disclosed before (Art. 12(6))", NO)


async def _answered(ledger: Ledger, controller: str, request: UUID, source: str, document: bytes) -> None:
    now = datetime.now(UTC)
    event_id = uuid7(now)
    digest = "sha256:" + hashlib.sha256(document).hexdigest()
    said = {"controllers": [controller], "request_id": request, "article": "15", "outcome": "complete",
            "digest": digest}  # fmt: skip
    value = build("request-answered", source, now, said, event_id)
    await publish_recorded(ledger.settings, ledger.connection, value, event_id)
