"""A web server inside a process that has more to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the process it runs in."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signals: the process cancels its service when it is told to end."""
        yield
