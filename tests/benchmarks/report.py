"""What a run came to, as data and as tables."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.latency import Latency
from benchmarks.throughput import Throughput

THROUGHPUT_AT_LEAST: Final = 0.25
"""The ledger's throughput as a part of the bare loop's."""
LATENCY_AT_MOST: Final = 4.0
"""The ledger's delays as a multiple of the bare loop's."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured of one contestant."""

    throughput: Throughput
    latencies: Sequence[Latency]


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger's figure divided by the bare loop's, and whether that is good enough."""

    what: str
    bare: float
    ledger: float
    ratio: float
    holds: bool


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Loads are the machine's load averages; `complaints`: errors and warnings in the logs."""

    began: datetime
    cores: int
    load_before: tuple[float, float, float]
    load_after: tuple[float, float, float]
    people: int
    mean_event_bytes: int
    complaints: dict[str, int]
    bare: Figures
    ledger: Figures
    ratios: list[Ratio] = []

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "ratios", _ratios(self.bare, self.ledger))


def _ratios(bare: Figures, ledger: Figures) -> list[Ratio]:
    speeds = bare.throughput.per_second, ledger.throughput.per_second
    part = speeds[1] / speeds[0]
    ratios = [Ratio(what="events/s", bare=speeds[0], ledger=speeds[1], ratio=part, holds=part >= THROUGHPUT_AT_LEAST)]
    for low, ours in zip(bare.latencies, ledger.latencies, strict=True):
        for share in ("p50", "p99"):
            delays = getattr(low, share), getattr(ours, share)
            times = delays[1] / delays[0]
            what = f"refusal {share} at {ours.rate:g}/s, ms"
            ratios.append(
                Ratio(what=what, bare=delays[0], ledger=delays[1], ratio=times, holds=times <= LATENCY_AT_MOST)
            )
    return ratios


def show(results: Results) -> None:
    """Print the tables."""
    out = Console(highlight=False, width=max(100, Console().width))
    out.print(_compared(results), _used("Bare loop", results.bare.throughput), sep="\n\n")
    out.print(_used("Consent ledger", results.ledger.throughput))
    steps = ", ".join(f"{step} after {seconds:.1f} s" for step, seconds in results.ledger.throughput.steps.items())
    out.print(
        f"All {results.ledger.throughput.events:,} events were {steps}, on the topic after "
        f"{results.ledger.throughput.seconds:.1f} s."
    )
    out.print(
        f"{results.people:,} people, {results.mean_event_bytes} bytes a mean event, {results.cores} cores, "
        f"load {results.load_before[0]:.1f} before and {results.load_after[0]:.1f} after."
    )
    for name, figures in (("bare loop", results.bare), ("ledger", results.ledger)):
        for latency in figures.latencies:
            passed = ", ".join(f"{step} after {delay:.1f}" for step, delay in latency.steps.items())
            out.print(f"Half of {latency.rate:g} refusals/s, {name}: {passed}, seen after {latency.p50:.1f} ms.")
    for said, count in results.complaints.items():
        out.print(f"logged {count} times: {said}", style="yellow", markup=False)


def _compared(results: Results) -> Table:
    table = _table("The consent ledger beside the bare loop", "", "bare loop", "ledger", "ratio", "wanted", "")
    for ratio in results.ratios:
        faster = ratio.what == "events/s"
        wanted = f"≥ {THROUGHPUT_AT_LEAST:g}" if faster else f"≤ {LATENCY_AT_MOST:g}"
        figures = [f"{figure:,.0f}" if faster else f"{figure:,.1f}" for figure in (ratio.bare, ratio.ledger)]
        verdict = "[green]holds[/]" if ratio.holds else "[red]falls short[/]"
        table.add_row(ratio.what, *figures, f"{ratio.ratio:.2f}", wanted, verdict)
    return table


def _used(who: str, throughput: Throughput) -> Table:
    table = _table(f"{who}: where the time goes", "process", "CPU µs/event", "CPU s", "of a core", "peak MiB")
    for name, usage in throughput.usages.items():
        each = usage.cpu_seconds / throughput.events * 1e6
        part = usage.cpu_seconds / throughput.seconds
        peak = "" if usage.peak_mebibytes is None else f"{usage.peak_mebibytes:,.0f}"
        table.add_row(name, f"{each:,.1f}", f"{usage.cpu_seconds:,.1f}", f"{part:.0%}", peak)
    return table


def _table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    return made
