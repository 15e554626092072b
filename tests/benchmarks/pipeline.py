"""Measures the way of events from Kafka to the topic beside the bare loop, on the same servers in the same run.

Run it from `tests/`: `python -m benchmarks.pipeline --events 1000000`. It starts servers of its own and leaves nothing.
"""

import argparse
import os
import sys
from datetime import UTC, datetime
from typing import Final

import msgspec
import uvloop
from rich.console import Console

from benchmarks.contestants import BareLoop, Contestant, Ledger
from benchmarks.latency import measure_latency
from benchmarks.report import Figures, Results, show
from benchmarks.stage import Gate, RunError, Stage, staged
from benchmarks.throughput import measure_throughput
from benchmarks.traffic import Backlog, publish_all

_err: Final = Console(stderr=True, highlight=False)


class _Asked(argparse.Namespace):
    events: int
    people: int | None
    rates: list[float]
    seconds: float
    json: bool


async def measure(asked: _Asked) -> Results:
    """Measure the bare loop, then the ledger: each first on what lies in Kafka, then on refusals at steady rates."""
    began, load_before = datetime.now(UTC), os.getloadavg()
    people = asked.people or max(1, asked.events // 4)
    async with staged(say) as stage:
        bare, ledger = BareLoop(stage), Ledger(stage)
        await bare.prepare()
        await ledger.prepare()
        say(f"publishing {asked.events:,} events")
        backlog, size = await publish_all(stage.settings, asked.events, people)
        of_bare, backlog = await _measure(stage, bare, backlog, asked)
        of_ledger, _ = await _measure(stage, ledger, backlog, asked)
        return Results(
            began=began, cores=os.cpu_count() or 0, load_before=load_before, load_after=os.getloadavg(),
            people=people, mean_event_bytes=size, complaints=stage.complaints(), bare=of_bare, ledger=of_ledger,
        )  # fmt: skip


async def _measure(stage: Stage, contestant: Contestant, backlog: Backlog, asked: _Asked) -> tuple[Figures, Backlog]:
    """Return the figures, and the backlog that whoever comes next finds."""
    async with (
        Gate.shut(stage.settings.dsn, contestant.gate) as gate,
        stage.running(contestant.modules) as services,
    ):
        say(f"{contestant.name}: {backlog.events:,} events that lie in Kafka")
        throughput = await measure_throughput(stage, contestant, gate, services, backlog)
        say(f"{contestant.name}: {throughput.per_second:,.0f} events a second")
        latencies = []
        for rate in asked.rates:
            say(f"{contestant.name}: {rate:g} refusals a second for {asked.seconds:g} s")
            latency, backlog = await measure_latency(stage, contestant, backlog, rate, asked.seconds)
            latencies.append(latency)
    return Figures(throughput=throughput, latencies=latencies), backlog


def say(progress: str) -> None:
    """Tell whoever waits how far it is."""
    _err.print(f"{datetime.now(UTC):%H:%M:%S} {progress}", style="dim")


def _ask() -> _Asked:
    parser = argparse.ArgumentParser(prog="benchmarks.pipeline", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="how many lie in Kafka at the start")
    parser.add_argument("--people", type=int, help="how many they are about; a fourth of the events by default")
    parser.add_argument("--rates", type=float, nargs="*", default=[50.0, 500.0], help="refusals a second")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each rate is kept")
    parser.add_argument("--json", action="store_true", help="print data instead of tables")
    return parser.parse_args(namespace=_Asked())


def main() -> int:
    """Measure and print; 1 when the run is worth nothing."""
    asked = _ask()
    try:
        results = uvloop.run(measure(asked))
    except RunError as error:
        _err.print(str(error), style="bold red", markup=False)
        return 1
    if asked.json:
        sys.stdout.buffer.write(msgspec.json.encode(results) + b"\n")
    else:
        show(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
