"""Shows the log outside the database, beside the sealing: has checkpoints cosigned, and brings the log to its place.

The place is laid out as others' programs read a log (C2SP tlog-tiles). Tiles and bundles of entries come first, and
then the checkpoint that speaks of them. What is away is tried again, from the checkpoint that stands there.
"""

import asyncio
import logging
from collections.abc import Iterator
from itertools import islice
from typing import Final

import asyncpg
import httpx
from aiokafka.errors import KafkaError
from prometheus_client import Counter, Gauge

from consent_ledger.domain import tiles
from consent_ledger.domain.merkle import HASH_BYTES, TILE_HEIGHT, TILE_WIDTH, width_at
from consent_ledger.domain.tiles import Resource
from consent_ledger.runtime.objects import Objects, ObjectsError
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.sealer.outside import CHECKPOINT, Topic, folder_of
from consent_ledger.sealer.witnesses import Witnesses
from consent_ledger.store import log as tables
from consent_ledger.store import proofs
from consent_ledger.store.log import Checkpoint, LogDamagedError

log = logging.getLogger(__name__)

OUTSIDE = Gauge("consent_log_outside_size", "Entries in the newest checkpoint that is shown outside the database")
FAILED = Counter("consent_log_outside_failures_total", "Times that a checkpoint could not be shown outside")

_REST_SECONDS: Final = 1.0
_AT_ONCE: Final = 32


class Mirror:
    """Brings the log of a number outside. `shown`: size of the checkpoint that stands in the place already."""

    def __init__(self, settings: Settings, topic: Topic, witnesses: Witnesses, *, number: int, shown: int) -> None:
        self._settings = settings
        self._topic = topic
        self._witnesses = witnesses
        self._place = settings.log_directory
        self._folder = folder_of(number)
        self._shown = shown
        self._newest: Checkpoint | None = None
        self._news = asyncio.Event()

    def show(self, checkpoint: Checkpoint) -> None:
        """Have a checkpoint shown, instead of older ones that were not yet."""
        self._newest = checkpoint
        self._news.set()

    async def run(self) -> None:
        """Show what comes until cancelled. Raises `LogDamagedError` where the log cannot be read as it was sealed."""
        async with httpx.AsyncClient() as client:
            while True:
                await self._news.wait()
                self._news.clear()
                try:
                    connection = await connect(self._settings.dsn, "consent_sealer")
                    try:
                        await self._all_there_is(client, connection)
                    finally:
                        connection.terminate()
                except LogDamagedError:
                    raise
                except (ObjectsError, KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                    FAILED.inc()
                    log.warning("the log is not shown outside", extra={"error": str(error) or type(error).__name__})
                    await self._again()

    async def _all_there_is(self, client: httpx.AsyncClient, connection: Connection) -> None:
        while True:
            checkpoint = self._newest
            if checkpoint is not None and not await self._bring(client, connection, checkpoint):
                FAILED.inc()
                await self._again()
            await self._news.wait()
            self._news.clear()

    async def _again(self) -> None:
        await asyncio.sleep(_REST_SECONDS)
        self._news.set()

    async def _bring(self, client: httpx.AsyncClient, connection: Connection, checkpoint: Checkpoint) -> bool:
        """Show one checkpoint; False where fewer witnesses have signed it than must."""
        note = checkpoint.note
        if self._witnesses:
            cosigned = await self._witnesses.cosigned(client, connection, note)
            if cosigned is None:
                return False
            note = cosigned
        if note != checkpoint.note:
            await tables.add_cosigned(connection, checkpoint.size, note)
            await self._topic.publish(note)
        if self._place is not None:
            await self._to_place(connection, await asyncio.to_thread(Objects, self._place), checkpoint.size, note)
        OUTSIDE.set(checkpoint.size)
        return True

    async def _to_place(self, connection: Connection, place: Objects, size: int, note: bytes) -> None:
        more = additions(self._shown, size)
        while some := list(islice(more, _AT_ONCE)):
            files = [
                (f"{self._folder}tile/{tiles.path_of(one)}", await _content(connection, one, size)) for one in some
            ]
            await asyncio.to_thread(_put, place, files)
        await asyncio.to_thread(place.put, f"{self._folder}{CHECKPOINT}", note)
        # Who reads by the older checkpoint finds the full ones. A process killed just here leaves some lying.
        outgrown = [f"{self._folder}tile/{tiles.path_of(one)}.p" for one in filled(self._shown, size)]
        await asyncio.to_thread(_clear, place, outgrown)
        self._shown = size


def additions(old: int, size: int) -> Iterator[Resource]:
    """Name the tiles and bundles that a tree of a size has and the tree of another had not, or not as wide."""
    level = 0
    while size >> (level * TILE_HEIGHT):
        first, last = ((one >> (level * TILE_HEIGHT)) // TILE_WIDTH for one in (old, size))
        for number in range(first, last + 1):
            if width := width_at(level, number, size):
                yield Resource(level, number, width)
                if level == 0:
                    yield Resource(None, number, width)
        level += 1


def filled(old: int, size: int) -> Iterator[Resource]:
    """Name the tiles and bundles that were partial in the tree of a size and are full in that of another."""
    level = 0
    while old >> (level * TILE_HEIGHT):
        number = (old >> (level * TILE_HEIGHT)) // TILE_WIDTH
        if width_at(level, number, old) and width_at(level, number, size) == TILE_WIDTH:
            yield Resource(level, number, TILE_WIDTH)
            if level == 0:
                yield Resource(None, number, TILE_WIDTH)
        level += 1


async def _content(connection: Connection, resource: Resource, size: int) -> bytes:
    if resource.level is None:
        found = await proofs.bundle(connection, resource, size)
    else:
        found = await tables.tile(connection, (resource.level, resource.number), size)
    if found is None or (resource.level is not None and len(found) != resource.width * HASH_BYTES):
        raise LogDamagedError(f"there is no {tiles.path_of(resource)} in a log of {size}")
    return found


def _put(place: Objects, files: list[tuple[str, bytes]]) -> None:
    for name, content in files:
        place.put(name, content)


def _clear(place: Objects, folders: list[str]) -> None:
    for folder in folders:
        for name in place.names(folder):
            place.delete(name)
