"""`consent retention run` on a running installation.

Seen to fail: a dry run that begins a run; the run recorded under an id of its own each time; not recorded at all.
"""

import asyncio
import time
import uuid

import asyncpg

from cli.installed import Up, consent
from consent_ledger.cli import found


async def read(up: Up, query: str, *values: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(found.settings(up.data).dsn, server_settings={"search_path": "consent"})
    try:
        return list(await connection.fetch(query, *values))
    finally:
        await connection.close()


def recorded(up: Up, id_: str) -> str:
    """Wait for the entry of a run."""
    query = "SELECT type FROM ledger WHERE event_id = $1"
    deadline = time.monotonic() + 30
    while not (rows := asyncio.run(read(up, query, uuid.UUID(id_)))):
        assert time.monotonic() < deadline
    return str(rows[0]["type"])


def test_a_run_records_itself_in_the_ledger(up: Up) -> None:
    dry = consent("retention", "run", "--dry-run", "--json", data=up.data)
    runs = asyncio.run(read(up, "SELECT FROM retention_run"))
    run = consent("retention", "run", "--json", data=up.data)
    text = consent("retention", "run", data=up.data)

    assert (dry.status, dry.data["id"], runs) == (0, None, [])
    assert run.status == text.status == 0
    assert run.data["counts"] == dry.data["counts"]
    assert recorded(up, run.data["id"]) == "retention-run"
    assert "0 personal parts" in text.out
    assert asyncio.run(read(up, "SELECT FROM retention_run WHERE ended_at IS NULL")) == []
