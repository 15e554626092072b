"""Who looks for something to fold holds the view as soon as there is something, and not before.

Seen to fail: the view not locked; locked although there is nothing; the epoch not compared.
"""

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from consent_ledger.runtime.clock import SystemClock
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.store import view
from consent_ledger.store.view import FencedError, Head, News

AT_ONCE = timedelta()
ENTRIES = """
    INSERT INTO consent.shard_head (shard, topic, partition, start_offset, next_offset, next_pos)
    VALUES (1, 'events', 0, 0, 3, 3)
"""


@pytest.fixture
async def viewer(database: str) -> AsyncIterator[Connection]:
    connection = await connect(database, "consent_viewer")
    yield connection
    connection.terminate()


async def looked(connection: Connection, epoch: int) -> tuple[News, Head | None]:
    return await view.look(connection, epoch, SystemClock(), pause=AT_ONCE, patience=AT_ONCE)


async def lock(connection: Connection) -> None:
    await connection.execute("SELECT FROM consent.view_head FOR UPDATE NOWAIT")


async def test_a_look_that_finds_entries_locks_the_view(viewer: Connection, superuser: Connection) -> None:
    await superuser.execute(ENTRIES)

    async with viewer.transaction():
        news, head = await looked(viewer, 0)
        with pytest.raises(asyncpg.LockNotAvailableError):
            await lock(superuser)

    assert news.entries
    assert head is not None
    assert (head.heads, head.applied, head.next_dossier) == ({1: 3}, [], 1)


async def test_a_look_that_finds_nothing_holds_nothing(viewer: Connection, superuser: Connection) -> None:
    async with viewer.transaction():
        news, head = await looked(viewer, 0)
        await lock(superuser)

    assert not any(news)
    assert head is None


async def test_who_lost_the_view_cannot_look(viewer: Connection, superuser: Connection) -> None:
    await superuser.execute(ENTRIES)

    with pytest.raises(FencedError):
        await looked(viewer, 7)
