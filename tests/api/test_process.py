"""`python -m consent_ledger.api`: starts without its servers, ends in good order, and shows its figures apart.

Seen to fail: signals left to uvicorn; the end not passed on to the server; figures on the public port.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from api.served import STRUCTURED, bearer, make_key
from builders import given
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.local.ports import free_port
from running import Installation, installation, until


@asynccontextmanager
async def process(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the service as a process of its own, and end it with the block, by force if need be."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "consent_ledger.api", env={**os.environ, **environment}, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


async def answering(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/healthz")).status_code == 200
    except httpx.ConnectError:
        return False


@pytest.fixture
def alone(tmp_path: Path, unused_port: int) -> dict[str, str]:
    """Settings of a service whose servers are not there."""
    KeyFile.create(tmp_path / "keys.json")
    return {
        "CONSENT_DATABASE_URL": f"postgresql://nobody@127.0.0.1:{unused_port}/none",
        "CONSENT_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{unused_port}",
        "CONSENT_KEY_FILE": str(tmp_path / "keys.json"),
        "CONSENT_API_PORT": str(free_port()),
        "CONSENT_METRICS_PORT": str(free_port()),
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_starts_without_its_servers_and_ends_when_told_to(alone: dict[str, str], number: int) -> None:
    url = f"http://127.0.0.1:{alone['CONSENT_API_PORT']}"
    async with process(alone) as running, httpx.AsyncClient(base_url=url) as client:
        await until(lambda: answering(client))
        not_ready = await client.get("/readyz")

        running.send_signal(number)
        async with asyncio.timeout(10):
            _, log = await running.communicate()

    assert not_ready.status_code == 503
    assert running.returncode == 0
    assert b"api listening" in log
    assert b"Traceback" not in log


async def test_figures_are_on_a_port_of_their_own(alone: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{alone['CONSENT_API_PORT']}"
    async with process(alone), httpx.AsyncClient(base_url=url) as client:
        await until(lambda: answering(client))

        public = await client.get("/metrics")
        internal = await client.get(f"http://127.0.0.1:{alone['CONSENT_METRICS_PORT']}/metrics")

    assert public.status_code == 404
    assert 'consent_http_requests_total{call="/healthz",status="200"}' in internal.text


async def test_a_caller_who_waits_does_not_keep_it_from_ending(
    kafka: str, postgres: str, template: str, tmp_path: Path
) -> None:
    async with installation(kafka, postgres, template, tmp_path) as made:
        environment = {**_environment(made), "CONSENT_API_PORT": str(free_port())}
        key = await make_key(made, ["publish"], ["*"], [])
        url = f"http://127.0.0.1:{environment['CONSENT_API_PORT']}"
        async with process(environment) as running, httpx.AsyncClient(base_url=url, timeout=40) as client:
            await until(lambda: answering(client))
            headers = {"Content-Type": STRUCTURED, "Prefer": "wait=30", **bearer(key)}
            waiting = asyncio.create_task(client.post("/v1/events", json=given(), headers=headers))
            await until(lambda: _published(made))

            running.terminate()
            async with asyncio.timeout(10):
                await running.wait()
            await asyncio.wait({waiting})
            waiting.exception()

    assert running.returncode == 0


async def _published(made: Installation) -> bool:
    return sum((await made.ends([1, 2])).values()) > 0


def _environment(made: Installation) -> dict[str, str]:
    settings = made.settings
    return {
        "CONSENT_DATABASE_URL": settings.dsn,
        "CONSENT_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers or "",
        "CONSENT_TOPIC_PREFIX": settings.topic_prefix,
        "CONSENT_PARTITIONS": str(settings.partitions),
        "CONSENT_KEY_FILE": str(settings.key_file),
    }


async def test_a_port_that_is_taken_ends_it_with_the_reason(alone: dict[str, str]) -> None:
    async with process(alone), httpx.AsyncClient(base_url=f"http://127.0.0.1:{alone['CONSENT_API_PORT']}") as client:
        await until(lambda: answering(client))

        async with process({**alone, "CONSENT_METRICS_PORT": "0"}) as second:
            async with asyncio.timeout(20):
                _, log = await second.communicate()

    assert second.returncode not in (0, None)
    assert alone["CONSENT_API_PORT"].encode() in log or b"Address already in use" in log
