"""What the log costs: entries sealed, proved and verified, on a throwaway PostgreSQL and Kafka.

    cd tests && python -m benchmarks.seal [ENTRIES]

Entries are copied into the ledger beforehand, so that only the log is measured.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Final

from rich.console import Console
from rich.table import Table

from consent_ledger.runtime.local import Kafka, Postgres
from consent_ledger.store import audit as stored
from consent_ledger.store import log, proofs
from consent_ledger.store.migrate import migrate
from consent_ledger.verifier.audit import audit
from consent_ledger.verifier.note import VerifierKey, open_checkpoint
from consent_ledger.verifier.remote import Bundle, check_bundles
from consent_ledger.verifier.tree import split
from log.sealing import Log, logging

_SHARDS: Final = 8
_BATCH: Final = 1_000
_PROOFS: Final = 300


async def measure(made: Log, entries: int, table: Table) -> None:
    """Seal, prove and verify so many entries."""
    for number in range(entries // _BATCH):
        await made.append(_BATCH, shard=number % _SHARDS)
    began = time.perf_counter()
    sealed = await made.seal(seal_seconds=0.05, seal_max=10_000)
    _row(table, "sealed, entries/s", made.entries / (time.perf_counter() - began), "50,000")

    connection, random = made.made.superuser, Random(1)
    seconds, sizes = [], []
    for _ in range(_PROOFS):
        shard = random.randrange(_SHARDS)
        position = random.randrange(sealed.heads[shard])
        began = time.perf_counter()
        proof = await proofs.proof(connection, shard, position)
        seconds.append(time.perf_counter() - began)
        sizes.append(len(proof or b""))
    _row(table, "proof of one entry, ms (p50)", sorted(seconds)[_PROOFS // 2] * 1000, "10")
    _row(table, "proof of one entry, ms (p99)", sorted(seconds)[_PROOFS * 99 // 100] * 1000, "10")
    _row(table, "proof of one entry, bytes (largest)", max(sizes), "4,096")

    key = VerifierKey.parse((await made.key()).public)
    contents = [entry.content() for entry in await log.entries_of(connection, 0, sealed.size)]
    leaves = await made.leaves()
    bundles = [
        Bundle(first, contents[first : first + 256], leaves[first : first + 256])
        for first in range(0, sealed.size, 256)
    ]
    began = time.perf_counter()
    checked = check_bundles(bundles, open_checkpoint(sealed.note, key))
    _row(table, "range verified, entries/s", sealed.size / (time.perf_counter() - began), "200,000")
    if checked.finding is not None:
        raise SystemExit(str(checked.finding))

    began = time.perf_counter()
    async with stored.reading(made.settings.dsn) as source:
        report = await audit(source, key, made.published())
    _row(table, "whole ledger audited from PostgreSQL, entries/s", sealed.size / (time.perf_counter() - began), "")
    if report.finding is not None or len(split(b"".join(leaves))) != sealed.size:
        raise SystemExit(str(report.finding))


def _row(table: Table, what: str, figure: float, aim: str) -> None:
    table.add_row(what, f"{figure:,.1f}" if figure < 100 else f"{figure:,.0f}", aim)


async def main(entries: int) -> None:
    """Measure, and print a table."""
    table = Table("what", "measured", "aim", title=f"The log, {entries:,} entries")
    with Postgres() as postgres, Kafka() as kafka, tempfile.TemporaryDirectory() as path:
        await migrate(postgres.url)
        database = postgres.url.rpartition("/")[2]
        async with logging(kafka.bootstrap_servers, f"{postgres.url.rpartition('/')[0]}/template1", database,
                           Path(path)) as made:  # fmt: skip
            await measure(made, entries, table)
    Console().print(table)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000))
