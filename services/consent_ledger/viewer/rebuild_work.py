"""One of the processes that make a view anew: tasks come in on standard input, and what is done goes out.

It ends with the process that started it, whatever becomes of that one: standard input closes then. What it had not
committed is gone, and what it had is cleared away by a viewer or the next run.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from datetime import datetime
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import msgspec

from consent_ledger.domain.facts import Dossier, Fact
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import keys, rebuild, view
from consent_ledger.store.view import Head
from consent_ledger.viewer.calls import Calls
from consent_ledger.viewer.fold import Folder
from consent_ledger.viewer.place import Placer

_SLICE: Final = 2_000
_ROWS: Final = 5_000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run makes anew: the entries before `applied`, for this instant, under this version of the register.

    The process is number `number` of `of` processes. `dsn` opens the database.
    """

    dsn: str
    key_file: str
    partitions: int
    epoch: int
    applied: list[int]
    instant: datetime
    register_version: int
    number: int
    of: int


class Scan(msgspec.Struct, frozen=True, tag=True):
    """Lay down what the entries of a range (shard, from position, up to position) leave."""

    shard: int
    first: int
    end: int


class Fold(msgspec.Struct, frozen=True, tag=True):
    """Fold all dossiers with a first address from one up to another (hexadecimal), and decide on them."""

    first: str
    end: str | None


class Done(msgspec.Struct, frozen=True):
    """How much was done since the last time; `ended`: the task is. `cpu_seconds`: of the process, so far."""

    number: int
    ended: bool
    cpu_seconds: float


Task = Scan | Fold


class Worker:
    """Works on one connection at a time, under one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._keks = KeyFile(Path(plan.key_file))
        self._next_dossier = plan.number + 1

    async def scan(self, connection: Connection, task: Scan) -> AsyncIterator[int]:
        """Lay down the facts of a range, slice by slice."""
        service = await keys.service_keys(connection, self._keks)
        placer = Placer(self._keks, service["digest"])
        for first in range(task.first, task.end, _SLICE):
            async with connection.transaction():
                await rebuild.hold(connection, self._plan.epoch)
                ranges = [(task.shard, first, min(task.end, first + _SLICE))]
                entries = await view.entries(connection, ranges)
                placed = await placer.place(connection, entries, self._plan.applied)
                arrived = [(one.hashes[0], one.controller, Dossier((one.fact,)).dumps()) for one in placed.arrivals]
                links = [(one.hashes[0], other) for one in placed.arrivals for other in one.hashes[1:]]
                await rebuild.copy(connection, "arrival", ("home", "controller", "facts"), arrived)
                await rebuild.copy(connection, "link", ("one", "other"), [pair for pair in links if pair[0] != pair[1]])
                await rebuild.copy(connection, "waiting", ("ref_id", "shard", "pos"), sorted(set(placed.waiting)))
            yield len(entries)

    async def fold(self, connection: Connection, task: Fold) -> AsyncIterator[int]:
        """Fold a range of addresses, all in one transaction."""
        plan = self._plan
        register = await view.compiled(connection, plan.register_version)
        calls = Calls(self._keks, plan.partitions)
        await calls.load(connection)
        folder = Folder(register, {}, plan.partitions, calls)
        head = Head(
            epoch=plan.epoch, applied=plan.applied, seq=0, next_dossier=0, register_version=plan.register_version,
            sweep_controllers=[], sweep_from=0, instant=plan.instant, now=plan.instant, heads={},
        )  # fmt: skip
        async with connection.transaction():
            await rebuild.hold(connection, plan.epoch)
            end = None if task.end is None else bytes.fromhex(task.end)
            async for homes in _whole(rebuild.homes(connection, bytes.fromhex(task.first), end, _ROWS)):
                dossiers: dict[int, tuple[str, list[Fact]]] = {}
                addresses: dict[bytes, int] = {}
                for home, rows in groupby(homes, key=lambda row: row[0]):
                    addresses[home] = self._next_dossier
                    of_one = list(rows)
                    facts = [fact for row in of_one for fact in Dossier.loads(row[2]).facts]
                    dossiers[self._next_dossier] = (of_one[0][1], facts)
                    self._next_dossier += plan.of
                changes = await folder.fold_anew(connection, head, dossiers, plan.instant)
                changes.idents |= addresses
                await rebuild.put_anew(connection, changes)
                yield len(homes)


async def _whole(
    pages: AsyncIterator[list[tuple[bytes, str, bytes]]],
) -> AsyncIterator[list[tuple[bytes, str, bytes]]]:
    """Give the same rows so that no address is spread over two pages."""
    held: list[tuple[bytes, str, bytes]] = []
    async for page in pages:
        held += page
        last = held[-1][0]
        cut = next(at for at in range(len(held) - 1, -2, -1) if at < 0 or held[at][0] != last) + 1
        if cut:
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held


async def work(plan: Plan, tasks: "SimpleQueue[bytes]") -> None:
    """Do tasks as they come in."""
    worker = Worker(plan)
    while line := await asyncio.to_thread(tasks.get):
        task = msgspec.json.decode(line, type=Task)
        connection = await rebuild.beside(plan.dsn, whole_tables=isinstance(task, Fold))
        try:
            steps = worker.scan(connection, task) if isinstance(task, Scan) else worker.fold(connection, task)
            async for number in steps:
                _say(Done(number, ended=False, cpu_seconds=time.process_time()))
        finally:
            connection.terminate()
        _say(Done(0, ended=True, cpu_seconds=time.process_time()))


def _say(done: Done) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(done) + b"\n")
    sys.stdout.buffer.flush()


def _read(lines: "SimpleQueue[bytes]") -> None:
    for line in sys.stdin.buffer:
        lines.put(line)
    os._exit(0)


def main() -> None:
    """Read the plan, then tasks."""
    lines: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    asyncio.run(work(msgspec.json.decode(lines.get(), type=Plan), lines))


if __name__ == "__main__":
    main()
