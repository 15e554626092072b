"""The life of one local server: start, stop, kill, start again on the same data and port."""

import contextlib
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from consent_ledger.runtime.local import homes
from consent_ledger.runtime.local.errors import LocalServerError
from consent_ledger.runtime.local.guarded import OURSELVES, Guarded
from consent_ledger.runtime.local.homes import Process, State
from consent_ledger.runtime.local.ports import LOOPBACK, free_port, is_free

Report = Callable[[str], None]

START_SECONDS = 90.0
_LOOK_SECONDS = 0.02
_TAIL_LINES = 12


def silent(_progress: str) -> None:
    """Report to nobody."""


class LocalServer(ABC):
    """One server process, owned by this process and ended with it, whatever ends it.

    With `home` the data is kept there, and the port is the same the next time if it is free; without, both are
    thrown away by `close`. The methods may be called from any thread; each blocks until what it says is true.
    """

    name: ClassVar[str]
    # How the server ends in good order, and how it ends fast when its data is thrown away in any case.
    stop_signal: ClassVar[int]
    fast_signal: ClassVar[int]
    grace_seconds: ClassVar[float] = 8.0

    def __init__(self, home: Path | None = None, *, port: int | None = None, report: Report = silent) -> None:
        self._given_home = home.expanduser().absolute() if home is not None else None
        self._home: Path | None = None
        self._wished_port = port
        self._port: int | None = None
        self._report = report
        self._process: Guarded | None = None
        self._lock = threading.RLock()
        self._closing = threading.Event()

    @property
    def home(self) -> Path:
        """The directory of data, settings and log; there is one from the first start to `close`."""
        if self._home is None:
            raise LocalServerError(f"{self.name} was not started: call start() first.")
        return self._home

    @property
    def log(self) -> Path:
        """What the server said, over all its starts."""
        return self.home / "log"

    @property
    def address(self) -> str:
        """Host and port, the same for every start."""
        if self._port is None:
            raise LocalServerError(f"{self.name} was not started: call start() first.")
        return f"{LOOPBACK}:{self._port}"

    @property
    def port(self) -> int:
        """The port on the loopback address."""
        return int(self.address.rpartition(":")[2])

    @property
    def pid(self) -> int | None:
        """The server's process, None while it does not run."""
        process = self._process
        return process.pid if process is not None and process.exit_status is None else None

    def start(self) -> None:
        """Return when the server answers; nothing happens when it already runs.

        Raises LocalServerError, and leaves nothing running, when it cannot.
        """
        with self._lock:
            if self.pid is not None:
                return
            # One that ended by itself still has its guard to be waited for.
            self.kill()
            self._claim()
            self._choose_port()
            began = time.monotonic()
            try:
                self._prepare()
                self._spawn()
            except OSError as problem:
                raise LocalServerError(f"{self.name} cannot start: {problem}.") from problem
            self._report(f"{self.name} answers on {self.address} after {time.monotonic() - began:.1f} s")

    def stop(self, *, immediate: bool = False) -> None:
        """End the server in good order; `immediate` ends it fast, and its next start recovers. The data stays."""
        with self._lock:
            if self._process is None:
                return
            self._process.end(self.fast_signal if immediate else self.stop_signal, self.grace_seconds)
            self._process = None

    def kill(self) -> None:
        """End the server by SIGKILL, and return when it and all it had started are gone. The data stays."""
        with self._lock:
            if self._process is None:
                return
            self._process.end(signal.SIGKILL, self.grace_seconds)
            self._process = None

    def close(self) -> None:
        """Stop, and give the home up; a throwaway home is removed. Also ends a start under way in another thread."""
        self._closing.set()
        with self._lock:
            self.stop(immediate=self._given_home is None)
            if self._home is not None:
                homes.release(self._home, remove=self._given_home is None)
                self._home = None
            self._closing.clear()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _prepare(self) -> None:
        """Make the home ready for the command, downloading and initialising what is not there yet."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Return the server's command line, which names the home."""

    @abstractmethod
    def _is_ready(self, said: str) -> bool:
        """Say whether the server answers; `said` is its log since this start."""

    def _identity(self) -> str:
        return OURSELVES

    def _throwaway_root(self) -> Path:
        return homes.cache_root() / "run"

    def _claim(self) -> None:
        if self._home is not None:
            return
        if self._given_home is None:
            try:
                self._home = homes.new_home(self._throwaway_root(), self.name.lower())
            except OSError as problem:
                raise LocalServerError(
                    f"No directory for {self.name} ({problem}): set XDG_CACHE_HOME to a directory that can be written."
                ) from problem
            return
        before = homes.claim(self._given_home)
        self._home = self._given_home
        if self._wished_port is None and before.port is not None and is_free(before.port):
            self._wished_port = before.port

    def _choose_port(self) -> None:
        if self._port is None:
            self._port = self._wished_port or free_port()
        if not is_free(self._port):
            raise LocalServerError(
                f"{self.name} cannot start: something else listens on {self.address} "
                f"(`ss -ltnp` shows what): end it, or choose another port."
            )

    def _spawn(self) -> None:
        said_before = self.log.stat().st_size if self.log.exists() else 0
        process = self._run(self._command())
        owner = Process.of(os.getpid())
        marks = [Process.of(pid) if pid is not None else None for pid in (process.guard_pid, process.pid)]
        homes.write_state(self.home, State(owner=owner, guard=marks[0], server=marks[1], port=self._port))
        try:
            self._await_ready(process, said_before)
        except BaseException:
            process.end(self.fast_signal, self.grace_seconds)
            raise
        self._process = process

    def _run(self, command: Sequence[str]) -> Guarded:
        throwaway = self._given_home is None
        return Guarded(
            command,
            log=self.log,
            stop_signal=self.fast_signal if throwaway else self.stop_signal,
            grace_seconds=self.grace_seconds,
            identity=self._identity(),
        )

    def _run_to_end(self, command: Sequence[str], purpose: str) -> None:
        said_before = self.log.stat().st_size if self.log.exists() else 0
        process = self._run(command)
        try:
            while process.exit_status is None:
                self._pause()
        finally:
            status = process.end(signal.SIGKILL, self.grace_seconds)
        if status != 0:
            raise self._failure(f"{purpose} failed", self._said(said_before))

    def _await_ready(self, process: Guarded, said_before: int) -> None:
        until = time.monotonic() + START_SECONDS
        while not self._is_ready(self._said(said_before)):
            if process.exit_status is not None:
                raise self._failure(f"{self.name} ended while it started", self._said(said_before))
            if time.monotonic() > until:
                raise self._failure(f"{self.name} did not answer within {START_SECONDS:.0f} s", self._said(said_before))
            self._pause()

    def _pause(self) -> None:
        if self._closing.wait(_LOOK_SECONDS):
            raise LocalServerError(f"{self.name} was closed while it started.")

    def _said(self, offset: int) -> str:
        with contextlib.suppress(FileNotFoundError), self.log.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")
        return ""

    def _failure(self, what: str, said: str) -> LocalServerError:
        # The frames of a Java stack trace hide what is said between them.
        lines = [line for line in said.splitlines() if line.strip() and not line.startswith(("\tat ", "\t... "))]
        tail = "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:]) or "  (it said nothing)"
        todo = "Mend what it names and start again."
        if self._given_home is not None:
            todo = (
                f"Mend what it names and start again; the whole log is {self.log}. If the data is damaged, give "
                f"another directory, or remove {self.home} and lose the data."
            )
        return LocalServerError(f"{what}. It said last:\n{tail}\n{todo}")
