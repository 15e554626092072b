"""A migration can be run again, and beside the databases of other installations on the same server.

Seen to fail: the version not written down; roles made without a look whether they are there.
"""

import asyncpg
import pytest

from consent_ledger.runtime.postgres import connect
from consent_ledger.store.migrate import migrate
from running import database_of_its_own


async def test_migrating_again_changes_nothing(database: str) -> None:
    recorder = await connect(database, "consent_recorder")
    await recorder.execute(
        "INSERT INTO shard_head (shard, topic, partition, start_offset, next_offset) VALUES (1, 'events', 0, 7, 7)"
    )

    await migrate(database)

    assert await recorder.fetchval("SELECT next_offset FROM shard_head") == 7
    await recorder.close()


@pytest.mark.usefixtures("database")
async def test_a_second_database_of_the_server_is_migrated_by_itself(postgres: str) -> None:
    async with database_of_its_own(postgres, "template1") as url:
        await migrate(url)

        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT count(*) FROM consent.shard_head") == 0
        await connection.close()
