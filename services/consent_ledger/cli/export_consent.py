"""`consent export consent`: proof of one consent (Art. 7(1); ISO/IEC TS 27560)."""

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from consent_ledger.cli import exporting, found
from consent_ledger.cli.exporting import PATIENCE_SECONDS, Ledger, Patience, Wanted
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, fail, run
from consent_ledger.domain import consent_record
from consent_ledger.domain.consent_record import ConsentRecord
from consent_ledger.domain.texts import Text
from consent_ledger.store import texts

EventId = Annotated[UUID, typer.Argument(metavar="EVENT_ID", help="The consent.")]


def consent(
    *,
    event_id: EventId,
    controller: exporting.Controller,
    reason: exporting.Reason,
    viewer: exporting.As = None,
    output: exporting.Output = None,
    wait: Patience = PATIENCE_SECONDS,
    data: Data = found.DEFAULT_DATA,
) -> None:
    """Write the proof of a consent as JSON: who, what for, the exact text, both steps, what came later, and the log.

    The look is recorded first. What is not sealed yet is waited for. Exit status 1 when there is no such consent.
    """
    who = exporting.wanted(controller, reason, viewer, None, None, event_id)
    exporting.deliver(exporting.pretty(run(_consent(data, who, wait))), output)


async def _consent(data: Path, who: Wanted, patience: float) -> ConsentRecord:
    async with exporting.ledger(data) as ledger:
        return await record(ledger, await exporting.person(data, who, openings=True), str(who.event_id), patience)


async def record(ledger: Ledger, shown: dict[str, Any], event_id: str, patience: float) -> ConsentRecord:
    """Make the record of a consent of a person who was shown; the command ends where there is none."""
    try:
        consent = consent_record.given(shown, event_id)
    except LookupError as error:
        fail(str(error), NO)
    register = await exporting.register_of(ledger.connection, consent["register_version"])
    kept = await texts.registered(ledger.connection)
    text, _ = consent_record.text_of(kept, shown["controller"], consent)
    proving = [*consent_record.relevant(shown, consent, register), *([_entry(text)] if text is not None else ())]
    log = await exporting.proved(ledger, proving, patience)
    return consent_record.record(shown, event_id, register, kept, log, exporting.now())


def _entry(text: Text) -> dict[str, Any]:
    """Give the place of the entry that keeps a text, in the form of an entry shown."""
    return {"event_id": text.event_id, "position": {"shard": text.shard, "position": text.position}}
