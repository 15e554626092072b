"""A ledger for the sealer: entries appended as a recorder does, and a sealer run until all of them are in the log."""

import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from consent_ledger.runtime.logkey import LogKey
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.sealer.app import Sealer
from consent_ledger.store import log, origins
from consent_ledger.store.ledger import Draft
from running import Installation, installation, serving, until
from store.drafts import append, batch, claimed, draft

ORIGIN = "log.example/consent"


class Log:
    """An installation whose ledger is written here, and whose sealer runs when it is asked to."""

    def __init__(self, made: Installation, recorder: Connection) -> None:
        self.made = made
        self.settings = made.settings
        self.recorder = recorder
        self.folder = ""
        self._offsets: dict[int, int] = {}
        self._epochs: dict[int, int] = {}

    async def append(self, number: int, *, shard: int = 1, **fields: Any) -> list[uuid.UUID]:
        """Append entries to a shard, as one batch, and return the ids of their events."""
        if shard not in self._epochs:
            self._epochs[shard] = (await claimed(self.recorder, shard)).epoch
        first = self._offsets.get(shard, 0)
        drafts = [_draft(first + one, **fields) for one in range(number)]
        await append(self.recorder, batch(*drafts, first=first, shard=shard, epoch=self._epochs[shard]))
        self._offsets[shard] = first + number
        return [one.event_id for one in drafts]

    @property
    def entries(self) -> int:
        return sum(self._offsets.values())

    def sealer(self, **settings: Any) -> Sealer:
        """A sealer that has not been started."""
        return Sealer(self.settings.model_copy(update=settings), self.made.keks)

    async def seal(self, **settings: Any) -> log.Checkpoint:
        """Run a sealer until all entries are in the log, and return its last checkpoint."""
        async with serving(self.sealer(**settings).run()) as service:
            await until(self._all_sealed, service=service)
        return await self.last()

    async def _all_sealed(self) -> bool:
        last = await log.last(self.made.superuser)
        shown = any(note.startswith(last.note) for note in self.published()) if last is not None else False
        return last is not None and last.size == self.entries and shown

    def published(self) -> list[bytes]:
        """The checkpoint of the present log that stands in the directory."""
        path = self.directory / self.folder / "checkpoint"
        return [path.read_bytes()] if path.exists() else []

    @property
    def directory(self) -> Path:
        assert self.settings.log_directory is not None
        return Path(self.settings.log_directory)

    async def last(self) -> log.Checkpoint:
        found = await log.last(self.made.superuser)
        assert found is not None
        return found

    async def key(self) -> LogKey:
        return await origins.signing(self.made.superuser, self.made.keks, ORIGIN)

    async def set_back(self) -> None:
        """Restore the log to the state before its last checkpoint, as a backup would."""
        await self.made.fetch("SET session_replication_role = replica")
        await self.made.fetch("DELETE FROM checkpoint WHERE tree_size = (SELECT max(tree_size) FROM checkpoint)")
        await self.made.fetch("SET session_replication_role = origin")

    async def leaves(self) -> list[bytes]:
        """The leaf hashes of the whole tree, in its order."""
        size = (await self.last()).size
        return [entry.leaf_hash for entry in await log.entries_of(self.made.superuser, 0, size)]


def _draft(offset: int, **fields: Any) -> Draft:
    one = hashlib.sha256(b"tag%d" % offset).digest()
    plain = {"body": b'[1,{"controllers":["shop-be"],"number":%d}]' % offset, "commitment": one, "tags": one}
    return draft(offset, **{**plain, **fields})


@asynccontextmanager
async def logging(kafka: str, postgres: str, template: str, path: Path, **settings: Any) -> AsyncIterator[Log]:
    """Make an installation with an empty ledger."""
    plain = {"log_origin": ORIGIN, "log_directory": str(path / "log"), "seal_seconds": 0.01, "lease_seconds": 1}
    async with installation(kafka, postgres, template, path, **{**plain, **settings}) as made:
        recorder = await connect(made.settings.dsn, "consent_recorder")
        try:
            yield Log(made, recorder)
        finally:
            recorder.terminate()
