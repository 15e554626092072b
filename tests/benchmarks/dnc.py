"""What importing a do-not-call register costs: `consent import dnc`, on a throwaway PostgreSQL and Kafka.

    cd tests && python -m benchmarks.dnc [NUMBERS] [CONTROLLERS]

Twice: the first snapshot, and one in which a number in a hundred has changed. Seconds of processor time are those that
count: the importing process and all of PostgreSQL's.
"""

import asyncio
import os
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
from rich.console import Console
from rich.table import Table

from consent_ledger.cli.import_dnc import Plan, import_snapshot
from consent_ledger.runtime.local import Kafka, Postgres
from consent_ledger.store.migrate import migrate
from consent_ledger.viewer.app import Viewer
from running import installation, serving

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_CHANGED: Final = 100


def register(controllers: int) -> dict[str, Any]:
    """So many controllers that call people."""
    names = [f"caller-{number}" for number in range(controllers)]
    terms = {"basis": "legitimate-interest", "channels": ["phone"], "direct_marketing": True, "dnc": ["list"]}
    return {
        "controllers": {name: {"country": "BE"} for name in names},
        "sources": {"feed": {"controllers": names}},
        "purposes": [{"controller": name, "id": "calls", **terms} for name in names],
        "dnc_registers": {"list": {"max_age": "P7D", "source": "feed"}},
    }


def write(file: Path, numbers: int, *, again: bool) -> None:
    """Write numbers; `again`, with a hundredth of them others than before."""
    with file.open("w") as lines:
        lines.writelines(
            f"+324{70_000_000 + number + (numbers if again and number % _CHANGED == 0 else 0):08}\n"
            for number in range(numbers)
        )


def spent(postmaster: int) -> tuple[float, float]:
    """Give the processor seconds of this process, and those of PostgreSQL with all its processes, past and present."""
    mine = resource.getrusage(resource.RUSAGE_SELF)
    ticks = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            own = int(entry.name) == postmaster
            if own or int(fields[1]) == postmaster:
                ticks += sum(map(int, fields[11:15] if own else fields[11:13]))
    return mine.ru_utime + mine.ru_stime, ticks / _TICKS


async def main(numbers: int, controllers: int) -> None:
    """Measure, and print a table."""
    table = Table(
        "snapshot", "s", "s of processor, import", "s of processor, PostgreSQL", "peak of the import, MB",
        title=f"{numbers:,} numbers for {controllers} controllers",
    )  # fmt: skip
    with Postgres() as postgres, Kafka() as kafka, tempfile.TemporaryDirectory() as path:
        await migrate(postgres.url)
        base, _, database = postgres.url.rpartition("/")
        file = Path(path) / "numbers.txt"
        async with (
            installation(kafka.bootstrap_servers, f"{base}/template1", database, Path(path)) as made,
            serving(made.recorder().run()) as recorder,
            serving(Viewer(made.settings, made.keks, made.clock).run()),
        ):
            await made.recorded(await made.load_register(register(controllers)), service=recorder)
            postmaster = await _postmaster(made.superuser)
            for name, again in (("first", False), ("next", True)):
                write(file, numbers, again=again)
                before, began = spent(postmaster), time.perf_counter()
                day = datetime.now(UTC) - timedelta(hours=2 - again)
                done = await import_snapshot(made.settings, Plan(file=file, register="list", snapshot_at=day))
                seconds, after = time.perf_counter() - began, spent(postmaster)
                if not done.active or done.numbers != numbers:
                    raise SystemExit(str(done))
                figures = [seconds, *(one - other for one, other in zip(after, before, strict=True))]
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                table.add_row(name, *(f"{figure:,.1f}" for figure in figures), f"{peak:,.0f}")
    Console().print(table)


async def _postmaster(connection: asyncpg.Connection) -> int:
    backend = await connection.fetchval("SELECT pg_backend_pid()")
    return int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])


if __name__ == "__main__":
    chosen = [int(one) for one in sys.argv[1:]]
    asyncio.run(main(*chosen, *(1_000_000, 3)[len(chosen) :]))
