"""A database restored from a base backup and its WAL to an instant: nothing is lost that Kafka still has.

Everything is real: the scripts in deploy/backup, pg_basebackup, the archive, recovery to an instant, all services.

Seen to fail: the WAL not archived; restored as far as the archive goes instead of to the instant; the view's versions
not raised above those of the topic.
"""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

import builders
from conftest import url_of
from consent_ledger.cli.after_restore import Step, steps
from consent_ledger.cli.log import begin_anew
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.relay.reconcile import reconcile
from consent_ledger.relay.restored import compare, raise_versions
from consent_ledger.runtime import topics
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.local import Postgres
from consent_ledger.runtime.local.postgres import find_binaries
from consent_ledger.runtime.settings import Settings
from consent_ledger.sealer.app import LogBehindError, Sealer
from consent_ledger.store import keys
from consent_ledger.store.migrate import migrate
from running import Installation, SettableClock, serving, until

BACKUP = Path(__file__).parents[2] / "deploy" / "backup"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory to which the server's own user gets."""
    made = Path(tempfile.mkdtemp(prefix="consent-restore-"))
    made.chmod(0o777)
    (made / "backup").mkdir()
    (made / "backup").chmod(0o777)
    yield made
    shutil.rmtree(made)


def archiving(place: Path) -> dict[str, str]:
    script = shutil.copy(BACKUP / "archive-wal.sh", place)
    return {
        "archive_mode": "on",
        "archive_command": f'CONSENT_BACKUP={place}/backup {script} "%p" "%f"',
        "max_wal_size": "1GB",
    }


