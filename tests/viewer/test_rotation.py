"""A new key-encryption key takes over while services run, and old backups lose the keys of whoever was erased.

Seen to fail: the old key left in the file; retired keys still taken for new ones; what was read a moment ago not opened
any more.
"""

import asyncio
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from builders import email, erased, given
from consent_ledger.cli.rotate import Rotated, rotated
from consent_ledger.runtime.keys import KeyFile, KeyUnavailableError
from consent_ledger.runtime.local.postgres import find_binaries
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import history, keys, rotation
from running import Installation, database_of_its_own
from viewer.asking import hashed, reason

Address = Callable[[], str]
KEY_TABLES = ("service_key", "controller_key", "person_key", "unsubscribe_key")


async def rotate(home: Installation, batch: int = 100) -> Rotated:
    connection = await connect(home.settings.dsn, "consent_keeper")
    try:
        return await rotated(connection, KeyFile(home.settings.key_file), batch=batch)
    finally:
        connection.terminate()


async def tell(home: Installation, *said: dict[str, object]) -> None:
    await home.recorded(*[await home.publish(one) for one in said])


async def wrapped_under(home: Installation) -> set[str]:
    return {row["kek"] for table in KEY_TABLES for row in await home.fetch(f"SELECT kek FROM {table}")}  # noqa: S608


async def shown(dsn: str, keks: KeyFile, said: dict[str, object]) -> object:
    """What can be read of the personal part of an event in some database with some key file."""
    connection = await connect(dsn, "consent_officer")
    try:
        found = await history.place(connection, uuid.UUID(str(said["id"])))
        assert found is not None
        (line,) = await history.lines(connection, keks, "shop-be", [(found.shard, found.position)])
    finally:
        connection.terminate()
    return line.personal


def dumped(dsn: str, path: Path) -> Path:
    """A backup, as `pg_dump` makes it."""
    subprocess.run([find_binaries() / "pg_dump", "-Fc", "-f", path, dsn], check=True)
    return path


def load(dsn: str, backup: Path) -> None:
    subprocess.run([find_binaries() / "pg_restore", "-d", dsn, backup], check=True)


@asynccontextmanager
async def restored(backup: Path, postgres: str) -> AsyncIterator[str]:
    """A database into which a backup was restored."""
    async with database_of_its_own(postgres, "template1") as url:
        await asyncio.to_thread(load, url, backup)
        yield url


async def test_an_old_backup_opens_nothing_of_whoever_was_erased_once_the_keys_are_rotated(
    home: Installation, address: Address, postgres: str, tmp_path: Path
) -> None:
    an, bert = (given(email(address())) for _ in range(2))
    await tell(home, an, bert)
    backup = await asyncio.to_thread(dumped, home.settings.dsn, tmp_path / "backup")
    old_file = shutil.copy(home.settings.key_file, tmp_path / "old.json")
    erasure = erased(*an["data"]["subject"], time=datetime.now(UTC))
    await tell(home, erasure)
    await home.carried_out(erasure)

    async with restored(backup, postgres) as url:
        before = await shown(url, KeyFile(home.settings.key_file), an)
        await rotate(home)

        assert before
        assert await shown(url, KeyFile(Path(old_file)), an) == before
        with pytest.raises(KeyUnavailableError):
            await shown(url, KeyFile(home.settings.key_file), an)
    assert await shown(home.settings.dsn, home.keks, an) is None
    assert await shown(home.settings.dsn, home.keks, bert)


async def test_services_go_on_through_a_rotation(home: Installation, address: Address) -> None:
    people = [address() for _ in range(12)]
    before = [given(email(one)) for one in people[:6]]
    await tell(home, *before)

    during = [given(email(one)) for one in people[6:]]
    done, *_ = await asyncio.gather(rotate(home, batch=2), tell(home, *during))

    assert done.rewrapped >= len(before)
    assert await wrapped_under(home) == {done.current}
    assert all([await shown(home.settings.dsn, home.keks, one) for one in (*before, *during)])
    assert [await reason(home, one) for one in people] == ["CONSENT"] * 12
    assert KeyFile(home.settings.key_file).names == [done.current]
    (epoch,) = [one for one in done.epochs if one.retired_at is None]
    assert epoch.kek == done.current


class CutOffError(Exception):
    """The machine went down."""


async def test_a_rotation_that_was_cut_off_is_finished_and_not_begun_again(
    home: Installation, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [given(email(address())) for _ in range(3)]
    await tell(home, *said)
    whole = rotation.rewrap

    async def cut_off(*args: object) -> AsyncIterator[int]:
        async for done in whole(*args):  # type: ignore[arg-type]
            yield done
            raise CutOffError

    with monkeypatch.context() as patch:
        patch.setattr(rotation, "rewrap", cut_off)
        with pytest.raises(CutOffError):
            await rotate(home, batch=1)
    old, new = KeyFile(home.settings.key_file).names
    assert await wrapped_under(home) == {old, new}

    done = await rotate(home, batch=1)

    assert (done.current, done.retired) == (new, [old])
    assert await wrapped_under(home) == {new}
    assert all([await shown(home.settings.dsn, home.keks, one) for one in said])


async def test_nothing_is_wrapped_under_a_key_that_is_retired(home: Installation, address: Address) -> None:
    old = KeyFile(home.settings.key_file)
    name, key = await old.current(), await old.key(await old.current())
    await rotate(home)

    class Stopped:
        """A service that has slept through the rotation."""

        async def current(self) -> str:
            return name

        async def key(self, _: str) -> bytes:
            return key

    connection = await connect(home.settings.dsn, "consent_recorder")
    try:
        with pytest.raises(asyncpg.PostgresError, match="is retired"):
            await keys.person_keys(connection, Stopped(), {await hashed(home, address()): "shop-be"})
    finally:
        connection.terminate()


async def test_two_rotations_at_once_are_one(home: Installation) -> None:
    first, second = [await connect(home.settings.dsn, "consent_keeper") for _ in range(2)]
    try:
        assert [await rotation.lock(one) for one in (first, second)] == [True, False]
    finally:
        first.terminate()
        second.terminate()


async def test_a_key_that_has_just_left_the_file_still_opens_what_was_read_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = KeyFile.create(tmp_path / "keys.json")
    name = await service.current()
    rotating = KeyFile(tmp_path / "keys.json")
    new = rotating.add()
    rotating.remove(name)

    assert await service.current() == new
    assert await service.key(name)
    with pytest.raises(KeyUnavailableError):
        await KeyFile(tmp_path / "keys.json").key(name)
    later = asyncio.get_running_loop().time() + timedelta(hours=1).total_seconds()
    monkeypatch.setattr("time.monotonic", lambda: later)
    with pytest.raises(KeyUnavailableError):
        await service.key(name)


def test_the_newest_key_stays_in_the_file(tmp_path: Path) -> None:
    file = KeyFile.create(tmp_path / "keys.json")

    with pytest.raises(ValueError, match="in use"):
        file.remove(file.names[0])


async def test_a_key_file_that_cannot_be_read_again_changes_nothing(tmp_path: Path) -> None:
    file = KeyFile.create(tmp_path / "keys.json")
    name = await file.current()
    (tmp_path / "keys.json").write_text("{")

    assert await file.current() == name
