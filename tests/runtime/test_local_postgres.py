"""A real PostgreSQL starts by itself, keeps what was committed, and says why when it cannot start.

Seen to fail: a setting not passed on; `kill` that leaves the backends; a half-made data directory not removed; the
dead server's mark left; errors logged with details, or with their statement; the port not remembered; the version not
compared.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from consent_ledger.runtime.local import LocalServerError, Postgres
from consent_ledger.runtime.local import postgres as module


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


async def connect(server: Postgres) -> "asyncpg.Connection[asyncpg.Record]":
    return await asyncpg.connect(server.url)


async def test_the_settings_that_keep_commits_durable_and_checkpoints_rare_are_in_force(server: Postgres) -> None:
    connection = await connect(server)
    wanted = {
        "synchronous_commit": "on",
        "fsync": "on",
        "max_wal_size": "16GB",
        "checkpoint_timeout": "30min",
        "shared_buffers": "512MB",
        "max_connections": "200",
        "listen_addresses": "127.0.0.1",
    }

    found = {name: await connection.fetchval(f"SHOW {name}") for name in wanted}
    compression = await connection.fetchval("SHOW wal_compression")
    await connection.close()

    assert found == wanted
    assert compression != "off"


async def test_what_was_committed_survives_a_kill_and_is_there_on_the_same_port(server: Postgres) -> None:
    connection = await connect(server)
    await connection.execute("CREATE TABLE kept (value int)")
    await connection.execute("INSERT INTO kept VALUES (1)")
    url = server.url

    server.kill()
    server.start()
    after_kill = await connect(server)
    await after_kill.execute("INSERT INTO kept VALUES (2)")
    server.stop(immediate=True)
    server.start()
    after_immediate = await connect(server)

    assert [row[0] for row in await after_immediate.fetch("SELECT value FROM kept")] == [1, 2]
    assert server.url == url
    for used in (connection, after_kill, after_immediate):
        used.terminate()


async def test_a_kill_leaves_no_backend_at_work(server: Postgres) -> None:
    connection = await connect(server)
    backend = await connection.fetchval("SELECT pg_backend_pid()")
    pid = server.pid

    server.kill()
    gone = not psutil.pid_exists(backend) and not psutil.pid_exists(pid or 0)
    connection.terminate()
    server.start()

    assert gone
    assert server.pid not in {pid, None}


async def test_the_log_of_an_error_holds_no_values(server: Postgres) -> None:
    connection = await connect(server)
    await connection.execute("CREATE TABLE address (value text PRIMARY KEY)")
    await connection.execute("INSERT INTO address VALUES ('an@example.be')")

    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute("INSERT INTO address VALUES ('an@example.be')")
    await connection.close()

    log = server.log.read_text()
    assert "address_pkey" in log
    assert "an@example.be" not in log


def test_the_next_start_on_the_same_home_has_the_same_port(tmp_path: Path) -> None:
    with Postgres(tmp_path / "pg") as first:
        port = first.port

    with Postgres(tmp_path / "pg") as second:
        assert second.port == port


def test_a_data_directory_that_was_only_half_made_is_made_again(tmp_path: Path) -> None:
    half = tmp_path / "pg" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")

    with Postgres(tmp_path / "pg") as server:
        assert server.pid is not None
    assert not half.exists()


def test_the_mark_of_a_dead_server_whose_number_is_in_use_again_is_no_obstacle(tmp_path: Path) -> None:
    with Postgres(tmp_path / "pg"):
        pass
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (tmp_path / "pg" / "data" / "postmaster.pid").write_text(f"{other.pid}\n")

    with Postgres(tmp_path / "pg") as server:
        pid = server.pid
    other.communicate(b"\n")

    assert pid is not None


def test_data_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pg" / "data").mkdir(parents=True)
    (tmp_path / "pg" / "data" / "PG_VERSION").write_text("9.6\n")
    server = Postgres(tmp_path / "pg")

    with pytest.raises(LocalServerError, match=r"holds data of PostgreSQL 9\.6.* give another directory"):
        server.start()

    assert server.pid is None
    server.close()


def test_a_start_that_fails_gives_the_servers_own_reason(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "pg", settings={"max_wal_size": "much"})

    with pytest.raises(LocalServerError, match=r"(?s)ended while it started.*invalid value.*max_wal_size.*start again"):
        server.start()

    assert server.pid is None
    server.close()


def test_a_port_that_is_taken_is_said_before_anything_starts(tmp_path: Path) -> None:
    with Postgres() as first:
        second = Postgres(tmp_path / "pg", port=first.port)

        with pytest.raises(LocalServerError, match=f"something else listens on 127.0.0.1:{first.port}"):
            second.start()

        second.close()
    assert not (tmp_path / "pg" / "data").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become another user")
async def test_root_becomes_another_user_where_namespaces_are_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "unprivileged", lambda: "setuid:65534:65534")

    with Postgres() as server:
        connection = await connect(server)
        answer = await connection.fetchval("SELECT 1")
        await connection.close()
        user = psutil.Process(server.pid).uids().effective

    assert (answer, user) == (1, 65534)


def test_the_newest_installed_server_serves_where_the_package_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "package_directory", lambda *_: None)
    monkeypatch.setattr(module, "_installed", lambda: iter(sorted(tmp_path.iterdir())))
    _install(tmp_path / "a", "14.2")

    with pytest.raises(LocalServerError, match="PostgreSQL 15 or newer is missing"):
        module.find_binaries()
    _install(tmp_path / "b", "16.1")
    _install(tmp_path / "c", "15.9")

    assert module.find_binaries() == tmp_path / "b"


def _install(directory: Path, version: str) -> None:
    directory.mkdir()
    program = directory / "postgres"
    program.write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
    program.chmod(0o755)
