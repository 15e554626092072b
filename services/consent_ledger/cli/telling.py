"""Says what a demo is doing, and gives it a directory."""

import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rich.text import Text

from consent_ledger.cli.terminal import err


class Teller:
    """Says what is happening, and how long each part took."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._status = err.status("starting Kafka and PostgreSQL")
        self._began = time.perf_counter()

    def begin(self) -> None:
        """Show that something is going on."""
        if not self._quiet:
            self._status.start()

    def note(self, text: str) -> None:
        """Say what is going on within the present part."""
        if not self._quiet:
            self._status.update(Text(text))

    def done(self, text: str, then: str) -> None:
        """Say that a part is done."""
        now = time.perf_counter()
        if not self._quiet:
            err.print(Text.assemble(("✓ ", "green"), f"{text:<62}", (f"{now - self._began:5.1f} s", "dim")))
            self._status.update(Text(then))
        self._began = now

    def end(self) -> None:
        """Show nothing any more."""
        self._status.stop()


@asynccontextmanager
async def directory(data: Path | None) -> AsyncIterator[Path]:
    """Give the directory that was asked for, else one that goes with the block."""
    if data is not None:
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="consent-demo-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)
