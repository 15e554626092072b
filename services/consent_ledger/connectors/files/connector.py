"""A connector that hands out lists of who may not be written to: full ones by schedule, and between them what changes.

Files are numbered without a gap, and never left out or parked: a place that cannot be reached is tried for ever, and
whoever reads the files would notice. The suppressions are acknowledged as far as the newest file goes that is there.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

import msgspec
from aiokafka import ConsumerRecord

from consent_ledger.client.copy import Place
from consent_ledger.connectors.files.judge import NotNowError
from consent_ledger.connectors.files.lists import Address, Lists, Manifest
from consent_ledger.connectors.files.maker import Kind, Maker
from consent_ledger.connectors.outcome import AwayError
from consent_ledger.connectors.runner import Batch
from consent_ledger.connectors.state import Item, State
from consent_ledger.domain.durations import moment
from consent_ledger.runtime.objects import Objects, ObjectsError

log = logging.getLogger(__name__)

ADDRESS: Final = "address"
FULL_ASKED: Final = "files_full_asked"
_FILE: Final = "file/"
_KEY: Final = re.compile("(.+)/([^/]+)/([0-9a-f]{64})")


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """How long between two full lists, and between two files, in seconds; how many full lists are kept."""

    full: float
    increment: float
    keep: int


class Source(Protocol):
    """Where the addresses come from."""

    def batches(self, place: bytes | None) -> AsyncGenerator[Batch, None]:
        """Give what stands behind a place, as items of `read_key`."""


class FilesConnector:
    """`clock` gives seconds since 1970. `would`: run dry, where what would be handed out is described."""

    def __init__(
        self,
        source: Source,
        state: State,
        lists: Lists,
        maker: Maker,
        objects: Objects,
        schedule: Schedule,
        *,
        max_staleness: float,
        would: list[str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._state = state
        self._lists = lists
        self._maker = maker
        self._objects = objects
        self._schedule = schedule
        self._max_staleness = max_staleness
        self._would = would
        self._clock = clock

    # -- what is to be done

    async def batches(self, place: bytes | None) -> AsyncIterator[Batch]:
        """Give addresses that are new, and files when it is time for them."""
        yield Batch([_item(one) for one in self._lists.undelivered()])
        async with aclosing(self._source.batches(place)) as source:
            async for batch in source:
                yield Batch(batch.items, batch.place)
                made = await self._make(batch.places)
                if made is not None:
                    manifest, places = made
                    yield Batch([_item(manifest)])
                    # Only now is it there.
                    yield Batch((), None, places)
                yield Batch(last=batch.last and self._due(self._now()) is None)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _due(self, now: datetime) -> Kind | None:
        """Say which file it is time for."""
        full, last = self._lists.last("full"), self._lists.last()
        if full is None or last is None or self._state.facts().get(FULL_ASKED) == "yes":
            return "full"
        if now >= full.made_at + timedelta(seconds=self._schedule.full):
            return "full"
        return "increment" if now >= last.made_at + timedelta(seconds=self._schedule.increment) else None

    async def _make(self, places: Sequence[Place]) -> tuple[Manifest, list[Place]] | None:
        """Make a file if it is time, and if everything is known that it must say."""
        now = self._now()
        kind = self._due(now)
        # On a compacted topic, what was read up to an old watermark is not all that was said before it.
        oldest = min((place.instant for place in places), default=0)
        if kind is None or moment(oldest) < now - timedelta(seconds=self._max_staleness):
            return None
        try:
            made = await self._maker.make(kind, places, now)
        except (NotNowError, OSError) as error:
            why = str(error) if isinstance(error, NotNowError) else type(error).__name__
            log.warning("no list can be made", extra={"why": why})
            return None
        if kind == "full":
            self._state.note(**{FULL_ASKED: "no"})
        return made

    # -- doing it

    async def apply(self, items: Sequence[Item]) -> None:
        """Learn addresses, and hand out files. Raises `AwayError`."""
        self._lists.learn(_address(item) for item in items if item.key == ADDRESS)
        if not any(item.key.startswith(_FILE) for item in items):
            return
        for manifest in self._lists.undelivered():
            if self._would is not None:
                self._would.append(f"hand out {manifest.file} ({manifest.rows} rows)")
            else:
                await self._hand_out(manifest)
            self._lists.delivered(manifest.sequence)

    async def _hand_out(self, manifest: Manifest) -> None:
        spooled = self._maker.spool / manifest.file
        try:
            await asyncio.to_thread(_put, self._objects, spooled, manifest)
            for old in self._lists.outdated(self._schedule.keep):
                for name in names_of(old):
                    await asyncio.to_thread(self._objects.delete, name)
                self._lists.forget(old.sequence)
        except ObjectsError as error:
            raise AwayError(str(error)) from error
        spooled.unlink(missing_ok=True)


def names_of(manifest: Manifest) -> tuple[str, str, str]:
    """Return the names of a file, of its checksum, and of its manifest, in the order in which they appear."""
    return manifest.file, f"{manifest.file}.sha256", f"{manifest.file.removesuffix('.csv')}.json"


def _put(objects: Objects, spooled: Path, manifest: Manifest) -> None:
    file, checksum, said = names_of(manifest)
    with spooled.open("rb") as content, objects.writing(file) as target:
        while piece := content.read(1 << 20):
            target.write(piece)
    objects.put(checksum, f"{manifest.sha256}  {file}\n".encode())
    objects.put(said, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")


def _item(manifest: Manifest) -> Item:
    return Item(key=f"{_FILE}{manifest.sequence}", refusal=True)


def read_key(record: ConsumerRecord, controllers: frozenset[str], types: frozenset[str]) -> Item | None:
    """Make an item of the key of a record of the suppressions topic; None: it is of no list."""
    if record.key is None or record.key.startswith(b"!"):
        return None
    found = _KEY.fullmatch(record.key.decode("utf-8", "replace"))
    if found is None:
        log.error("no key of this topic", extra={"partition": record.partition, "offset": record.offset})
        return None
    return Item(key=ADDRESS, value=record.key) if found[1] in controllers and found[2] in types else None


def _address(item: Item) -> Address:
    controller, type_, hash_ = item.value.decode().rsplit("/", 2)
    return Address(bytes.fromhex(hash_), controller, type_, None)
