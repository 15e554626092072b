"""Ledger in, log out: the one process at a time that adds leaves to the tree and signs checkpoints.

A checkpoint is committed before it is published, and its size is a key of its table: there is one root per size for
ever. Before the first one the sealer looks at what is published, and refuses to go on where the database is behind.
"""

import asyncio
import logging
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from prometheus_client import Counter, Gauge

from consent_ledger.domain import checkpoint
from consent_ledger.domain.merkle import Edge
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.logkey import LogKey
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.sealer.mirror import Mirror
from consent_ledger.sealer.outside import Topic, contradiction, in_place, published
from consent_ledger.sealer.witnesses import Witnesses
from consent_ledger.store import log as tables
from consent_ledger.store import origins
from consent_ledger.store.log import Checkpoint, Slice

log = logging.getLogger(__name__)

SEALED = Counter("consent_sealed_total", "Entries added to the log")
SIZE = Gauge("consent_log_size", "Entries in the log by the newest checkpoint")
OWNS_LOG = Gauge("consent_log_owned", "1 while this process owns the log")

_ASK_SECONDS = 0.05
_STATEMENT_TIMEOUT = "30s"


class LogBehindError(Exception):
    """What is published says more than the database, or something else.

    Nothing may be signed until a person has looked: a second root for a size would make the whole log worthless.
    """


class Sealer:
    """Owns the log while its lease lasts and its epoch stands; otherwise it stands by."""

    def __init__(self, settings: Settings, keks: KeyEncryptionKeys) -> None:
        self._settings = settings
        self._keks = keks
        self._witnesses = Witnesses(settings.witnesses, settings.witness_quorum)
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._owner = f"{settings.instance}/{uuid4().hex[:12]}"

    async def run(self) -> None:
        """Seal until cancelled. Raises `LogBehindError` and `LogDamagedError`, which only a person can resolve."""
        while True:
            connection: Connection | None = None
            try:
                connection = await connect(self._settings.dsn, "consent_sealer", statement_timeout=_STATEMENT_TIMEOUT)
                epoch = await tables.claim(connection, self._owner, self._lease)
                if epoch is not None:
                    log.info("log claimed", extra={"owner": self._owner, "epoch": epoch})
                    OWNS_LOG.set(1)
                    await self._own(connection, epoch)
            except asyncio.CancelledError:
                if connection is not None and not connection.is_closed():
                    await tables.release(connection, self._owner)
                raise
            except (LogBehindError, tables.LogDamagedError) as error:
                log.critical("the log is not continued", extra={"reason": str(error)})
                raise
            except tables.FencedError:
                log.warning("log lost", extra={"owner": self._owner})
            except Exception:
                log.exception("sealing failed")
            finally:
                OWNS_LOG.set(0)
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(self._settings.lease_seconds / 20)

    async def _own(self, connection: Connection, epoch: int) -> None:
        """Seal as the owner. Ends only by an exception; what was not published then is published by the next owner."""
        settings = self._settings
        key = await origins.signing(connection, self._keks, settings.log_origin)
        async with Topic(settings, key.origin) as topic:
            last = await tables.last(connection)
            shown = await published(settings, key.origin, key.number)
            for note in shown:
                if (why := await contradiction(connection, key, note, last)) is not None:
                    raise LogBehindError(why)
            edge = await _resume(connection, key, last)
            mirror = Mirror(settings, topic, self._witnesses, number=key.number, shown=await self._in_place(key.number))
            if last is not None:
                await topic.publish(last.note)
                mirror.show(last)
            writing = _Writing(connection, epoch, self._lease, key, edge, last.heads if last else [])
            await _first_to_end(mirror.run(), self._seal(writing, topic, mirror))

    async def _in_place(self, number: int) -> int:
        """Return the size of the checkpoint that stands in the place, which was found to be ours."""
        place = self._settings.log_directory
        notes = [] if place is None else await asyncio.to_thread(in_place, place, number)
        return checkpoint.read(notes[0]).size if notes else 0

    async def _seal(self, writing: "_Writing", topic: Topic, mirror: Mirror) -> None:
        loop = asyncio.get_running_loop()
        sealed_at = renewed_at = loop.time()
        while True:
            ranges = await writing.news(self._settings.seal_max)
            number = sum(one.end - one.first for one in ranges)
            waited = loop.time() - sealed_at
            if number >= self._settings.seal_max or (number and waited >= self._settings.seal_seconds):
                sealed_at = renewed_at = loop.time()
                sealed = await writing.seal(ranges)
                await topic.publish(sealed.note)
                mirror.show(sealed)
                SEALED.inc(number)
                continue
            if loop.time() - renewed_at > self._settings.lease_seconds / 4:
                renewed_at = loop.time()
                await writing.renew()
            await asyncio.sleep(min(_ASK_SECONDS, self._settings.seal_seconds))


async def _first_to_end(*works: Coroutine[Any, Any, None]) -> None:
    """Do all together until one ends, and end the others; raises what it raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Writing:
    """The tree as its owner has it in memory."""

    def __init__(
        self, connection: Connection, epoch: int, lease: timedelta, key: LogKey, edge: Edge, heads: list[int]
    ) -> None:
        self._connection = connection
        self._epoch = epoch
        self._lease = lease
        self._key = key
        self._edge = edge
        self._heads = heads

    async def renew(self) -> None:
        await tables.renew(self._connection, self._epoch, self._lease)

    async def news(self, limit: int) -> list[Slice]:
        """Return what is new in the ledger, and of every shard its share where that is more than the limit."""
        ranges = tables.between(self._edge.size, self._heads, await tables.heads(self._connection))
        share = max(1, limit // len(ranges)) if ranges else limit
        if sum(one.end - one.first for one in ranges) <= limit:
            return ranges
        return [one._replace(end=min(one.end, one.first + share)) for one in ranges]

    async def seal(self, ranges: list[Slice]) -> Checkpoint:
        """Commit the next checkpoint and return it."""
        heads = self._heads + [0] * (max(one.shard for one in ranges) + 1 - len(self._heads))
        for one in ranges:
            heads[one.shard] = one.end
        async with self._connection.transaction():
            await self.renew()
            leaves = await tables.leaf_hashes(self._connection, ranges)
            tiles = self._edge.append(leaves)
            root = self._edge.root()
            note = self._key.sign(self._edge.size, root)
            await tables.add(self._connection, tiles, leaves, self._edge.size, heads, root, note)
        self._heads = heads
        SIZE.set(self._edge.size)
        return Checkpoint(self._edge.size, heads, root, note, datetime.now(UTC))


async def _resume(connection: Connection, key: LogKey, last: Checkpoint | None) -> Edge:
    """Take the tree up where it was left. Raises `LogBehindError` or `LogDamagedError`."""
    if last is None:
        return Edge()
    if not key.has_signed(last.note):
        raise LogBehindError(f"the newest checkpoint is not one of {key.origin}, or was signed by another key")
    edge = await tables.edge(connection, last.size)
    if edge.root() != last.root:
        raise tables.LogDamagedError("leaves or tiles are not what the newest checkpoint was made of")
    return edge
