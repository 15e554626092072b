"""Makes the whole view anew beside the live one, compares the two, and puts right what is wrong.

All facts are brought together by the addresses that entries name together, and each dossier is decided on once; that is
done by several processes. What the ledger has got meanwhile is then folded as the viewer does it. The viewer is held
up twice for a moment: to compare both views as of the same entries, and to write what differs.
Erasures and retention wait until all is done.
"""

import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from consent_ledger.domain import register as registers
from consent_ledger.domain import suppression
from consent_ledger.domain.facts import Fact
from consent_ledger.domain.leaf import micros
from consent_ledger.domain.register import Register
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import keys, rebuild, retention, view
from consent_ledger.store.rebuild import Differing, Live
from consent_ledger.viewer import differences
from consent_ledger.viewer.calls import Calls
from consent_ledger.viewer.differences import Difference
from consent_ledger.viewer.fold import Folder
from consent_ledger.viewer.place import Placer
from consent_ledger.viewer.rebuild_work import Done, Fold, Plan, Scan, Task
from consent_ledger.viewer.replace import replace

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

_RANGE: Final = 20_000
_DUE_MAX: Final = 500
_FOLD_MAX: Final = 1_000
_NEAR: Final = 500
_ATTEMPTS: Final = 3
_PATIENCE_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.05
_GRACE_SECONDS: Final = 5.0


class BusyError(Exception):
    """Another rebuild is under way, or what decisions rest on does not come to rest; the text says which."""


class WorkerError(Exception):
    """A process of the rebuild has ended before its work was done."""


class _MovedError(Exception):
    """What all decisions rest on has changed, so the whole has to be made again."""


class Report(msgspec.Struct, kw_only=True):
    """A view made anew, and how it differs from the live one.

    It holds the entries before `applied` (by shard), decided for `instant` under `register_version`. `digest`: SHA-256
    over its answers. `differences` counts addresses and waiting entries, and `found` tells of the first of them.
    `written`: rows of the live view that were replaced. `cpu_seconds`: of this process and those it started.
    """

    entries: int
    addresses: int
    dossiers: int
    applied: list[int]
    instant: datetime
    register_version: int
    digest: str
    differences: int
    found: list[Difference]
    swapped: bool = False
    written: int = 0
    cpu_seconds: float = 0.0


