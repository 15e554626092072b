"""Directories of local servers: whose they are, and what is left in those whose owner is dead."""

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec
import psutil

from consent_ledger.runtime.local.errors import LocalServerError

_STATE = "state.json"
_LOCK = "lock"
# The system derives the time of creation from the boot time, which moves a little with the clock.
_SAME_SECONDS = 2.0
# The guard of a dead owner is already ending its server; only what outlives this is ended here.
_GUARD_SECONDS = 12.0


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process for ever: its number may be used again, number and time of creation are not."""

    pid: int
    created_at: float

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Return None where there is no such process any more."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return cls(pid=pid, created_at=psutil.Process(pid).create_time())
        return None

    def find(self) -> psutil.Process | None:
        """Return the process while it lives."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created_at) < _SAME_SECONDS
            if same and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a home: its owner, the last server there with its guard, and the port it had."""

    owner: Process | None
    guard: Process | None = None
    server: Process | None = None
    port: int | None = None


def cache_root() -> Path:
    """Return our directory among the user's caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "consent-ledger"


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory against other processes; a dead process holds nothing."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / _LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def new_home(root: Path, name: str) -> Path:
    """Make a throwaway home under `root`, ours from the start, after sweeping those of the dead."""
    with locked(root):
        _sweep(root)
        home = Path(tempfile.mkdtemp(prefix=f"{name}-{secrets.token_hex(2)}", dir=root))
        write_state(home, State(owner=Process.of(os.getpid())))
    return home


def claim(home: Path) -> State:
    """Make a home ours, end what a dead owner left running there, and return what is known of it.

    Raises LocalServerError when a living process owns it, or it cannot be a directory.
    """
    ours = Process.of(os.getpid())
    try:
        with locked(home):
            state = read_state(home)
            if state is not None and state.owner is not None and state.owner.find() is not None:
                raise LocalServerError(
                    f"{home} is in use by process {state.owner.pid}: stop that first, or give another directory."
                )
            if state is not None:
                _end_leftovers(home, state)
            claimed = State(owner=ours, port=state.port if state is not None else None)
            write_state(home, claimed)
    except OSError as problem:
        raise LocalServerError(f"{home} cannot hold a server's data ({problem}): give another directory.") from problem
    return claimed


def release(home: Path, *, remove: bool) -> None:
    """Give a home up, and remove it if it was a throwaway."""
    if remove:
        shutil.rmtree(home, ignore_errors=True)
        return
    state = read_state(home)
    write_state(home, State(owner=None, port=state.port if state is not None else None))


def read_state(home: Path) -> State | None:
    """Return None for a home that nobody has claimed, or whose state is unreadable."""
    try:
        return msgspec.json.decode((home / _STATE).read_bytes(), type=State)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def write_state(home: Path, state: State) -> None:
    """Replace the state in one step."""
    fresh = home / f"{_STATE}.new"
    fresh.write_bytes(msgspec.json.encode(state))
    fresh.replace(home / _STATE)


def _sweep(root: Path) -> None:
    for home in root.iterdir():
        if not home.is_dir():
            continue
        state = read_state(home)
        if state is None or state.owner is None:
            # Nobody can be at work on it: homes are made under the lock that is held here.
            shutil.rmtree(home, ignore_errors=True)
        elif state.owner.find() is None:
            _end_leftovers(home, state)
            shutil.rmtree(home, ignore_errors=True)


def _end_leftovers(home: Path, state: State) -> None:
    """End guard and server of a dead owner, if they are what the state says and work in this home."""
    guard, server = (
        process if mark and (process := mark.find()) and runs_in(process.pid, home) else None
        for mark in (state.guard, state.server)
    )
    ours = [process for process in (guard, server) if process is not None]
    _, alive = psutil.wait_procs(ours, timeout=_GUARD_SECONDS if guard is not None else 0)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [process, *process.children(recursive=True)]
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
            psutil.wait_procs(family, timeout=_GUARD_SECONDS)


def runs_in(pid: int, directory: Path) -> bool:
    """Say whether the process lives and has the directory, or something in it, on its command line."""
    try:
        return any(f"{argument}/".startswith(f"{directory}/") for argument in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False
