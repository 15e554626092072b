"""A PostgreSQL that may be killed, and an installation on it."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from chaos.arena import Installation
from consent_ledger.runtime import topics
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.local import Postgres
from consent_ledger.store.migrate import migrate

PARTITIONS = 3


@pytest.fixture(scope="session")
async def mortal_postgres() -> AsyncIterator[Postgres]:
    """A PostgreSQL of the crash tests' own, with a migrated database `template`."""
    with Postgres(shared_buffers="128MB") as server:
        await _execute(server.url, "CREATE DATABASE template")
        await migrate(_url(server, "template"))
        yield server


@pytest.fixture
async def installation(
    mortal_postgres: Postgres, kafka: str, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[Installation]:
    """Topics and a database, and no process yet; those that a test starts end with it."""
    name = f"chaos_{uuid4().hex[:12]}"
    await _execute(mortal_postgres.url, f"CREATE DATABASE {name} TEMPLATE template")
    await topics.apply({"bootstrap_servers": kafka}, prefix=topic_prefix, partitions=PARTITIONS)
    KeyFile.create(tmp_path / "keys.json")
    installation = Installation(
        postgres=mortal_postgres,
        database=_url(mortal_postgres, name),
        kafka=kafka,
        prefix=topic_prefix,
        partitions=PARTITIONS,
        directory=tmp_path,
    )
    yield installation
    await installation.close()


def _url(server: Postgres, database: str) -> str:
    return urlsplit(server.url)._replace(path=f"/{database}").geturl()


async def _execute(url: str, statement: str) -> None:
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
