"""What a start starts ends with it, however the process that asked for it ends, and only that.

Seen to fail: a guard that does not watch its input; one that does not look at its parent; no PR_SET_PDEATHSIG;
leftovers not ended by the next start; the time of creation not compared; the command line not compared, or only by its
beginning; no sweep; a living owner not respected; no close after a failed start; a close that waits for the start; a
program of a test that outlives the run.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from consent_ledger.runtime.local import LocalServerError, Postgres, homes, jars, local_servers
from consent_ledger.runtime.local.homes import Process, State

GONE_SECONDS = 20.0

STARTS_BOTH = """
import asyncio, json
from consent_ledger.runtime.local import local_servers

async def main():
    async with local_servers() as servers:
        print(json.dumps([servers.kafka.pid, servers.postgres.pid]), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""

STARTS_ONE = """
import json, os, pathlib, sys, time
from consent_ledger.runtime.local import Postgres, homes

server = Postgres(pathlib.Path(sys.argv[1]) if sys.argv[1:] else None)
server.start()
"""
TELLS = """
state = homes.read_state(server.home)
print(json.dumps([state.guard.pid, state.server.pid]), flush=True)
input()
"""
IN_A_TEST = f"""
import subprocess, sys
sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
from mortal import mortal

# It tells itself: from then on it is bound to its parent.
tells = "import os, time; print([os.getpid()], flush=True); time.sleep(600)"
program = subprocess.Popen(mortal([sys.executable, "-c", tells]))
input()
"""
FORKS = """
if os.fork() == 0:
    time.sleep(600)
"""
EXECS = """
os.execv(sys.executable, [sys.executable, "-c", "input()"])
"""


def spawn(script: str, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def numbers(parent: "subprocess.Popen[bytes]") -> list[int]:
    assert parent.stdout is not None
    found: list[int] = json.loads(parent.stdout.readline())
    return found


def kill(parent: "subprocess.Popen[bytes]") -> None:
    parent.kill()
    parent.communicate()


def guards() -> set[psutil.Process]:
    """Give what this process itself started, for it is the guard that ends last; servers start and end children."""
    return set(psutil.Process().children())


def all_gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=GONE_SECONDS)[1]


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give this test a cache of its own, but for the jars."""
    with homes.locked(shared := homes.cache_root() / f"kafka-{jars.KAFKA_VERSION}"):
        root = tmp_path / "cache" / "consent-ledger"
        root.mkdir(parents=True)
        (root / shared.name).symlink_to(shared)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return root


def test_servers_end_with_a_parent_that_is_killed_and_the_next_start_sweeps_what_they_held(own_cache: Path) -> None:
    parent = spawn(STARTS_BOTH)
    pids = numbers(parent)
    processes = [*psutil.Process(parent.pid).children(recursive=True)]
    assert set(pids) < {process.pid for process in processes}

    kill(parent)

    assert all_gone(processes)
    left = {home.name for home in (own_cache / "run").iterdir() if home.is_dir()}
    with Postgres() as next_one:
        now = {home for home in (own_cache / "run").iterdir() if home.is_dir()}
        assert len(left) == 2
        assert now == {next_one.home}
    assert [home.name for home in (own_cache / "run").iterdir()] == ["lock"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent is gone")
def test_what_a_test_starts_ends_with_a_run_that_is_killed() -> None:
    parent = spawn(IN_A_TEST)
    processes = [psutil.Process(pid) for pid in numbers(parent)]

    kill(parent)

    assert all_gone(processes)


def test_servers_end_with_their_parent_though_its_child_still_holds_the_pipe() -> None:
    parent = spawn(STARTS_ONE + FORKS + TELLS)
    processes = [psutil.Process(pid) for pid in numbers(parent)]
    fork = next(child for child in psutil.Process(parent.pid).children() if child.pid != processes[0].pid)

    parent.kill()
    ended = all_gone(processes)
    fork.kill()
    parent.communicate()

    assert ended


def test_a_server_ends_when_its_parent_turns_into_another_program() -> None:
    parent = spawn(STARTS_ONE + TELLS + EXECS)
    server = psutil.Process(numbers(parent)[1])
    assert parent.stdin is not None

    parent.stdin.write(b"go on\n")
    parent.stdin.flush()
    ended = all_gone([server])
    alive = parent.poll() is None
    parent.communicate(b"\n")

    assert ended
    assert alive


def test_a_server_ends_with_its_guard() -> None:
    server = Postgres()
    server.start()
    state = homes.read_state(server.home)
    assert state is not None
    assert state.guard is not None
    process = psutil.Process(server.pid)

    os.kill(state.guard.pid, signal.SIGKILL)

    assert all_gone([process])
    server.close()


def test_the_next_start_ends_a_server_whose_guard_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homes, "_GUARD_SECONDS", 0.5)
    parent = spawn(STARTS_ONE + TELLS, str(tmp_path / "pg"))
    guard, server = (psutil.Process(pid) for pid in numbers(parent))
    guard.suspend()
    kill(parent)
    assert server.is_running()

    with Postgres(tmp_path / "pg") as next_one:
        assert all_gone([guard, server])
        assert next_one.pid is not None


def test_a_server_started_in_a_thread_outlives_the_thread() -> None:
    server = Postgres()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()

    server.stop()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    alive = psutil.pid_exists(server.pid or 0)
    server.close()

    assert alive


def test_a_close_ends_a_start_under_way() -> None:
    begun, failures = threading.Event(), list[LocalServerError]()
    server = Postgres(report=lambda _: begun.set())

    def start() -> None:
        try:
            server.start()
        except LocalServerError as failure:
            failures.append(failure)

    thread = threading.Thread(target=start)
    thread.start()
    begun.wait()
    server.close()
    thread.join()

    assert [str(failure) for failure in failures] == ["PostgreSQL was closed while it started."]
    assert server.pid is None


@pytest.mark.parametrize("what_differs", ["created", "command"])
def test_a_process_that_is_not_what_the_state_says_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what_differs: str
) -> None:
    monkeypatch.setattr(homes, "_GUARD_SECONDS", 0.2)
    named = tmp_path / "home" if what_differs == "created" else tmp_path / "home2"
    other = subprocess.Popen([sys.executable, "-c", "input()", str(named)], stdin=subprocess.PIPE)
    mark = Process.of(other.pid)
    assert mark is not None
    if what_differs == "created":
        mark = Process(pid=other.pid, created_at=mark.created_at - 3600)
    (tmp_path / "home").mkdir()
    homes.write_state(tmp_path / "home", State(owner=Process(pid=other.pid, created_at=0.0), server=mark))

    homes.claim(tmp_path / "home")

    assert other.poll() is None
    other.communicate(b"\n")


def test_a_home_in_use_by_a_living_process_is_refused(tmp_path: Path) -> None:
    homes.claim(tmp_path / "pg")
    second = Postgres(tmp_path / "pg")

    with pytest.raises(LocalServerError, match=f"in use by process {os.getpid()}: stop that first"):
        second.start()

    second.close()
    assert homes.read_state(tmp_path / "pg") is not None


async def test_when_one_server_cannot_start_the_other_is_ended_and_the_reason_is_given(tmp_path: Path) -> None:
    (tmp_path / "kafka").write_text("a file")
    before = guards()

    with pytest.raises(LocalServerError, match=r"kafka cannot hold a server's data"):
        async with local_servers(tmp_path):
            pytest.fail("it must not start")

    assert guards() <= before


async def test_a_start_that_is_cancelled_ends_what_it_had_begun(own_cache: Path) -> None:
    before = guards()
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def report(_progress: str) -> None:
        loop.call_soon_threadsafe(begun.set)

    async def start() -> None:
        async with local_servers(report=report):
            pytest.fail("it must not come to this")

    task = asyncio.create_task(start())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert guards() <= before
    assert [home.name for home in (own_cache / "run").iterdir()] == ["lock"]
