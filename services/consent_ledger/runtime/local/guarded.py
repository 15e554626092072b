"""Start a command under the guard, signal it, and end it."""

import contextlib
import functools
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from consent_ledger.runtime.local.errors import LocalServerError

_GUARD = Path(__file__).with_name("guard.py")
OURSELVES = "-"
_TRIAL_SECONDS = 10.0
_KILL_SECONDS = 30.0


class Guarded:
    """A running command that ends with us, however we end."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        stop_signal: int,
        grace_seconds: float,
        identity: str = OURSELVES,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        guard = [sys.executable, "-I", "-S", str(_GUARD), str(int(stop_signal)), str(grace_seconds), identity]
        with log.open("ab") as output:
            self._guard = subprocess.Popen(  # noqa: S603 - the command comes from our own code.
                [*guard, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                bufsize=0,
                env=environment,
                # ctrl-C is for us to answer: the servers stop last, and in order.
                start_new_session=True,
            )
        self._pid = self._read_pid()

    def _read_pid(self) -> int | None:
        if self._guard.stdout is None:
            return None
        with self._guard.stdout as answer:
            return int(answer.readline() or 0) or None

    @property
    def pid(self) -> int | None:
        """The command's own process, None where it never came to life."""
        return self._pid

    @property
    def guard_pid(self) -> int:
        """The process that watches over it."""
        return self._guard.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; 128 + n where signal n ended it. Nothing it started is left once this is a number."""
        return self._guard.poll()

    def send_signal(self, number: int) -> None:
        """Signal the command itself; nothing happens when it has ended."""
        if self._guard.stdin is not None:
            with contextlib.suppress(BrokenPipeError, ValueError):
                self._guard.stdin.write(bytes([number]))

    def wait(self, timeout_seconds: float) -> int:
        """Wait until it has ended with all it started, and return its exit status."""
        status = self._guard.wait(timeout_seconds)
        self._let_go()
        return status

    def end(self, number: int, grace_seconds: float) -> int:
        """Signal it, wait, send SIGKILL to what has not obeyed by then, and return the exit status."""
        self.send_signal(number)
        try:
            return self.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.send_signal(signal.SIGKILL)
            return self.wait(_KILL_SECONDS)

    def _let_go(self) -> None:
        if self._guard.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.close()


@functools.cache
def unprivileged() -> str:
    """Return the identity under which a program runs that refuses root: ours, unless that is root.

    A user namespace is preferred: the files stay ours, whatever directory they are in. Where the system forbids
    namespaces, as containers often do, it is the user `nobody`.
    """
    if os.geteuid() != 0:
        return OURSELVES
    # Any user with a name will do, but for `nobody`: unmapped files seem to be his.
    names = {user.pw_name: user for user in pwd.getpwall() if user.pw_uid}
    user = next((user for name, user in names.items() if name != "nobody"), None)
    if user is not None:
        identity = f"namespace:{user.pw_uid}:{user.pw_gid}"
        if _can_become(identity):
            return identity
    if "nobody" in names:
        return f"setuid:{names['nobody'].pw_uid}:{names['nobody'].pw_gid}"
    raise LocalServerError("PostgreSQL does not run as root, and there is no other user here: run as another user.")


def _can_become(identity: str) -> bool:
    command = shutil.which("true")
    if command is None:
        return False
    trial = Guarded([command], log=Path(os.devnull), stop_signal=signal.SIGKILL, grace_seconds=0, identity=identity)
    return trial.wait(_TRIAL_SECONDS) == 0
