"""What it costs to make the whole view anew, on a throwaway PostgreSQL and Kafka.

    cd tests && python -m benchmarks.rebuild [ENTRIES] [PROCESSES]

The first rebuild finds an empty view and fills it, the second finds that nothing differs; both are measured. CPU
seconds are what counts on a machine that others use as well; those of the database and of the start of Python are told
apart.
"""

import asyncio
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.filled import filled
from benchmarks.footprint import Peak, start_of
from consent_ledger.runtime.local import Kafka, Postgres
from consent_ledger.store.migrate import migrate
from consent_ledger.viewer.rebuild import Rebuild, Report
from running import Installation


async def measure(made: Installation, processes: int, table: Table, database: psutil.Process) -> None:
    """Make the view twice."""
    await made.fetch(
        "UPDATE view_head SET register_version = 1, instant = clock_timestamp(),"
        " applied = ARRAY(SELECT next_pos FROM shard_head ORDER BY shard)"
    )
    start = processes * await start_of("consent_ledger.viewer.rebuild_work")
    table.add_row("start of the processes, CPU seconds", f"{start:.1f}", "")
    for what, swap in (("empty view: made and filled", True), ("nothing differs: made and compared", False)):
        before, began, stages = _cpu(database), time.perf_counter(), dict[str, float]()

        def tell(stage: str, _done: int, _all: int, stages: dict[str, float] = stages) -> None:
            stages.setdefault(stage, time.perf_counter())

        own = time.process_time()
        async with Peak.of(_ours) as peak:
            report = await Rebuild(made.settings, made.keks, processes=processes, progress=tell).run(swap=swap)
        report.cpu_seconds -= own + start
        _say(table, what, report, time.perf_counter() - began, _cpu(database) - before)
        table.add_row("  largest process, MiB", f"{peak.mebibytes:,.0f}", "300")
        marks = [*stages.values(), time.perf_counter()]
        for stage, begin, end in zip(stages, marks, marks[1:], strict=False):
            table.add_row(f"  {stage}, entries/s", f"{report.entries / (end - begin):,.0f}", "")
        if bool(report.differences) is not swap:
            raise SystemExit(f"{report.differences} differences")


def _say(table: Table, what: str, report: Report, seconds: float, database: float) -> None:
    table.add_row(f"{what}, entries/s", f"{report.entries / seconds:,.0f}", "")
    table.add_row("  own CPU per entry, µs", f"{report.cpu_seconds / report.entries * 1e6:.1f}", "66.7")
    table.add_row("  the database's CPU per entry, µs", f"{database / report.entries * 1e6:.1f}", "")
    table.add_row("  entries/s per core of our own CPU", f"{report.entries / report.cpu_seconds:,.0f}", "15,000")


def _ours() -> list[psutil.Process]:
    """The processes that work for a rebuild."""
    with suppress(psutil.NoSuchProcess):
        return [one for one in psutil.Process().children() if "consent_ledger.viewer.rebuild_work" in one.cmdline()]
    return []


def _cpu(server: psutil.Process) -> float:
    """CPU seconds of a server, of what it has started, and of what that has left behind."""
    total = 0.0
    for process in (server, *server.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


async def main(entries: int, processes: int) -> None:
    """Measure, and print a table."""
    table = Table("what", "measured", "aim", title=f"The view made anew, {entries:,} entries, {processes} processes")
    with Postgres() as postgres, Kafka() as kafka, tempfile.TemporaryDirectory() as path:
        await migrate(postgres.url)
        server, _, database = postgres.url.rpartition("/")
        pid = postgres.pid
        assert pid is not None
        async with filled(kafka.bootstrap_servers, f"{server}/template1", database, Path(path), entries) as made:
            await measure(made, processes, table, psutil.Process(pid))
    Console().print(table)


if __name__ == "__main__":
    given = [int(one) for one in sys.argv[1:]]
    asyncio.run(main(*[*given, *(200_000, 2)[len(given) :]]))
