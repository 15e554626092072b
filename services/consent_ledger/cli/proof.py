"""The last act of the demo: that nothing was lost, counted independently of the services."""

import asyncio
from collections import Counter
from typing import Any, Final
from uuid import UUID

import msgspec

from consent_ledger.cli.acts import Stage
from consent_ledger.cli.checkup import Checkup, check_up
from consent_ledger.cli.post import read_back
from consent_ledger.cli.verify import audited, public_key
from consent_ledger.cli.watch import Asked
from consent_ledger.relay.reconcile import reconcile
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import operator
from consent_ledger.store.operator import Counts
from consent_ledger.verifier.note import VerifierKey

_CATCH_UP_SECONDS: Final = 30.0
_ASK_SECONDS: Final = 0.05


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that must be so."""

    what: str
    expected: Any
    found: Any

    @property
    def ok(self) -> bool:
        """Whether it is so."""
        return bool(self.expected == self.found)


async def prove(stage: Stage, malformed: Asked) -> tuple[list[Check], Checkup]:
    """Count what was published, what Kafka has, what the ledger made of it, and whether topic, view and HTTP agree."""
    settings = stage.installation.settings
    connection = await connect(settings.dsn, "consent_operator")
    try:
        ids, records = await read_back(settings)
        counts = await _caught_up(connection, records)
        acknowledged = {said.id for said in stage.post.acknowledged}
        entries = await operator.entries_of(connection, list(acknowledged))
        quarantined = await operator.quarantined(connection, None, 10)
    finally:
        await connection.close()
    report = await reconcile(settings, KeyFile(settings.key_file))
    checkup = await check_up(settings)
    checks = [
        _check("events acknowledged, and all of them in Kafka", acknowledged, {UUID(text) for text in ids}),
        Check(
            what="each of them exactly one entry of the ledger",
            expected=len(acknowledged),
            found=sum(number == 1 for number in entries.values()),
        ),
        Check(
            what="records in Kafka = entries + duplicates + rejected",
            expected=records,
            found=counts.entries + counts.duplicates + counts.rejected,
        ),
        Check(what="what came twice counts once", expected=records - len(ids), found=counts.duplicates),
        Check(
            what="the malformed refusal suppresses, and is in quarantine",
            expected="no, BAD_TIME",
            found=f"{await _word(stage, malformed)}, {quarantined[0].reason if quarantined else 'not there'}",
        ),
        Check(what="keys that differ between topic and view", expected=0,
              found=report.missing + report.stale + report.unexpected),
        Check(what="keys whose version ever fell on the topic", expected=0,
              found=report.falling + len(stage.watcher.fallen)),
        Check(what="people of whom HTTP and topic say different things", expected=0, found=await _differing(stage)),
        Check(what="entries that are in the log, as they were sealed", expected=checkup.total["entries"],
              found=await _in_log(settings)),
        Check(what="what `consent doctor` finds wrong", expected="nothing",
              found="; ".join(checkup.problems) or "nothing"),
    ]  # fmt: skip
    return checks, checkup


def _check(what: str, expected: set[UUID], there: set[UUID]) -> Check:
    return Check(what=what, expected=len(expected), found=len(expected & there))


async def _caught_up(connection: Connection, records: int) -> Counts:
    """Return the ledger's counts once it has all records, or as they are when that takes too long."""
    deadline = asyncio.get_running_loop().time() + _CATCH_UP_SECONDS
    while (counts := await operator.counts(connection)).offsets < records:
        if asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(_ASK_SECONDS)
    return counts


async def _in_log(settings: Settings) -> int | str:
    """Count the sealed entries once all are, and have them checked; what is wrong comes instead of the number."""
    async with asyncio.timeout(_CATCH_UP_SECONDS):
        while True:
            report = await audited(settings, VerifierKey.parse(await public_key(settings)))
            if report.finding is not None or report.unsealed == 0:
                return report.size if report.finding is None else str(report.finding)
            await asyncio.sleep(_ASK_SECONDS)


async def _word(stage: Stage, person: Asked) -> str:
    return "yes" if (await stage.ask([person]))[0][0] else "no"


async def _differing(stage: Stage) -> int:
    """Ask about everybody over HTTP, and compare with the newest record of the topic."""
    people = list({said.asked for said in stage.post.acknowledged})
    answers = await stage.ask(people)
    seen = [stage.watcher.answer(person) for person in people]
    verdicts = Counter(
        one is not None and (one.allow, one.reason) == answer for one, answer in zip(seen, answers, strict=True)
    )
    return verdicts[False]
