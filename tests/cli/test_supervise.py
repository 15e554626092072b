"""Services are started again when they die, and end with the supervisor.

Seen to fail: no new start after a death; the services left running at the end; only the first service looked at for
its deaths.
"""

import asyncio
from pathlib import Path

import psutil
import pytest

from consent_ledger.runtime.supervise import Service, ServiceError, Supervisor


def service(directory: Path, name: str, program: str) -> Service:
    (directory / f"{name}_program.py").write_text(program)
    return Service(name=name, module=f"{name}_program", log=directory / "logs" / f"{name}.log")


def supervised(directory: Path, *services: Service) -> Supervisor:
    return Supervisor(services, {"PYTHONPATH": str(directory)}, report=lambda _: None)


async def running(supervisor: Supervisor, name: str, but: int | None = None) -> int:
    async with asyncio.timeout(20):
        while (pid := supervisor.pid(name)) is None or pid == but:
            await asyncio.sleep(0.01)
    return pid


async def hoping(supervisor: Supervisor) -> None:
    async with asyncio.timeout(30):
        while True:
            supervisor.require_hope()
            await asyncio.sleep(0.05)


async def test_a_service_that_is_killed_comes_back_and_ends_with_the_block(tmp_path: Path) -> None:
    sleeper = service(tmp_path, "sleeper", "import signal; signal.pause()")

    async with supervised(tmp_path, sleeper) as supervisor:
        first = await running(supervisor, "sleeper")
        supervisor.kill("sleeper")
        second = await running(supervisor, "sleeper", but=first)

        assert supervisor.restarts == {"sleeper": 1}
        assert not psutil.pid_exists(first)
    assert not psutil.pid_exists(second)


async def test_a_service_that_never_holds_is_given_up_with_its_last_words(tmp_path: Path) -> None:
    sleeper = service(tmp_path, "sleeper", "import signal; signal.pause()")
    broken = service(tmp_path, "broken", "raise SystemExit('no such door')")

    async with supervised(tmp_path, sleeper, broken) as supervisor:
        with pytest.raises(ServiceError, match="The broken ends each time") as raised:
            await hoping(supervisor)

    assert "no such door" in str(raised.value)


async def test_a_service_that_ignores_the_end_is_ended_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consent_ledger.runtime.supervise.GRACE_SECONDS", 0.2)
    deaf = service(
        tmp_path, "deaf",
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf now', flush=True)\n"
        "while True: time.sleep(1)",
    )  # fmt: skip

    async with supervised(tmp_path, deaf) as supervisor:
        pid = await running(supervisor, "deaf")
        async with asyncio.timeout(20):
            while "deaf now" not in deaf.log.read_text():
                await asyncio.sleep(0.01)
    assert not psutil.pid_exists(pid)
