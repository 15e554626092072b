"""A service with one of its rules left out, to see the crash tests fail: `python mutant.py SERVICE RULE`."""

import runpy
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from consent_ledger.runtime.clock import Clock
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import decisions, ledger
from consent_ledger.store.ledger import Batch, append_all


async def append_in_any_epoch(connection: Connection, batch: Batch, clock: Clock, lease: timedelta) -> datetime:
    epoch = await connection.fetchval("SELECT epoch FROM shard_head WHERE shard = $1", batch.shard)
    return (await append_all(connection, [replace(batch, epoch=epoch)], clock, lease))[0]


async def append_at_any_offset(connection: Connection, batch: Batch, clock: Clock, lease: timedelta) -> datetime:
    offset = await connection.fetchval("SELECT next_offset FROM shard_head WHERE shard = $1", batch.shard)
    return (await append_all(connection, [replace(batch, first_offset=offset)], clock, lease))[0]


async def append_after_moving_the_offset(
    connection: Connection, batch: Batch, clock: Clock, lease: timedelta
) -> datetime:
    await connection.execute(
        "UPDATE shard_head SET next_offset = $2 WHERE shard = $1 AND epoch = $3 AND next_offset = $4",
        batch.shard, batch.next_offset, batch.epoch, batch.first_offset,
    )  # fmt: skip
    return (await append_all(connection, [replace(batch, first_offset=batch.next_offset)], clock, lease))[0]


def leave_stopped_owners_alone() -> None:
    ledger._SQL["silent_owner"] = "SELECT 0 AS pid WHERE $1::int IS NULL AND $2::text IS NULL"


def decide_before_the_view_has_caught_up() -> None:
    decisions._SQL["caught_up"] = "SELECT $1::int[] IS NOT NULL AND $2::bigint[] IS NOT NULL AND $3::bigint IS NOT NULL"


def append_by(function: Callable[[Connection, Batch, Clock, timedelta], Awaitable[datetime]]) -> Callable[[], None]:
    async def append_each(
        connection: Connection, batches: Sequence[Batch], clock: Clock, lease: timedelta
    ) -> list[datetime]:
        return [await function(connection, batch, clock, lease) for batch in batches]

    def patch() -> None:
        ledger.append = function  # type: ignore[assignment]
        ledger.append_all = append_each

    return patch


RULES: dict[str, Callable[[], None]] = {
    "epoch": append_by(append_in_any_epoch),
    "compare-and-set": append_by(append_at_any_offset),
    "offset-in-transaction": append_by(append_after_moving_the_offset),
    "terminate": leave_stopped_owners_alone,
    "barrier": decide_before_the_view_has_caught_up,
}


if __name__ == "__main__":
    service, rule = sys.argv[1:]
    RULES[rule]()
    runpy.run_module(f"consent_ledger.{service}", run_name="__main__")
