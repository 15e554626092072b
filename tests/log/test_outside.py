"""The log stands outside the database as well, in a folder or a bucket, as programs by others read it.

Seen to fail: the checkpoint written before the tiles; tiles from the newest checkpoint on only, so that what came while
the place was away is missing; the last partial tile left out; partial tiles kept for ever; a place that is away taken
for an empty one.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bucket import bucket
from consent_ledger.domain import checkpoint, tiles
from consent_ledger.domain.merkle import TILE_HEIGHT, width_at
from consent_ledger.domain.tiles import Resource
from consent_ledger.runtime.objects import Objects, ObjectsError
from consent_ledger.sealer.app import Sealer
from consent_ledger.sealer.mirror import additions, filled
from consent_ledger.verifier.note import VerifierKey
from consent_ledger.verifier.remote import check_url
from log.foreign import fsck
from log.sealing import Log, logging
from running import serving, until


@contextmanager
def served(place: str) -> Iterator[str]:
    """Serve the files of a place as they lie there, and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = Objects(place).get(self.path.lstrip("/"))
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
async def log(kafka: str, postgres: str, template: str, tmp_path: Path) -> AsyncIterator[Log]:
    async with logging(kafka, postgres, template, tmp_path) as made:
        yield made


@pytest.fixture
def cache(request: pytest.FixtureRequest) -> Path:
    return request.config.cache.mkdir("foreign")


async def grow(log: Log) -> None:
    """Seal 900 entries by three checkpoints, the last but one of which fills a tile."""
    for number in (300, 212, 388):
        await log.append(number)
        await log.seal()


async def test_tessera_and_we_find_a_folder_whole_that_is_only_served(log: Log, cache: Path, tmp_path: Path) -> None:
    await grow(log)
    key = await log.key()

    with served(str(log.directory)) as url:
        said = await fsck(cache, url, key.public, tmp_path)
        checked = await asyncio.to_thread(check_url, url, VerifierKey.parse(key.public))
        (log.directory / "tile/entries/001").write_bytes(b"\0\0" * 256)
        edited = await fsck(cache, url, key.public, tmp_path)

    assert "Successfully fsck'd log with size 900" in said, said
    assert (checked.entries, checked.finding) == (900, None)
    assert "fsck failed" in edited, edited


async def test_tessera_finds_a_bucket_whole(
    kafka: str, postgres: str, template: str, cache: Path, tmp_path: Path
) -> None:
    with bucket("log") as place:
        async with logging(kafka, postgres, template, tmp_path, log_directory=place) as log:
            await log.append(300)
            async with serving(log.sealer().run()) as service:
                await until(lambda: shows(place, 300), service=service)
            with served(place) as url:
                said = await fsck(cache, url, (await log.key()).public, tmp_path)

    assert "Successfully fsck'd log with size 300" in said, said


async def shows(place: str, size: int) -> bool:
    note = await asyncio.to_thread(Objects(place).get, "checkpoint")
    return note is not None and checkpoint.read(note).size == size


async def test_what_came_while_the_place_was_away_is_brought_after(log: Log) -> None:
    await log.append(100)
    away = log.directory.with_name("away")

    async with serving(log.sealer().run()) as service:
        await until(log._all_sealed, service=service)
        log.directory.rename(away)
        log.directory.write_bytes(b"no directory")
        for _ in range(3):
            await log.append(200)
            await until(lambda: sealed(log), service=service)
        log.directory.unlink()
        away.rename(log.directory)
        await until(log._all_sealed, service=service)

    with served(str(log.directory)) as url:
        checked = await asyncio.to_thread(check_url, url, VerifierKey.parse((await log.key()).public))
    assert (checked.entries, checked.finding) == (700, None)


async def sealed(log: Log) -> bool:
    return (await log.last()).size == log.entries


async def test_no_sealer_begins_while_the_place_cannot_be_read(log: Log) -> None:
    await log.append(1)
    log.directory.parent.joinpath("log").write_bytes(b"no directory")

    with pytest.raises((ObjectsError, OSError)):
        await own_once(log.sealer())

    assert await log.made.fetch("SELECT FROM checkpoint") == []


async def own_once(sealer: Sealer) -> None:
    from consent_ledger.runtime.postgres import connect  # noqa: PLC0415 - of this test alone.

    connection = await connect(sealer._settings.dsn, "consent_sealer")
    try:
        await sealer._own(connection, 1)
    finally:
        connection.terminate()


async def test_a_place_never_shows_a_checkpoint_without_all_that_it_speaks_of(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, broken = Objects.put, []

    def watched(self: Objects, name: str, content: bytes) -> None:
        put(self, name, content)
        broken.extend(missing(log.directory))

    monkeypatch.setattr(Objects, "put", watched)
    await grow(log)

    assert broken == []
    assert missing(log.directory) == []


def missing(directory: Path) -> list[str]:
    """What a checkpoint in a directory speaks of, and is not there."""
    note = directory / "checkpoint"
    if not note.exists():
        return []
    names = [tiles.path_of(one) for one in needed(checkpoint.read(note.read_bytes()).size)]
    return [name for name in names if not (directory / "tile" / name).exists()]


def needed(size: int) -> set[Resource]:
    """Every tile and bundle of a tree."""
    found, level = set(), 0
    while size >> (level * TILE_HEIGHT):
        for number in range((size >> (level * TILE_HEIGHT)) // 256 + 1):
            if width := width_at(level, number, size):
                found |= {Resource(level, number, width)} | ({Resource(None, number, width)} if level == 0 else set())
        level += 1
    return found


async def test_partial_tiles_go_when_full_ones_are_there(log: Log) -> None:
    kept = {"0/003.p/132", "entries/003.p/132", "1/000.p/1", "1/000.p/2", "1/000.p/3"}

    async def are_kept() -> bool:
        tile = log.directory / "tile"
        return {path.relative_to(tile).as_posix() for path in log.directory.rglob("*.p/*")} == kept

    async with serving(log.sealer().run()) as service:
        for number in (300, 212, 388):
            await log.append(number)
            await until(log._all_sealed, service=service)
        await until(are_kept, service=service)


def test_step_by_step_everything_comes_and_only_what_is_outgrown_goes() -> None:
    random = Random(7)
    for _ in range(30):
        sizes = [0, *sorted(random.sample(range(1, 140_000), 4))]
        there: set[Resource] = set()
        for old, size in pairwise(sizes):
            there |= set(additions(old, size))
            gone = {(one.level, one.number) for one in filled(old, size)}
            there = {one for one in there if one.width == 256 or (one.level, one.number) not in gone}
            assert needed(size) <= there, (old, size)
        outgrown = {(one.level, one.number) for one in there if one.width == 256}
        assert not [one for one in there if one.width < 256 and (one.level, one.number) in outgrown]
