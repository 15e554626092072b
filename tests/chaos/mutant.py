"""A recorder with one of its rules left out, to see the crash test fail: `python mutant.py RULE`."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeAlias

from consent_ledger.recorder.app import Recorder
from consent_ledger.runtime.clock import Clock, SystemClock
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.telemetry import configure_logging, run
from consent_ledger.store import ledger
from consent_ledger.store.ledger import Batch, append

Append: TypeAlias = Callable[[Connection, Batch, Clock, timedelta], Awaitable[datetime]]


async def append_in_any_epoch(connection: Connection, batch: Batch, clock: Clock, lease: timedelta) -> datetime:
    epoch = await connection.fetchval("SELECT epoch FROM shard_head WHERE shard = $1", batch.shard)
    return await append(connection, replace(batch, epoch=epoch), clock, lease)


async def append_at_any_offset(connection: Connection, batch: Batch, clock: Clock, lease: timedelta) -> datetime:
    offset = await connection.fetchval("SELECT next_offset FROM shard_head WHERE shard = $1", batch.shard)
    return await append(connection, replace(batch, first_offset=offset), clock, lease)


async def append_after_moving_the_offset(
    connection: Connection, batch: Batch, clock: Clock, lease: timedelta
) -> datetime:
    await connection.execute(
        "UPDATE shard_head SET next_offset = $2 WHERE shard = $1 AND epoch = $3 AND next_offset = $4",
        batch.shard, batch.next_offset, batch.epoch, batch.first_offset,
    )  # fmt: skip
    return await append(connection, replace(batch, first_offset=batch.next_offset), clock, lease)


APPENDS: dict[str, Append] = {
    "epoch": append_in_any_epoch,
    "compare-and-set": append_at_any_offset,
    "offset-in-transaction": append_after_moving_the_offset,
}


def leave_out(rule: str) -> None:
    """Take a rule out of the product as it lies in this process."""
    if rule == "terminate":
        ledger._SQL["silent_owner"] = "SELECT 0 AS pid WHERE $1::int IS NULL AND $2::text IS NULL"
    else:
        ledger.append = APPENDS[rule]  # type: ignore[assignment]


if __name__ == "__main__":
    leave_out(sys.argv[1])
    settings = Settings()
    configure_logging(settings.log_level)
    run(Recorder(settings, KeyFile(settings.key_file), SystemClock()).run())
