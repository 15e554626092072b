"""The most memory that processes had, looked at again and again; and what Python takes to start with an import."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

import psutil

_EVERY_SECONDS: Final = 0.1
_MEBIBYTE: Final = 2**20


class Peak:
    """The largest of the processes that were looked at, in MiB."""

    def __init__(self) -> None:
        self.mebibytes = 0.0

    @classmethod
    @asynccontextmanager
    async def of(cls, processes: Callable[[], Iterable[psutil.Process]]) -> AsyncIterator["Peak"]:
        """Look as long as the block lasts at what `processes` gives then."""
        peak = cls()
        looking = asyncio.create_task(peak._look(processes))
        try:
            yield peak
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking

    async def _look(self, processes: Callable[[], Iterable[psutil.Process]]) -> None:
        while True:
            for process in processes():
                with suppress(psutil.NoSuchProcess):
                    self.mebibytes = max(self.mebibytes, process.memory_info().rss / _MEBIBYTE)
            await asyncio.sleep(_EVERY_SECONDS)


async def start_of(module: str) -> float:
    """CPU seconds that Python takes to start and import a module."""
    process = subprocess.Popen([sys.executable, "-c", f"import {module}"])
    _, process.returncode, used = await asyncio.to_thread(os.wait4, process.pid, 0)
    return used.ru_utime + used.ru_stime