async def script(place: Path, name: str, *arguments: str) -> str:
    environment = {**os.environ, "CONSENT_BACKUP": f"{place}/backup",
                   "PATH": f"{find_binaries()}:{os.environ['PATH']}"}  # fmt: skip
    done = await asyncio.to_thread(
        subprocess.run, [str(BACKUP / name), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@asynccontextmanager
async def services(made: Installation) -> AsyncIterator[None]:
    """Run all services on an installation."""
    async with AsyncExitStack() as stack:
        for service in (
            made.recorder(), made.viewer(), made.relay(),
            Sealer(made.settings, made.keks),
        ):  # fmt: skip
            await stack.enter_async_context(serving(service.run()))
        yield


@asynccontextmanager
async def on(server: Postgres, settings: Settings) -> AsyncIterator[Installation]:
    url = url_of(server.url, "consent")
    superuser = await asyncpg.connect(url, server_settings={"search_path": "consent"})
    producer = AIOKafkaProducer(**settings.kafka(), acks="all")
    await producer.start()
    try:
        yield Installation(
            settings=settings.model_copy(update={"database_url": SecretStr(url)}),
            keks=KeyFile(settings.key_file),
            clock=SettableClock(),
            superuser=superuser,
            producer=producer,
        )
    finally:
        await producer.stop()
        superuser.terminate()


async def quiet(made: Installation) -> None:
    """Wait until everything is recorded, published and in the log outside."""
    await made.recorded_to_the_end()

    async def is_published() -> bool:
        rows = await made.fetch(
            "SELECT (SELECT count(*) FROM outbox) AS unsent, (SELECT sum(next_pos) FROM shard_head)"
            " - (SELECT coalesce(max(tree_size), 0) FROM checkpoint) AS unsealed,"
            " (SELECT bool_and(h.next_pos <= coalesce(v.applied[h.shard + 1], 0))"
            "    FROM shard_head h, view_head v) AS folded"
        )
        return bool(rows[0]["unsent"] == 0 and rows[0]["unsealed"] == 0 and rows[0]["folded"])

    await until(is_published, timeout=40)


def state(found: list[Step]) -> dict[str, str]:
    return {step.name: step.state for step in found}


def consent(name: str) -> dict[str, Any]:
    return builders.given(builders.email(f"{name}@example.be"))


async def allowed(made: Installation) -> dict[str, bool]:
    """Whom the view allows the newsletter of the first shop."""
    _, key = (await keys.controller_keys(made.superuser, made.keks))["shop-be"]
    found = {}
    for name in ("an", "bert", "cecile", "dora"):
        hash_ = address_hash(key, "email", f"{name}@example.be")
        rows = await made.fetch("SELECT convert_from(decisions, 'utf8') AS said FROM view WHERE hash = $1", hash_)
        found[name] = any(json.loads(row["said"]).get("newsletter", {}).get("email", {}).get("allow") for row in rows)
    return found


class History(NamedTuple):
    """What was recorded: the ids of all events, how many of them by the instant, and what was allowed in the end."""

    ids: list[str]
    early: int
    instant: str
    allowed: dict[str, bool]


@pytest.fixture
async def settings(kafka: str, tmp_path: Path) -> Settings:
    made = Settings.model_validate({
        "kafka_bootstrap_servers": kafka, "topic_prefix": f"test_{uuid.uuid4().hex[:12]}.", "partitions": 2,
        "key_file": tmp_path / "keys.json", "instance": "test", "lease_seconds": 1, "seal_seconds": 0.05,
        "log_directory": str(tmp_path / "log"),
    })  # fmt: skip
    KeyFile.create(made.key_file)
    await topics.apply(made.kafka(), prefix=made.topic_prefix, partitions=2)
    return made


async def recorded(server: Postgres, settings: Settings, place: Path) -> History:
    """Record events before a base backup, between it and an instant, and after the instant."""
    owner = await asyncpg.connect(server.url)
    await owner.execute("CREATE DATABASE consent")
    await owner.close()
    await migrate(url_of(server.url, "consent"))
    early = [consent("an"), consent("bert"), consent("cecile")]
    late = [builders.withdrawn(builders.email("bert@example.be")), consent("dora")]
    async with on(server, settings) as made:
        async with services(made):
            await made.load_register()
            await quiet(made)
            await published(made, *early[:2])
            await script(place, "backup.sh", server.url)
            await published(made, *early[2:])
            instant = (await made.fetch("SELECT clock_timestamp()::text AS now"))[0]["now"]
            await published(made, *late)
        ids = [one["id"] for one in (*early, *late)]
        history = History(ids, len(early), instant, await allowed(made))
        last = (await made.fetch("SELECT pg_walfile_name(pg_switch_wal()) AS name"))[0]["name"]
        await until(lambda: asyncio.to_thread((place / "backup/wal" / last).exists), timeout=30)
    return history


async def published(made: Installation, *events: dict[str, Any]) -> None:
    for one in events:
        await made.publish(one)
    await quiet(made)


@pytest.fixture
async def history(settings: Settings, place: Path) -> History:
    """A server with backups, which is gone for good."""
    server = Postgres(shared_buffers="64MB", settings=archiving(place))
    await asyncio.to_thread(server.start)
    try:
        return await recorded(server, settings, place)
    finally:
        await asyncio.to_thread(server.close)


@pytest.fixture
async def made(history: History, settings: Settings, place: Path) -> AsyncIterator[Installation]:
    """The installation on a server that was restored to the instant."""
    await script(place, "restore.sh", str(place / "new" / "data"), history.instant)
    server = Postgres(place / "new", shared_buffers="64MB", settings={"max_wal_size": "1GB"})
    await asyncio.to_thread(server.start)
    try:
        async with on(server, settings) as made:

            async def is_promoted() -> bool:
                return not (await made.fetch("SELECT pg_is_in_recovery() AS recovering"))[0]["recovering"]

            await until(is_promoted, timeout=40)
            yield made
    finally:
        await asyncio.to_thread(server.close)


async def test_a_restore_to_an_instant_loses_nothing_that_kafka_has(history: History, made: Installation) -> None:
    back = {str(row["event_id"]) for row in await made.fetch("SELECT event_id FROM event")}
    assert set(history.ids[: history.early]) <= back
    assert back.isdisjoint(history.ids[history.early :])

    first = state(await steps(made.settings))
    with pytest.raises(LogBehindError):
        async with asyncio.timeout(20):
            await Sealer(made.settings, made.keks).run()
    begun = await begin_anew(made.settings, "restored to an instant")
    highest, raised = await raise_versions(made.settings)
    then = state(await steps(made.settings))
    async with services(made):
        await quiet(made)
        await until(lambda: is_level(made), timeout=40)
        await compare(made.settings, made.keks)
        await quiet(made)
        report = await reconcile(made.settings, made.keks)
        last = await steps(made.settings)
    entries = await made.fetch("SELECT event_id FROM ledger WHERE event_id = ANY($1::uuid[])", history.ids)

    assert {name: first[name] for name in ("keys", "log", "versions", "kafka", "topics", "erasures")} == {
        "keys": "done", "log": "do", "versions": "do", "kafka": "do", "topics": "wait", "erasures": "wait"
    }  # fmt: skip
    assert isinstance(begun, dict)
    assert raised == highest > 0
    assert (then["log"], then["versions"], then["kafka"]) == ("done", "done", "do")
    assert sorted(str(row["event_id"]) for row in entries) == sorted(history.ids)
    assert await allowed(made) == history.allowed
    assert history.allowed == {"an": True, "bert": False, "cecile": True, "dora": True}
    assert report.agrees, report
    assert {step.state for step in last} == {"done"}, last


async def is_level(made: Installation) -> bool:
    rows = await made.fetch("SELECT clock_timestamp() - instant < interval '10 seconds' AS level FROM horizon")
    return bool(rows[0]["level"])
