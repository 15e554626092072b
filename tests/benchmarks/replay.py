"""What it costs to replay and to export a ledger, on a throwaway PostgreSQL and Kafka.

    cd tests && python -m benchmarks.replay [ENTRIES]

Entries are recorded as a recorder does it. Each command runs as a process of its own, and its CPU seconds and its
memory are its own, without what the database uses, and CPU without what the start of any command takes.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.filled import filled
from benchmarks.footprint import Peak
from consent_ledger.runtime.local import Kafka, Postgres
from consent_ledger.runtime.logkey import LogKey
from consent_ledger.sealer.app import Sealer
from consent_ledger.store import keys, log
from consent_ledger.store.migrate import migrate
from running import Installation, serving, until

_COLUMNS: Final = (
    "what", "entries/s", "CPU µs per entry", "entries/s per core", "aim", "MiB (at most 300)"
)  # fmt: skip


class _Used(NamedTuple):
    seconds: float
    cpu_seconds: float
    mebibytes: float


async def _run(made: Installation, *arguments: str) -> _Used:
    """Run a command and say what it used."""
    variables = {
        **os.environ,
        "CONSENT_DATABASE_URL": made.settings.dsn,
        "CONSENT_KAFKA_BOOTSTRAP_SERVERS": made.settings.kafka_bootstrap_servers or "",
        "CONSENT_TOPIC_PREFIX": made.settings.topic_prefix,
        "CONSENT_KEY_FILE": str(made.settings.key_file),
    }
    command = (sys.executable, "-m", "consent_ledger.cli.main", *arguments)
    began = time.perf_counter()
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    looked_at = psutil.Process(process.pid)
    async with Peak.of(lambda: [looked_at]) as peak:
        _, process.returncode, used = await asyncio.to_thread(os.wait4, process.pid, 0)
    if process.returncode:
        raise SystemExit(f"{arguments} ended with {process.returncode}")
    return _Used(time.perf_counter() - began, used.ru_utime + used.ru_stime, peak.mebibytes)


async def measure(made: Installation, path: Path, table: Table) -> None:
    """Replay to lines and to Parquet, seal, export, verify."""
    start = await _run(made, "replay", "--heads", "0")
    table.add_row("start of any command", "", f"{start.cpu_seconds:.1f} s", "", "", f"{start.mebibytes:,.0f}")
    (row,) = await made.fetch("SELECT sum(next_pos)::bigint FROM shard_head")
    entries = int(row[0])

    async def say(what: str, *arguments: str, aim: str = "") -> None:
        used = await _run(made, *arguments)
        cpu = used.cpu_seconds - start.cpu_seconds
        table.add_row(
            what, f"{entries / used.seconds:,.0f}", f"{cpu / entries * 1e6:.1f}", f"{entries / cpu:,.0f}", aim,
            f"{used.mebibytes:,.0f}",
        )  # fmt: skip

    await say("replay to JSON Lines", "replay", "-o", str(path / "lines"), aim="50,000")
    await say("of one controller", "replay", "--controller", "shop-nl", "-o", str(path / "nl"))
    await say("to Parquet", "replay", "--to", "parquet", "-o", str(path / "parts"))
    async with serving(Sealer(made.settings, made.keks).run()) as sealer:
        await until(lambda: _sealed(made, entries), service=sealer, timeout=600)
    await say("export to Parquet", "export", "ledger", str(path / "out"))
    public = LogKey(made.settings.log_origin, await keys.log_key(made.superuser, made.keks)).public
    await say("export verified", "verify", "--export", str(path / "out"), "--key", public)


async def _sealed(made: Installation, entries: int) -> bool:
    last = await log.last(made.superuser)
    return last is not None and last.size == entries


async def main(entries: int) -> None:
    """Measure, and print a table."""
    table = Table(*_COLUMNS, title=f"The ledger replayed and exported, {entries:,} entries")
    with Postgres() as postgres, Kafka() as kafka, tempfile.TemporaryDirectory() as path:
        await migrate(postgres.url)
        server, _, database = postgres.url.rpartition("/")
        async with filled(kafka.bootstrap_servers, f"{server}/template1", database, Path(path), entries) as made:
            await measure(made, Path(path), table)
    Console().print(table)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000))
