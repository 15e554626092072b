"""A shard has one owner: while its lease lasts nobody else, and afterwards not even a stopped owner stands in the way.

Seen to fail: the lease not looked at; the epoch not raised; the back end of a silent owner left alone; the back end
of an owner within its lease ended; any back end ended, and one of another database; a lease renewed for whoever asks;
nothing released; everybody's shards released; the lease not lengthened by an append; a shard set back by its being
made again.
"""

import asyncio

import asyncpg
import pytest

from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.store import ledger
from consent_ledger.store.ledger import FencedError
from running import database_of_its_own
from store.drafts import LEASE, append, batch, claimed, draft


async def let_leases_pass(superuser: Connection) -> None:
    await superuser.execute("UPDATE consent.shard_head SET lease_until = clock_timestamp() - interval '1 ms'")


async def test_a_shard_cannot_be_taken_while_its_lease_lasts(recorder: Connection, second: Connection) -> None:
    first = await claimed(recorder)

    assert await ledger.claim(second, 1, "second", LEASE) is None
    assert await ledger.renew(recorder, [1], "first", LEASE) == {1: first.epoch}


async def test_every_taking_raises_the_epoch(recorder: Connection) -> None:
    first = await claimed(recorder)
    again = await claimed(recorder)

    assert again.epoch == first.epoch + 1
    with pytest.raises(FencedError):
        await append(recorder, batch(draft(), epoch=first.epoch))


async def test_a_shard_whose_lease_has_passed_goes_to_the_first_who_asks(
    recorder: Connection, second: Connection, superuser: Connection
) -> None:
    first = await claimed(recorder)
    await let_leases_pass(superuser)

    successor = await claimed(second, owner="second")

    assert successor.epoch == first.epoch + 1
    assert await ledger.renew(second, [1], "first", LEASE) == {}
    assert await ledger.renew(second, [1], "second", LEASE) == {1: successor.epoch}


async def test_an_append_lengthens_the_lease(recorder: Connection, second: Connection, superuser: Connection) -> None:
    await claimed(recorder)
    await let_leases_pass(superuser)

    await append(recorder, batch(draft()))

    assert await ledger.claim(second, 1, "second", LEASE) is None


async def test_what_is_released_is_free_at_once(recorder: Connection, second: Connection) -> None:
    await claimed(recorder, 1)
    await claimed(recorder, 2)
    await claimed(second, 3, owner="third")

    await ledger.release(recorder, "first")

    assert await ledger.claim(second, 1, "second", LEASE) is not None
    assert await ledger.claim(second, 2, "second", LEASE) is not None
    assert await ledger.claim(second, 3, "second", LEASE) is None


async def test_an_owner_stopped_within_its_transaction_does_not_hold_up_its_successor(
    recorder: Connection, second: Connection, superuser: Connection
) -> None:
    await claimed(recorder)
    await let_leases_pass(superuser)
    await recorder.execute("BEGIN; SELECT FROM shard_head FOR UPDATE; INSERT INTO hole VALUES (1, 0, 1)")

    # Sooner than Postgres itself ends a transaction that stands idle.
    async with asyncio.timeout(3):
        successor = await claimed(second, owner="second")

    await append(second, batch(draft(), epoch=successor.epoch))
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
        await recorder.execute("COMMIT")
    assert await superuser.fetchval("SELECT count(*) FROM consent.hole") == 0


async def test_an_owner_within_its_lease_is_left_alone(recorder: Connection, second: Connection) -> None:
    await claimed(recorder)

    await ledger.claim(second, 1, "second", LEASE)

    await append(recorder, batch(draft()))


async def test_nobody_but_a_recorder_is_ended(recorder: Connection, second: Connection, superuser: Connection) -> None:
    await claimed(recorder)
    await superuser.execute("UPDATE consent.shard_head SET owner_pid = pg_backend_pid(), lease_until = '-infinity'")

    await claimed(second, owner="second")

    assert await superuser.fetchval("SELECT true") is True


async def test_a_recorder_of_another_database_is_left_alone_although_it_has_the_old_owners_number(
    second: Connection, superuser: Connection, postgres: str, template: str
) -> None:
    await claimed(second)
    async with database_of_its_own(postgres, template) as elsewhere:
        stranger = await connect(elsewhere, "consent_recorder")
        await superuser.execute(
            "UPDATE consent.shard_head SET owner_pid = $1, lease_until = '-infinity'", stranger.get_server_pid()
        )

        await claimed(second, owner="second")

        assert await stranger.fetchval("SELECT true") is True
        await stranger.close()


async def test_a_shard_that_is_there_stays_as_it_is(recorder: Connection) -> None:
    await claimed(recorder, start=5)
    await append(recorder, batch(draft(5), first=5))

    await ledger.add_shard(recorder, 1, "events", 0, 99)

    row = await recorder.fetchrow("SELECT start_offset, next_offset FROM shard_head")
    assert row is not None
    assert tuple(row) == (5, 6)
