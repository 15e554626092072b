"""`consent export suppression`: how each refusal of a person was recorded, spread, and obeyed."""

from datetime import datetime
from pathlib import Path
from typing import Any

from consent_ledger.cli import exporting, found
from consent_ledger.cli.exporting import Ledger, Wanted
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import run
from consent_ledger.domain import durations, suppression_proof
from consent_ledger.domain.suppression_proof import Check, Suppression, is_refusal
from consent_ledger.runtime.clock import SystemClock
from consent_ledger.store import campaigns, propagation, requests


def suppression(
    *,
    controller: exporting.Controller,
    reason: exporting.Reason,
    event: exporting.Event = None,
    file: exporting.AddressFile = None,
    kind: exporting.Kind = None,
    viewer: exporting.As = None,
    output: exporting.Output = None,
    data: Data = found.DEFAULT_DATA,
) -> None:
    """Write the proof of suppression as JSON: each refusal, the consumers that acknowledge it, the first check it hit.

    Checks are those of campaigns that asked the service; what a tool's own copy refused is known to that tool.
    """
    who = exporting.wanted(controller, reason, viewer, file, kind, event)
    exporting.deliver(exporting.pretty(run(_suppression(data, who))), output)


async def _suppression(data: Path, who: Wanted) -> Suppression:
    async with exporting.ledger(data) as ledger:
        return await proof(ledger, await exporting.person(data, who))


async def proof(ledger: Ledger, shown: dict[str, Any]) -> Suppression:
    """Make the proof of suppression of a person who was shown."""
    connection, now = ledger.connection, SystemClock().now()
    recorded = [datetime.fromisoformat(entry["recorded_at"]) for entry in shown["entries"] if is_refusal(entry)]
    register = await exporting.register_of(connection)
    since = min(recorded, default=now)
    stages = await propagation.stages(connection, register, since, ledger.settings.partitions)
    hashes = [bytes.fromhex(one["hash"]) for one in shown["suppression"]]
    refused = await campaigns.refused(connection, shown["controller"], hashes)
    checks = [
        Check(checked_at=one.answered_at, campaign=one.campaign, purpose=one.purpose, channel=one.channel,
              reason=one.reason)
        for one in refused
    ]  # fmt: skip
    duties = await requests.duties(connection, durations.instant(now))
    return suppression_proof.suppression(register, shown, stages, checks, duties.notices, exporting.now())
