"""Programs of a mail tool in processes of their own, to be killed."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

TESTS = Path(__file__).parents[1]


class Other:
    """A running program."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def said(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            return (await self._process.stdout.readline()).decode().strip()

    async def kill(self) -> None:
        """End it as a power cut would."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def in_another_process(module: str, *arguments: str) -> AsyncIterator[Other]:
    """Run a module of the tests as a program, and kill it at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, cwd=TESTS, stdout=asyncio.subprocess.PIPE
    )
    other = Other(process)
    try:
        yield other
    finally:
        await other.kill()
