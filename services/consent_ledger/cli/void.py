"""`consent void`: take back an event that staff entered by mistake, by two people."""

from typing import Annotated
from uuid import UUID

import typer

from consent_ledger.cli import found, voiding
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import USAGE, AsJson, err, fail, out, run, say_json, table
from consent_ledger.cli.voiding import Office, Proposed, Voided
from consent_ledger.runtime.settings import Settings

As = Annotated[str, typer.Option("--as", help="Who you are, for example staff:jan.")]
Reason = Annotated[str | None, typer.Option(help="Why it is voided; needed to propose.")]
Approve = Annotated[bool, typer.Option("--approve", help="Approve, as another person, what was proposed.")]
Source = Annotated[
    str | None, typer.Option(help="For which registered source you speak; found by itself where only one will do.")
]


def void(
    *,
    event_id: Annotated[UUID, typer.Argument(metavar="EVENT_ID", help="As `consent history` shows it.")],
    who: As,
    reason: Reason = None,
    approve: Approve = False,
    source: Source = None,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Void an event: one person proposes, another one approves, and then it is published.

    A refusal that the subject made is never voided; the exit status is 1 then, and whenever it would have no effect.
    """
    settings = found.settings(data)
    say(run(voided(settings, event_id, who=who, reason=reason, approve=approve, source=source)), as_json=as_json)


async def voided(
    settings: Settings, event_id: UUID, *, who: str, reason: str | None, approve: bool, source: str | None
) -> Proposed | Voided:
    """Do the one step or the other."""
    async with voiding.office(settings) as office:
        return await step(office, event_id, who=who, reason=reason, approve=approve, source=source)


async def step(
    office: Office, event_id: UUID, *, who: str, reason: str | None, approve: bool, source: str | None
) -> Proposed | Voided:
    """Propose, or approve what another person proposed."""
    if not who.strip():
        fail("--as says who you are", USAGE)
    if approve:
        return await voiding.approve(office, event_id, approved_by=who)
    if not (reason or "").strip():
        fail("--reason says why the event is voided", USAGE)
    return await voiding.propose(office, event_id, entered_by=who, reason=reason or "", source=source)


def say(outcome: Proposed | Voided, *, as_json: bool) -> None:
    """Print what was done."""
    if as_json:
        say_json(outcome)
    elif isinstance(outcome, Proposed):
        out.print(f"Proposed, for the source {outcome.source}. Another person approves it with --approve.")
    else:
        out.print(f"Voided: entry {outcome.shard}/{outcome.position}, event {outcome.event_id}.")
        rows = [(one.controller, one.type, one.purpose, one.channel, one.before, one.after) for one in outcome.changes]
        columns = ("controller", "address", "purpose", "channel", "before", "now")
        out.print(table("Answers that changed", *columns, rows=list(rows)))
        if not rows:
            err.print("No answer about the addresses that it names changed: other events still say the same.")
