"""Appends that run at the same time wait for each other where they must, and never in a circle.

Each bad order is forced: a transaction is held open, and the back ends that must wait are seen to wait.

Seen to fail: ids not sorted; the lock of the register not taken by a load, nor by an append; both taking it shared;
the register read before the lock.
"""

import asyncio
import uuid
from collections.abc import Coroutine
from typing import Any, TypeVar

from consent_ledger.runtime.postgres import Connection
from consent_ledger.store.ledger import IdsTakenError, RegisterMovedError
from running import until
from store.drafts import append, batch, claimed, draft, load

Result = TypeVar("Result")
LOW, HIGH = uuid.UUID(int=1), uuid.UUID(int=2)
HOLD = 4711

# Whoever has written the first row of its statement waits until the lock is let go before it writes the second.
WAIT_BEFORE_THE_SECOND_ROW = f"""
    CREATE FUNCTION wait_before_the_second_row() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        rows int := coalesce(nullif(current_setting('test.rows', true), ''), '0')::int;
    BEGIN
        PERFORM set_config('test.rows', (rows + 1)::text, true);
        IF rows > 0 THEN
            PERFORM pg_advisory_xact_lock_shared({HOLD});
        END IF;
        RETURN new;
    END $$;
    CREATE TRIGGER wait BEFORE INSERT ON consent.event
        FOR EACH ROW EXECUTE FUNCTION wait_before_the_second_row();
"""


async def waits(superuser: Connection, count: int) -> None:
    """Return when so many back ends of the recorders wait for a lock."""

    async def are_waiting() -> bool:
        waiting = await superuser.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(waiting == count)

    await until(are_waiting)


async def outcome(work: Coroutine[Any, Any, Result]) -> Result | Exception:
    try:
        return await work
    except Exception as error:  # noqa: BLE001 - the outcome is what is asked for
        return error


async def test_two_batches_with_the_same_ids_in_opposite_order_do_not_deadlock(
    recorder: Connection, second: Connection, superuser: Connection
) -> None:
    await claimed(recorder, 1)
    await claimed(recorder, 2)
    await superuser.execute(WAIT_BEFORE_THE_SECOND_ROW)
    await superuser.execute("SELECT pg_advisory_lock($1)", HOLD)
    upwards = batch(draft(0, event_id=LOW), draft(1, event_id=HIGH), shard=1)
    downwards = batch(draft(0, event_id=HIGH), draft(1, event_id=LOW), shard=2)

    both = [asyncio.create_task(outcome(append(recorder, upwards)))]
    await waits(superuser, 1)
    both.append(asyncio.create_task(outcome(append(second, downwards))))
    await waits(superuser, 2)
    await superuser.execute("SELECT pg_advisory_unlock($1)", HOLD)
    results = await asyncio.gather(*both)

    assert not isinstance(results[0], Exception)
    assert isinstance(results[1], IdsTakenError)
    assert results[1].taken.keys() == {LOW, HIGH}
    assert await superuser.fetchval("SELECT count(*) FROM consent.ledger") == 2


async def test_a_register_load_waits_for_an_open_append(
    recorder: Connection, second: Connection, superuser: Connection
) -> None:
    await claimed(recorder, 0)
    await claimed(recorder, 1)
    transaction = recorder.transaction()
    await transaction.start()
    await append(recorder, batch(draft()))

    loading = asyncio.create_task(append(second, batch(load(), shard=0)))
    await waits(superuser, 1)
    await transaction.commit()
    await loading

    rows = await superuser.fetch("SELECT shard, register_version FROM consent.ledger ORDER BY shard")
    assert [tuple(row) for row in rows] == [(0, 1), (1, 0)]


async def test_an_append_waits_for_an_open_register_load_and_is_then_refused(
    recorder: Connection, second: Connection, superuser: Connection
) -> None:
    await claimed(recorder, 0)
    await claimed(recorder, 1)
    transaction = recorder.transaction()
    await transaction.start()
    await append(recorder, batch(load(), shard=0))

    appending = asyncio.create_task(outcome(append(second, batch(draft()))))
    await waits(superuser, 1)
    await transaction.commit()

    assert isinstance(await appending, RegisterMovedError)
    assert await superuser.fetchval("SELECT count(*) FROM consent.ledger WHERE shard = 1") == 0


async def test_appends_of_different_shards_do_not_wait_for_each_other(
    recorder: Connection, second: Connection, superuser: Connection
) -> None:
    await claimed(recorder, 1)
    await claimed(recorder, 2)
    async with recorder.transaction():
        await append(recorder, batch(draft(), shard=1))

        await append(second, batch(draft(), shard=2))

        assert await superuser.fetchval("SELECT count(*) FROM consent.ledger") == 1
