"""The stage of a test: a database, a register with one key, topics, and settings under which nothing is due by time."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from builders import REGISTER
from consent_ledger.relay import lane
from consent_ledger.runtime import topics
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import keys, relay
from relay.stage import CONTROLLER, VERSION, Stage

ADD_REGISTER = """
    INSERT INTO register (version, shard, pos, event_id, digest, valid_from, recorded_at, document)
    VALUES ($1, 0, 0, gen_random_uuid(), '\\x00', now(), now(), $2)
"""


@pytest.fixture
async def stage(database: str, kafka: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Stage]:
    settings = Settings(
        database_url=database, kafka_bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=2, lease_seconds=300
    )
    await topics.apply(settings.kafka(), prefix=topic_prefix, partitions=2)
    keks = KeyFile.create(tmp_path / "keys.json")
    viewer, recorder = await connect(database, "consent_viewer"), await connect(database, "consent_recorder")
    publisher = await relay.connect(database)
    superuser: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(database)
    await recorder.execute(ADD_REGISTER, VERSION, REGISTER)
    await viewer.execute("UPDATE view_head SET register_version = $1", VERSION)
    await keys.add_controller_keys(recorder, keks, [CONTROLLER])
    await keys.service_keys(recorder, keks)
    await relay.add_partitions(publisher, 2)
    key = (await keys.controller_keys(recorder, keks))[CONTROLLER]
    yield Stage(
        settings=settings, keks=keks, hash_key=key.key, kid=key.kid, viewer=viewer, relay=publisher, superuser=superuser
    )
    for connection in (viewer, publisher, recorder, superuser):
        connection.terminate()


@pytest.fixture
def never_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is committed because time has passed; the test commits by hand."""
    monkeypatch.setattr(lane, "_SETTLE_SECONDS", 3600.0)
