"""Run one server and end it, with all that it started, as soon as the process that asked for it is gone.

A program of its own, started by path with the bare interpreter, so it may import the standard library only:
`guard.py STOP_SIGNAL GRACE_SECONDS IDENTITY COMMAND…`. It prints the server's pid, then obeys its standard input: each
byte is a signal to pass on, and the end of input, which the kernel brings about however the parent ends, means: stop.
IDENTITY is `-`, or `namespace:UID:GID` or `setuid:UID:GID` for a server that refuses to run as root.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWUSER = 0x10000000
_LOOK_AGAIN_SECONDS = 1.0

_libc = ctypes.CDLL(None, use_errno=True)


def _call(status: int) -> None:
    if status != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _enter_namespace(uid: int, gid: int) -> None:
    """Stay who we are for the files, and look like `uid` to the program: a user namespace of one user."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    _call(_libc.unshare(_CLONE_NEWUSER))
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {outer_gid} 1", encoding="ascii")


def _become(identity: str) -> None:
    if identity == "-":
        return
    way, uid, gid = identity.split(":")
    if way == "namespace":
        _enter_namespace(int(uid), int(gid))
    else:
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))


def _prepare_child(identity: str, guard_pid: int) -> None:
    """Run between fork and exec: change identity, and die with the guard should that be killed."""
    _become(identity)
    if sys.platform == "linux":
        # A change of identity clears the setting, so it comes last; the guard has one thread, so none can end early.
        _call(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    if os.getppid() != guard_pid:
        os._exit(1)


def _obey(server: "subprocess.Popen[bytes]", parent_pid: int, wake: int) -> None:
    """Pass signals on until the server has ended, or nobody is left who wants it."""
    while server.poll() is None and os.getppid() == parent_pid:
        ready, _, _ = select.select([0, wake], [], [], _LOOK_AGAIN_SECONDS)
        if wake in ready:
            os.read(wake, 4096)
        if 0 in ready:
            orders = os.read(0, 64)
            if not orders:
                return
            for number in orders:
                server.send_signal(number)


def _stop(server: "subprocess.Popen[bytes]", stop_signal: int, grace_seconds: float) -> None:
    server.send_signal(stop_signal)
    try:
        server.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _children() -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in parentheses, may itself hold anything; the parent is the second field behind it.
            if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(stat.parent.name))
    return found


def _end_orphans() -> None:
    """End what the server left behind; as subreaper the guard has inherited all of it."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in _children():
                os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)


def main(stop_signal: str, grace_seconds: str, identity: str, *command: str) -> int:
    """Run the command and return its exit status, 128 + n where signal n ended it."""
    parent_pid = os.getppid()
    if sys.platform == "linux":
        _call(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
    wake, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    # Who ends us ends the parent too, and then the input ends: that alone decides. A handler, unlike SIG_IGN, is
    # not handed down to the server.
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    server = subprocess.Popen(  # noqa: S603 - the command comes from our own code.
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        preexec_fn=partial(_prepare_child, identity, os.getpid()),  # noqa: PLW1509 - there is one thread.
    )
    os.write(1, b"%d\n" % server.pid)
    _obey(server, parent_pid, wake)
    _stop(server, int(stop_signal), float(grace_seconds))
    _end_orphans()
    return server.returncode if server.returncode >= 0 else 128 - server.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
