"""CPU time and memory of processes, each with all it has started."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final, Self

import msgspec
import psutil

_EVERY_SECONDS: Final = 0.5
_MEBIBYTE: Final = 2**20

OURSELVES: Final = "benchmark"
OTHERS: Final = "others"


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a process used: CPU seconds, and the most memory it had; None where nobody looked."""

    cpu_seconds: float
    peak_mebibytes: float | None


class Meter:
    """Measures named processes over a block; what else ran on the machine is there as well, under `OTHERS`.

    `parts` names single processes among those that the named ones have started; several may have one name.
    """

    def __init__(self, pids: Mapping[str, int], parts: Mapping[int, str]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._parts = [(name, psutil.Process(pid)) for pid, name in parts.items()]
        self._peaks = dict.fromkeys(pids, 0.0)
        self._from = self._cpu()

    @classmethod
    @asynccontextmanager
    async def measuring(cls, pids: Mapping[str, int], parts: Mapping[int, str]) -> AsyncIterator[Self]:
        """Look at memory as long as the block lasts."""
        meter = cls(pids, parts)
        looking = asyncio.create_task(meter._look())
        try:
            yield meter
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking

    def usages(self) -> dict[str, Usage]:
        """Return what was used since the beginning, by name."""
        now = self._cpu()
        return {
            name: Usage(cpu_seconds=now[name] - before, peak_mebibytes=self._peaks.get(name))
            for name, before in self._from.items()
        }

    async def _look(self) -> None:
        while True:
            for name, process in self._processes.items():
                self._peaks[name] = max(self._peaks[name], _memory(process))
            await asyncio.sleep(_EVERY_SECONDS)

    def _cpu(self) -> dict[str, float]:
        used = {name: sum(map(_cpu, _family(process))) for name, process in self._processes.items()}
        used[OURSELVES] = time.process_time()
        machine = psutil.cpu_times()
        busy = sum(getattr(machine, part) for part in ("user", "nice", "system", "irq", "softirq"))
        parts: dict[str, float] = {}
        for name, process in self._parts:
            parts[name] = parts.get(name, 0.0) + _cpu(process)
        return {**used, OTHERS: busy - sum(used.values()), **parts}


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _cpu(process: psutil.Process) -> float:
    """The time of a process and of its children that have ended, which a server of processes has."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def _memory(process: psutil.Process) -> float:
    """Own memory of all, and once what they share."""
    own, shared = 0, 0
    for one in _family(process):
        with suppress(psutil.NoSuchProcess):
            found = one.memory_info()
            own += found.rss - found.shared
            shared = max(shared, found.shared)
    return (own + shared) / _MEBIBYTE
