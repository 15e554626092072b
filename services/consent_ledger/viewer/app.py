"""Ledger in, view out: the one process at a time that writes dossiers, views and the outbox."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from prometheus_client import Counter, Gauge

from consent_ledger.domain import register as registers
from consent_ledger.domain.register import Register
from consent_ledger.domain.suppression import PURPOSES, purposes_hash, purposes_key
from consent_ledger.runtime.clock import Clock
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.topics import partition_of
from consent_ledger.store import keys, view
from consent_ledger.store.view import Changes, Entry, Head, Load, News, Row
from consent_ledger.viewer.calls import Calls
from consent_ledger.viewer.erasure import Eraser
from consent_ledger.viewer.fold import Folder, newest_needs
from consent_ledger.viewer.horizon import Horizon
from consent_ledger.viewer.place import Placer

log = logging.getLogger(__name__)

FOLDED = Counter("consent_folded_total", "Entries folded into the view")
CHANGED = Counter("consent_view_rows_total", "Rows of the view written")
SWEEP_LEFT = Gauge("consent_sweep_dossiers_left", "Dossiers to be looked at again since a register load")
OWNS_VIEW = Gauge("consent_view_owned", "1 while this process owns the view")

_DUE_MAX = 500
# How long to wait for entries before looking at the clock.
_PATIENCE = timedelta(milliseconds=50)


class Viewer:
    """Owns the view while its lease lasts and its epoch stands; otherwise it stands by."""

    def __init__(self, settings: Settings, keks: KeyEncryptionKeys, clock: Clock) -> None:
        self._settings = settings
        self._keks = keks
        self._clock = clock
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._pause = timedelta(milliseconds=settings.poll_ms)
        self._owner = f"{settings.instance}/{uuid4().hex[:12]}"
        self._horizon = Horizon(settings, clock)
        self._eraser = Eraser(settings, keks, clock)
        self._calls = Calls(keks, settings.partitions)
        self._register: Register = registers.compile({}, 0)
        self._needs: dict[tuple[str, str], int] = {}

    async def run(self) -> None:
        """Fold until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._horizon.run())
            tasks.create_task(self._stand_by())
            tasks.create_task(self._eraser.run())

    async def _stand_by(self) -> None:
        while True:
            connection: Connection | None = None
            try:
                connection = await connect(self._settings.dsn, "consent_viewer")
                epoch = await view.claim(connection, self._owner, self._lease)
                if epoch is not None:
                    log.info("view claimed", extra={"owner": self._owner, "epoch": epoch})
                    OWNS_VIEW.set(1)
                    await self._own(connection, epoch)
            except asyncio.CancelledError:
                if connection is not None and not connection.is_closed():
                    await view.release(connection, self._owner)
                raise
            except view.FencedError:
                log.warning("view lost", extra={"owner": self._owner})
            except Exception:
                log.exception("fold failed")
            finally:
                OWNS_VIEW.set(0)
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(self._settings.lease_seconds / 20)

    async def _own(self, connection: Connection, epoch: int) -> None:
        """Fold as the owner. Ends only by an exception; what was open then was never committed."""
        service = await keys.service_keys(connection, self._keks)
        placer = Placer(self._keks, service["digest"])
        self._register = registers.compile({}, 0)
        self._needs = await view.needs(connection)
        await self._calls.load(connection)
        renewed = asyncio.get_running_loop().time()
        while True:
            now = asyncio.get_running_loop().time()
            if now - renewed > self._settings.lease_seconds / 4:
                await view.renew(connection, epoch, self._lease)
                renewed = now
            patience = timedelta() if self._calls.has_news else _PATIENCE
            async with connection.transaction():
                news, head = await view.look(connection, epoch, self._clock, pause=self._pause, patience=patience)
                if self._calls.has_news or any(news):
                    await self._fold(connection, head or await view.open_head(connection, epoch), placer, news)

    async def _fold(self, connection: Connection, head: Head, placer: Placer, news: News) -> None:
        entries = await self._read(connection, head)
        load = await self._use_register(connection, head, entries, news)
        now = self._move_time(head)
        placed = await placer.place(connection, entries, head.applied)
        await self._calls.take(connection, head, entries)
        # A snapshot of a do-not-call register that came just now has made dossiers due.
        may_be_due = news.due or self._calls.has_news
        due = await view.due(connection, now, _DUE_MAX) if may_be_due else []
        revisit = due + await self._sweep(connection, head)
        folder = Folder(self._register, newest_needs(self._needs), self._settings.partitions, self._calls)
        changes = await folder.fold(connection, head, placed.arrivals, revisit, now)
        changes.waiting = placed.waiting
        if load is not None:
            self._announce_purposes(head, changes, load)
        all_decided = len(due) < _DUE_MAX and not head.sweep_controllers
        await self._calls.announce(connection, head, changes, self._register, done=all_decided)
        await view.put(connection, head, changes, self._lease)
        FOLDED.inc(len(entries))
        CHANGED.inc(len(changes.rows))

    def _move_time(self, head: Head) -> datetime:
        """Return the instant to decide for. It never falls: what time has ended stays ended under another clock.

        Unless the clock was set back: then all is decided anew, for answers that time gave too early are wrong.
        """
        now = self._clock.now(head.now)
        if view.was_set_back(now, head.instant):
            log.warning("the clock was set back", extra={"seconds": (head.instant - now).total_seconds()})
            head.sweep_controllers, head.sweep_from = sorted(self._register.controllers), 0
            head.instant = now
        head.instant = max(now, head.instant)
        return head.instant

    async def _read(self, connection: Connection, head: Head) -> list[Entry]:
        """Read the next entries of every shard and move `applied` past them."""
        head.applied += [0] * (max(head.heads, default=0) + 1 - len(head.applied))
        ranges = []
        for shard, next_pos in head.heads.items():
            end = min(next_pos, head.applied[shard] + self._settings.fold_max)
            if end > head.applied[shard]:
                ranges.append((shard, head.applied[shard], end))
                head.applied[shard] = end
        return await view.entries(connection, ranges)

    async def _use_register(
        self, connection: Connection, head: Head, entries: Sequence[Entry], news: News
    ) -> Load | None:
        """Take a register that has come into force into use, and return its load.

        From here on, older decisions on what it changed count as no.
        """
        newest = max((entry.register_version for entry in entries), default=0)
        if not news.register and max(newest, head.register_version) <= self._register.version:
            return None
        # Asked after the entries were read, so that no entry is folded whose load is overlooked.
        load = await view.newest_load(connection)
        version = load.version if load else 0
        if version == self._register.version:
            return None
        register = await view.compiled(connection, version)
        is_new = version > head.register_version
        if is_new:
            old = await self._compiled(connection, head.register_version)
            changed = registers.changed_purposes(old, register)
            await view.put_needs(connection, changed, version)
            self._needs |= dict.fromkeys(changed, version)
            concerned = {controller for controller, _ in changed}
            head.sweep_controllers = sorted(concerned.union(head.sweep_controllers))
            head.sweep_from = 0
            head.register_version = version
            await self._calls.renew(connection)
            log.info("register in force", extra={"version": version, "changed_purposes": len(changed)})
        self._register = register
        return load if is_new else None

    async def _compiled(self, connection: Connection, version: int) -> Register | None:
        if version == 0:
            return None
        if version == self._register.version:
            return self._register
        return await view.compiled(connection, version)

    async def _sweep(self, connection: Connection, head: Head) -> list[int]:
        """Return the next dossiers that a register load concerns, and move the sweep past them."""
        if not head.sweep_controllers:
            return []
        ids = await view.sweep(connection, head, self._settings.sweep_chunk)
        if len(ids) < self._settings.sweep_chunk:
            log.info("sweep done", extra={"version": head.register_version})
            head.sweep_controllers, head.sweep_from = [], 0
        else:
            head.sweep_from = ids[-1] + 1
        SWEEP_LEFT.set(max(0, head.next_dossier - head.sweep_from) if head.sweep_controllers else 0)
        return ids

    def _announce_purposes(self, head: Head, changes: Changes, load: Load) -> None:
        """Put the record of what holds for an address with nothing on record into the view, for changed controllers."""
        for controller, version in sorted(newest_needs(self._needs).items()):
            if version == head.register_version:
                key = purposes_key(controller)
                head.seq += 1
                changes.rows.append(
                    Row(
                        hash=purposes_hash(controller), controller=controller, type=PURPOSES,
                        q=partition_of(key, self._settings.partitions), seq=head.seq, register_version=version,
                        shard=load.shard, pos=load.pos, recorded_at=load.recorded_at, decisions=b"{}",
                    )
                )  # fmt: skip
