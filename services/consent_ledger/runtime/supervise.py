"""Keeps the processes of an installation alive while this process lives, and ends them with it."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from consent_ledger.runtime.local import LocalServerError
from consent_ledger.runtime.local.guarded import Guarded
from consent_ledger.runtime.local.server import LocalServer, Report

LOOK_SECONDS = 0.05
GRACE_SECONDS = 2.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
# Who has lived this long did not die of being started.
_STEADY_SECONDS = 10.0
_HOPELESS = 4
_TAIL_LINES = 8


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A process of ours: `python -m <module>` under a name, its log in a file."""

    name: str
    module: str
    log: Path


class ServiceError(Exception):
    """A service ends again and again; the text says what it said last."""


class Supervisor:
    """Runs services, each started again when it dies, with a pause that doubles while it dies at once.

    Local servers may be given to it as well. All services are gone when the block ends, and also when this process is
    killed: each runs under a guard.
    """

    def __init__(
        self,
        services: Sequence[Service],
        environment: Mapping[str, str],
        *,
        servers: Sequence[LocalServer] = (),
        report: Report,
    ) -> None:
        self._services = {service.name: service for service in services}
        self._environment = {**os.environ, **environment}
        self._servers = servers
        self._report = report
        self._running: dict[str, Guarded] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._ends: dict[str, int] = dict.fromkeys(self._services, 0)
        self._deaths: dict[str, int] = dict.fromkeys(self._services, 0)

    @property
    def restarts(self) -> dict[str, int]:
        """How often each service has ended by itself, or was killed."""
        return dict(self._ends)

    def pid(self, name: str) -> int | None:
        """The process of a service, None while it does not run."""
        process = self._running.get(name)
        return process.pid if process is not None and process.exit_status is None else None

    def kill(self, name: str) -> None:
        """Send SIGKILL to a service; it is started again like after any other death."""
        if (process := self._running.get(name)) is not None:
            process.send_signal(signal.SIGKILL)

    def require_hope(self) -> None:
        """Raise `ServiceError` when a service has died several times, each time soon after its start."""
        for name, deaths in self._deaths.items():
            if deaths >= _HOPELESS:
                log = self._services[name].log
                raise ServiceError(f"The {name} ends each time it is started. It said last:\n{_tail(log)}\n{log}")

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._keep(service)) for service in self._services.values()]
        self._tasks += [asyncio.create_task(self._keep_server(server)) for server in self._servers]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        ends = [asyncio.to_thread(process.end, signal.SIGTERM, GRACE_SECONDS) for process in self._running.values()]
        await asyncio.gather(*ends)
        self._running.clear()

    async def _keep(self, service: Service) -> None:
        pauses = _Pauses()
        while True:
            process = self._start(service)
            while process.exit_status is None:
                await asyncio.sleep(LOOK_SECONDS)
                if pauses.steady():
                    self._deaths[service.name] = 0
            self._report(f"the {service.name} ended with status {process.exit_status}; starting it again")
            self._ends[service.name] += 1
            self._deaths[service.name] += 1
            process.wait(GRACE_SECONDS)
            await pauses.next()

    def _start(self, service: Service) -> Guarded:
        service.log.parent.mkdir(parents=True, exist_ok=True)
        process = Guarded(
            [sys.executable, "-m", service.module],
            log=service.log,
            stop_signal=signal.SIGTERM,
            grace_seconds=GRACE_SECONDS,
            environment=self._environment,
        )
        self._running[service.name] = process
        return process

    async def _keep_server(self, server: LocalServer) -> None:
        pauses = _Pauses()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if server.pid is not None:
                continue
            self._report(f"{server.name} ended; starting it again")
            try:
                await asyncio.to_thread(server.start)
            except LocalServerError as error:
                self._report(str(error))
                await pauses.next()


class _Pauses:
    """The pauses between starts: short at first, doubling, and short again once a start has held."""

    def __init__(self) -> None:
        self._pause = _FIRST_PAUSE_SECONDS
        self._began = asyncio.get_running_loop().time()

    def steady(self) -> bool:
        """Say whether the last start has held."""
        return asyncio.get_running_loop().time() - self._began > _STEADY_SECONDS

    async def next(self) -> None:
        """Rest before the next start."""
        self._pause = _FIRST_PAUSE_SECONDS if self.steady() else min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
        await asyncio.sleep(self._pause)
        self._began = asyncio.get_running_loop().time()


async def until_told(work: Coroutine[Any, Any, None]) -> bool:
    """Do the work until it ends, or until SIGTERM or ctrl-C cancels it; False when it was cancelled.

    Only the first signal counts: what ends in good order is not disturbed by a second one.
    """
    task = asyncio.ensure_future(work)
    told = False

    def tell() -> None:
        nonlocal told
        if not told:
            told = True
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, tell)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return not told


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:]) or "  (nothing)"
