"""Runs of retention, and what they leave."""

from typing import Any

from consent_ledger.runtime.postgres import connect
from consent_ledger.viewer.retention import Report, Retention
from running import Installation


async def run(home: Installation, **options: Any) -> Report:
    connection = await connect(home.settings.dsn, "consent_retention")
    try:
        made = Retention(home.settings, home.keks, home.clock, connection, **options)
        report = await made.run()
        await made.close(report)
        return report
    finally:
        connection.terminate()


async def count(home: Installation) -> Report:
    connection = await connect(home.settings.dsn, "consent_retention")
    try:
        return await Retention(home.settings, home.keks, home.clock, connection).count()
    finally:
        connection.terminate()


async def rows_of(home: Installation, kind: str) -> tuple[int, int]:
    """How many index rows and personal parts the entries of a type have."""
    found = await home.fetch(
        "SELECT (SELECT count(*) FROM entry_subject JOIN ledger l USING (shard, pos) WHERE l.type = $1),"
        " (SELECT count(*) FROM payload JOIN ledger l USING (shard, pos) WHERE l.type = $1)",
        kind,
    )
    return found[0][0], found[0][1]
