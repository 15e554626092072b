"""From publishing a refusal until a mail tool's own answer is no, beside the bare loop of the same run.

cd tests && python -m benchmarks.sdk_latency [RATE [SECONDS]]
"""

import sys
from datetime import UTC, datetime
from typing import Final

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.contestants import BareLoop, Ledger
from benchmarks.latency import Latency, measure_latency, publisher_of
from benchmarks.pipeline import say
from benchmarks.stage import LEDGER, Stage, staged, until
from benchmarks.tool import Tool
from benchmarks.traffic import Backlog, publish_consents, publish_refusals, refusals
from consent_ledger.client import HashKey
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.store import keys

_AIM_MS: Final = 1_000
_CONFIRMED: Final = "vloet"


async def measure(rate: float, seconds: float) -> tuple[Latency, Latency]:
    """Measure the bare loop's record, then the tool's answer."""
    async with staged(say) as stage:
        bare = BareLoop(stage)
        await bare.prepare()
        async with stage.running(bare.modules):
            of_bare, _ = await measure_latency(stage, bare, Backlog(0, datetime.now(UTC)), rate, seconds)
        ledger = Ledger(stage)
        await ledger.prepare()
        async with stage.running(LEDGER):
            await until(ledger.ready, "the services own their shares")
            return of_bare, await _of_tool(stage, rate, seconds)


async def _of_tool(stage: Stage, rate: float, seconds: float) -> Latency:
    found = await keys.controller_keys(stage.superuser, KeyFile(stage.settings.key_file))
    held = [HashKey(controller=name, kid=key.kid, key=key.key) for name, key in found.items()]
    # One of the four wants consents confirmed: nobody may be written to there who could refuse.
    people = [one for one in refusals(int(rate * seconds * 4 / 3), "tool") if one.letter.controller != _CONFIRMED]
    hashes = {address_hash(found[one.letter.controller].key, "email", one.address): one for one in people}
    watched = {hash_: refusal.letter for hash_, refusal in hashes.items()}
    async with publisher_of(stage) as publisher, Tool.running(stage, held, watched) as tool:
        await publish_consents(publisher, people)
        await until(lambda: tool.has_seen("yes", len(people)), "the tool may write to everybody")
        sent = await publish_refusals(publisher, people, rate)
        await until(lambda: tool.has_seen("no", len(people)), "the tool may write to nobody")
    return Latency.of(rate, [tool.no[hash_] - sent[refusal] for hash_, refusal in hashes.items()], {})


def main(rate: float = 500.0, seconds: float = 20.0) -> None:
    """Print both, and their ratio."""
    bare, tool = uvloop.run(measure(rate, seconds))
    table = Table("", "bare loop, ms", "tool's answer, ms", "ratio", "aim, ms", title=f"{rate:g} refusals a second")
    for name, aim in (("p50", ""), ("p90", ""), ("p99", f"{_AIM_MS:,}"), ("longest", "")):
        of_bare, of_tool = getattr(bare, name), getattr(tool, name)
        table.add_row(name, f"{of_bare:,.1f}", f"{of_tool:,.1f}", f"{of_tool / of_bare:.1f}", aim)
    Console().print(table)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
