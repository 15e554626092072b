"""Every test has a migrated database and topics of its own, on the servers of the run.

Seen to fail: `database` being the template itself; `topic_prefix` the same for all.
"""

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic


@pytest.mark.parametrize("run", [1, 2])
async def test_a_test_finds_its_database_migrated_and_untouched(database: str, run: int) -> None:
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(database)

    migrated = await connection.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = 'consent'")
    await connection.execute("CREATE TABLE mark (run int)")
    await connection.execute("INSERT INTO mark VALUES ($1)", run)
    marks = await connection.fetch("SELECT run FROM mark")
    await connection.close()

    assert migrated == 1
    assert [mark["run"] for mark in marks] == [run]


@pytest.mark.parametrize("run", [1, 2])
async def test_a_test_finds_its_topics_unused(kafka: str, topic_prefix: str, run: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()

    names = set(await admin.list_topics())
    answer = await admin.create_topics([NewTopic(f"{topic_prefix}events", run, 1)])
    await admin.close()

    assert not {name for name in names if name.startswith(topic_prefix)}
    assert [topic[1] for topic in answer.topic_errors] == [0]