class Rebuild:
    """One rebuild. `processes` of them work beside this one; `shown` differences are explained."""

    def __init__(
        self, settings: Settings, keks: KeyEncryptionKeys, *, processes: int = 2, shown: int = 100,
        progress: Progress = lambda _what, _done, _all: None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._keks = keks
        self._processes = processes
        self._shown = shown
        self._progress = progress
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._calls = Calls(keks, settings.partitions)
        self._register: Register = registers.compile({}, 0)
        self._epoch = 0
        self._rests_on: tuple[object, ...] = ()
        self._instant = datetime.min.replace(tzinfo=UTC)
        self._cpu: dict[int, float] = {}

    async def run(self, *, swap: bool) -> Report:
        """Make the view anew and compare; with `swap`, put the new one in the live one's place where they differ.

        Raises `BusyError`, and `WorkerError` when a process dies; then nothing has been changed.
        """
        async with self._connections() as (anew, live, whole):
            if not await rebuild.lock(anew):
                raise BusyError("another rebuild is under way")
            await rebuild.hold_up_destructions(anew)
            self._placer = Placer(self._keks, (await keys.service_keys(live, self._keks))["digest"])
            for _ in range(_ATTEMPTS):
                try:
                    await self._make(anew, whole)
                    report = await self._compare(anew, live, whole)
                    if swap and report.differences:
                        report.written = await self._swap(anew, live)
                        report.swapped = True
                    break
                except _MovedError:
                    continue
            else:
                raise BusyError(
                    "a register or a do-not-call list came into force each time: try again when all is at rest"
                )
            await rebuild.empty(anew)
        report.cpu_seconds = time.process_time() + sum(self._cpu.values())
        return report

    @asynccontextmanager
    async def _connections(self) -> AsyncIterator[tuple[Connection, Connection, Connection]]:
        """Open the way to the new view, to the live one, and to both as whole tables."""
        opened: list[Connection] = []
        try:
            dsn = self._settings.dsn
            opened.append(await rebuild.beside(dsn))
            opened.append(await rebuild.live_side(dsn))
            opened.append(await rebuild.beside(dsn, whole_tables=True))
            yield opened[0], opened[1], opened[2]
        finally:
            for connection in opened:
                connection.terminate()

    # -- making it

    async def _make(self, anew: Connection, whole: Connection) -> None:
        live = await self._at_rest(anew)
        self._epoch = await rebuild.begin(anew)
        self._rests_on, self._instant = live.rests_on, live.instant
        version = live.register_version
        self._register = await view.compiled(anew, version)
        await self._calls.load(anew)
        entries = sum(live.applied)
        async with self._workers(live) as workers:
            ranges: list[Task] = [
                Scan(shard, first, min(end, first + _RANGE))
                for shard, end in enumerate(live.applied)
                for first in range(0, end, _RANGE)
            ]
            await self._do(workers, "reading entries", ranges, entries)
            await rebuild.join_homes(whole)
            edges = [(256 * number // self._processes).to_bytes(2, "big")[1:] for number in range(self._processes)]
            parts: list[Task] = [
                Fold(first.hex() if number else "", edges[number + 1].hex() if number + 1 < len(edges) else None)
                for number, first in enumerate(edges)
            ]
            await self._do(workers, "deciding", parts, entries)
        await rebuild.fold_ended(whole, self._epoch, live.applied, live.instant, version)

    async def _at_rest(self, connection: Connection) -> Live:
        """Wait until the live view has nothing to catch up with but entries."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not (live := await rebuild.live(connection)).idle:
            if time.monotonic() > deadline:
                raise BusyError("the live view does not catch up with its register or with time: does a viewer run?")
            await asyncio.sleep(_POLL_SECONDS)
        return live

    @asynccontextmanager
    async def _workers(self, live: Live) -> AsyncIterator[list[Process]]:
        workers: list[Process] = []
        try:
            for number in range(self._processes):
                plan = Plan(
                    dsn=self._settings.dsn, key_file=str(self._settings.key_file.absolute()),
                    partitions=self._settings.partitions, epoch=self._epoch, applied=live.applied, instant=live.instant,
                    register_version=live.register_version, number=number, of=self._processes,
                )  # fmt: skip
                command = (sys.executable, "-m", "consent_ledger.viewer.rebuild_work")
                process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
                workers.append(process)
                await _send(process, plan)
            yield workers
        finally:
            for process in workers:
                await _end(process)

    async def _do(self, workers: Sequence[Process], what: str, tasks: Sequence[Task], size: int) -> None:
        """Have tasks done, each by whoever is free."""
        waiting, done = deque(tasks), 0
        self._progress(what, 0, size)

        async def feed(number: int, process: Process) -> None:
            nonlocal done
            assert process.stdout is not None  # noqa: S101 - it was started with a pipe
            while waiting:
                await _send(process, waiting.popleft())
                ended = False
                while not ended:
                    line = await process.stdout.readline()
                    if not line:
                        raise WorkerError(f"a process of the rebuild ended with status {await process.wait()}")
                    said = msgspec.json.decode(line, type=Done)
                    ended, self._cpu[number] = said.ended, said.cpu_seconds
                    done += said.number
                    self._progress(what, done, max(size, done))

        try:
            async with asyncio.TaskGroup() as group:
                for number, process in enumerate(workers):
                    group.create_task(feed(number, process))
        except* WorkerError as errors:
            raise errors.exceptions[0] from None

    # -- catching up

    async def _catch_up(self, anew: Connection, to: Live) -> None:
        """Fold into the new view what the live one has folded. Raises `_MovedError`."""
        if to.rests_on != self._rests_on or to.instant < self._instant:
            raise _MovedError
        self._instant = to.instant
        needs = await rebuild.needed(anew)
        folder = Folder(self._register, needs, self._settings.partitions, self._calls)
        level = False
        while not level:
            async with anew.transaction():
                head = await view.open_head(anew, self._epoch)
                head.applied += [0] * (len(to.applied) - len(head.applied))
                ranges = [
                    (shard, head.applied[shard], min(end, head.applied[shard] + _FOLD_MAX))
                    for shard, end in enumerate(to.applied)
                    if end > head.applied[shard]
                ]
                for shard, _, end in ranges:
                    head.applied[shard] = end
                placed = await self._placer.place(anew, await view.entries(anew, ranges), head.applied)
                due = await view.due(anew, to.instant, _DUE_MAX)
                changes = await folder.fold(anew, head, placed.arrivals, due, to.instant)
                changes.waiting = placed.waiting
                head.instant = to.instant
                await view.put(anew, head, changes, self._lease)
            level = head.applied == to.applied and len(due) < _DUE_MAX

    @asynccontextmanager
    async def _level(self, anew: Connection, live: Connection) -> AsyncIterator[tuple[view.Head, Live]]:
        """Hold the live view still while both are as of the same entries and instant."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            before = await self._at_rest(anew)
            await self._catch_up(anew, before)
            async with live.transaction():
                head = await view.open_head(live, await retention.epoch(live))
                now = await rebuild.live(live)
                if now.rests_on != self._rests_on:
                    raise _MovedError
                if now.idle and sum(now.applied) - sum(before.applied) <= _NEAR:
                    await self._catch_up(anew, now)
                    yield head, now
                    return
            await asyncio.sleep(0)
        raise BusyError("the live view is changed faster than it can be followed")

    # -- comparing

    async def _compare(self, anew: Connection, live: Connection, whole: Connection) -> Report:
        self._progress("comparing", 0, 1)
        one = whole.transaction(isolation="repeatable_read")
        async with self._level(anew, live) as (_, now):
            await one.start()
            # The first statement takes the snapshot, in which both are level.
            await rebuild.live(whole)
        await rebuild.compare(whole)
        waits = await rebuild.differing_waits(whole)
        counts = await rebuild.count(whole)
        needed = await rebuild.needed(whole)
        await one.commit()
        some = await rebuild.some_differing(anew, b"", self._shown)
        return Report(
            entries=sum(now.applied), addresses=counts.addresses, dossiers=counts.dossiers, applied=now.applied,
            instant=now.instant, register_version=now.register_version, digest=counts.digest.hex(),
            differences=counts.differing + len(waits),
            found=[*await self._explained(anew, some, needed), *map(differences.waits, waits[: self._shown])],
        )  # fmt: skip

    async def _explained(
        self, connection: Connection, some: Sequence[Differing], needed: dict[str, int]
    ) -> list[Difference]:  # fmt: skip
        await self._calls.read(connection, {one.hash for one in some})

        def decide(one: Differing, facts: Sequence[Fact], at: int) -> bytes:
            assert one.anew.controller is not None and one.anew.type is not None  # noqa: S101, PT018 - it has a row
            own, _ = suppression.decide_own(
                self._register, facts, controller=one.anew.controller, type=one.anew.type, token=one.hash, at=at,
                dnc=self._calls.of(one.anew.controller) if one.anew.type == "phone" else None,
            )  # fmt: skip
            return own

        instant = micros(self._instant)
        return [
            differences.explain(one, decide, needed.get(one.anew.controller or "", 0), instant) for one in some
        ]  # fmt: skip

    # -- taking the other's place

    async def _swap(self, anew: Connection, live: Connection) -> int:
        """Write in one transaction what differs, and return how many rows that were."""
        written = 0
        async with self._level(anew, live) as (head, _):
            needed = await rebuild.needed(live)
            after = b""
            while page := await rebuild.some_differing(anew, after):
                after = page[-1].hash
                groups = await rebuild.closed(live, anew, [one.hash for one in page])
                changes, dropped = replace(*groups, head, needed)
                await rebuild.drop(live, rows=dropped.rows, idents=dropped.idents, dossiers=dropped.dossiers)
                await view.put(live, head, changes, self._lease)
                written += len(changes.rows)
                self._progress("writing", written, written)
            await rebuild.take_waits(live)
        return written


async def _send(process: Process, said: msgspec.Struct) -> None:
    assert process.stdin is not None  # noqa: S101 - it was started with a pipe
    try:
        process.stdin.write(msgspec.json.encode(said) + b"\n")
        await process.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        raise WorkerError(f"a process of the rebuild ended with status {await process.wait()}") from None


async def _end(process: Process) -> None:
    """Let a process end by itself, and not for ever."""
    assert process.stdin is not None  # noqa: S101 - it was started with a pipe
    process.stdin.close()
    try:
        async with asyncio.timeout(_GRACE_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
