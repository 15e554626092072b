"""A whole installation on this machine: servers, schema, topics, keys and all services, from nothing to ready."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import httpx
import msgspec
from pydantic import SecretStr

from consent_ledger.cli import found
from consent_ledger.cli.found import Running
from consent_ledger.runtime import topics
from consent_ledger.runtime.keys import KeyFile, KeyUnavailableError
from consent_ledger.runtime.local import Kafka, LocalServerError, Postgres, Report, homes
from consent_ledger.runtime.local.homes import Process
from consent_ledger.runtime.local.ports import free_port, is_free
from consent_ledger.runtime.local.server import LocalServer
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.supervise import Service, ServiceError, Supervisor
from consent_ledger.store import api_keys, keys, operator

T = TypeVar("T")
S = TypeVar("S")

SERVICES: Final = ("recorder", "viewer", "relay", "sealer", "api")
READY_SECONDS: Final = 120.0
_ASK_SECONDS: Final = 0.05
_SERVERS_GRACE_SECONDS: Final = 3.0
_PARTS: Final = ("kafka", "postgres", "logs", found.CHECKPOINTS, "consent-keys.json", "api-key", "api-port")


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """What a program needs to use an installation: the line that `consent up --json` prints."""

    kafka: str
    database: str
    api: str
    api_key: str
    topic_prefix: str
    key_file: str


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """A running installation. `kafka` and `postgres` are None where servers of the environment are used."""

    settings: Settings
    addresses: Addresses
    services: Supervisor
    kafka: Kafka | None
    postgres: Postgres | None
    data: Path


@asynccontextmanager
async def installed(
    data: Path,
    said: Settings,
    *,
    report: Report,
    port: int | None = None,
    fresh: bool = False,
    brief: bool = False,
    keep: bool = True,
) -> AsyncIterator[Installation]:
    """Start everything on `data`, an absolute path, and end it with the block.

    A later start on the same `data` goes on where this one ended. `brief`: it starts fast, for a life of minutes.
    Unless its data is to `keep`, the end is fast as well.

    Raises `LocalServerError` when `data` is in use or a server cannot start, `ServiceError` when a service cannot.
    """
    homes.claim(data)
    try:
        if fresh:
            _clear(data)
        async with AsyncExitStack() as stack:
            settings = said.model_copy(
                update={
                    "api_port": _choose_port(data, said, port),
                    "key_file": _key_file(data, said),
                    "log_directory": said.log_directory or str(data / found.CHECKPOINTS),
                }
            )
            kafka = None if said.kafka_bootstrap_servers else Kafka(data / "kafka", report=report, brief=brief)
            postgres = None if said.database_url else Postgres(data / "postgres", report=report)
            servers = [server for server in (kafka, postgres) if server is not None]
            stack.push_async_callback(_close, servers, keep=keep)
            bootstrap, (url, key) = await _both(
                _bring_up_kafka(kafka, settings), _bring_up_database(postgres, settings, data / "api-key", report)
            )
            settings = settings.model_copy(update={"kafka_bootstrap_servers": bootstrap, "database_url": url})
            report("schema, topics and keys are in place")
            services = Supervisor(
                [Service(name=name, module=f"consent_ledger.{name}", log=data / "logs" / f"{name}.log")
                 for name in SERVICES],
                _environment(settings), servers=servers, report=report,
            )  # fmt: skip
            await stack.enter_async_context(services)
            addresses = _addresses(settings, key)
            await _await_ready(settings, addresses.api, services, report)
            _tell(data, said, settings, addresses)
            stack.callback(found.forget, data)
            yield Installation(
                settings=settings, addresses=addresses, services=services, kafka=kafka, postgres=postgres, data=data
            )
    finally:
        homes.release(data, remove=False)


def _clear(data: Path) -> None:
    """Remove what an earlier installation left; nothing else that may lie there."""
    for part in _PARTS:
        path = data / part
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


async def _close(servers: Sequence[LocalServer], *, keep: bool) -> None:
    """Stop servers in good order, and fast where that takes long: both recover, and whoever stops us waits."""
    if not keep:
        await asyncio.gather(*(asyncio.to_thread(server.stop, immediate=True) for server in servers))
    closing = {asyncio.create_task(asyncio.to_thread(server.close)): server for server in servers}
    if closing:
        _, slow = await asyncio.wait(closing, timeout=_SERVERS_GRACE_SECONDS)
        for task in slow:
            if (pid := closing[task].pid) is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        await asyncio.gather(*closing)


def _key_file(data: Path, said: Settings) -> Path:
    return said.key_file.expanduser().absolute() if "key_file" in said.model_fields_set else data / "consent-keys.json"


def _choose_port(data: Path, said: Settings, port: int | None) -> int:
    """Take the port that was asked for, else the one of the last time if it is free, else any."""
    if port is not None or "api_port" in said.model_fields_set:
        asked = port if port is not None else said.api_port
        if not is_free(asked):
            raise LocalServerError(f"something else listens on port {asked}: end it, or choose another with --port")
        return asked or free_port()
    memory = data / "api-port"
    if memory.exists() and is_free(int(memory.read_text(encoding="ascii"))):
        return int(memory.read_text(encoding="ascii"))
    chosen = free_port()
    memory.write_text(str(chosen), encoding="ascii")
    return chosen


async def _both(one: Coroutine[Any, Any, T], other: Coroutine[Any, Any, S]) -> tuple[T, S]:
    """Do both at the same time; where one fails, the other is still waited for."""
    done = await asyncio.gather(one, other, return_exceptions=True)
    for outcome in done:
        if isinstance(outcome, BaseException):
            raise outcome
    return cast(tuple[T, S], tuple(done))


async def _bring_up_kafka(kafka: Kafka | None, settings: Settings) -> str | None:
    """Start Kafka if it is ours, and make the topics that are missing."""
    if kafka is not None:
        await asyncio.to_thread(kafka.start)
        settings = settings.model_copy(update={"kafka_bootstrap_servers": kafka.bootstrap_servers})
    await topics.apply(settings.kafka(), prefix=settings.topic_prefix, partitions=settings.partitions)
    return settings.kafka_bootstrap_servers


async def _bring_up_database(
    postgres: Postgres | None, settings: Settings, kept: Path, report: Report
) -> tuple[SecretStr, str]:
    """Start PostgreSQL if it is ours, bring schema and keys into being, and return the URL and an API key."""
    # The tools of migration take as long to import as all the rest, and every other command does without.
    from consent_ledger.store.migrate import migrate  # noqa: PLC0415

    if postgres is not None:
        await asyncio.to_thread(postgres.start)
        settings = settings.model_copy(update={"database_url": SecretStr(postgres.url)})
    await migrate(settings.dsn)
    connection = await connect(settings.dsn, "consent_operator")
    try:
        await _make_keys(connection, settings.key_file, report)
        return SecretStr(settings.dsn), await _api_key(connection, kept)
    finally:
        await connection.close()


async def _make_keys(connection: Connection, key_file: Path, report: Report) -> None:
    if not await asyncio.to_thread(key_file.exists):
        if await operator.has_keys(connection):
            raise KeyUnavailableError(
                f"{key_file} is missing, and the database was written under it: put it back, for without it nobody "
                f"can be found or read again"
            )
        KeyFile.create(key_file)
        report(f"new key file {key_file}: keep a copy elsewhere, for losing it loses everything")
    await keys.service_keys(connection, KeyFile(key_file))


async def _api_key(connection: Connection, kept: Path) -> str:
    """Return the installation's own key with all rights, the same at every start while it is not revoked."""
    key = await asyncio.to_thread(_read, kept)
    if key and await api_keys.find(connection, key):
        return key
    everything = [api_keys.ALL]
    key = await api_keys.create(connection, scopes=api_keys.SCOPES, sources=everything, controllers=everything)
    await asyncio.to_thread(_write_secret, kept, key)
    return key


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii") if path.exists() else ""


def _write_secret(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text, encoding="ascii")


def _environment(settings: Settings) -> dict[str, str]:
    """Write settings as the services read them; what is set otherwise they inherit."""
    return {
        "CONSENT_DATABASE_URL": settings.dsn,
        "CONSENT_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers or "",
        "CONSENT_TOPIC_PREFIX": settings.topic_prefix,
        "CONSENT_PARTITIONS": str(settings.partitions),
        "CONSENT_KEY_FILE": str(settings.key_file),
        "CONSENT_API_HOST": settings.api_host,
        "CONSENT_API_PORT": str(settings.api_port),
        "CONSENT_LOG_ORIGIN": settings.log_origin,
        "CONSENT_LOG_DIRECTORY": settings.log_directory or "",
        "CONSENT_LEASE_SECONDS": str(settings.lease_seconds),
        "CONSENT_SEAL_SECONDS": str(settings.seal_seconds),
        # One port cannot serve the figures of several processes.
        "CONSENT_METRICS_PORT": "0",
    }


def _addresses(settings: Settings, key: str) -> Addresses:
    host = f"[{settings.api_host}]" if ":" in settings.api_host else settings.api_host
    return Addresses(
        kafka=settings.kafka_bootstrap_servers or "",
        database=settings.dsn,
        api=f"http://{host}:{settings.api_port}",
        api_key=key,
        topic_prefix=settings.topic_prefix,
        key_file=str(settings.key_file),
    )


async def _await_ready(settings: Settings, api: str, services: Supervisor, report: Report) -> None:
    """Wait until answers could be a yes; a register, which nobody may have loaded yet, is not waited for."""
    try:
        async with httpx.AsyncClient(timeout=5) as client, asyncio.timeout(READY_SECONDS):
            began = asyncio.get_running_loop().time()
            # An instant from before this start says nothing about what Kafka has got since.
            while not await is_ready(client, api, asyncio.get_running_loop().time() - began):
                services.require_hope()
                await asyncio.sleep(_ASK_SECONDS)
            connection = await connect(settings.dsn, "consent_operator")
            try:
                while await operator.relayed_partitions(connection) < settings.partitions:
                    services.require_hope()
                    await asyncio.sleep(_ASK_SECONDS)
            finally:
                await connection.close()
    except TimeoutError:
        raise ServiceError(
            f"the services were not ready within {READY_SECONDS:.0f} s; `consent doctor` shows more"
        ) from None
    report("all services are ready")


async def is_ready(client: httpx.AsyncClient, api: str, within_seconds: float) -> bool:
    """Say whether the servers are reachable, and the view was level with Kafka at an instant so many seconds ago."""
    try:
        answer = await client.get(f"{api}/readyz")
        checks = answer.json()["checks"]
    except (httpx.HTTPError, ValueError, KeyError):
        return False
    others = [value for name, value in checks.items() if name not in {"register", "horizon_age_s"}]
    age = checks.get("horizon_age_s")
    return (
        all(others) and age is not None and age < within_seconds and (not checks.get("register") or answer.is_success)
    )


def _tell(data: Path, said: Settings, settings: Settings, addresses: Addresses) -> None:
    owner = Process.of(os.getpid())
    if owner is not None:
        found.write(
            data,
            Running(
                owner=owner,
                kafka=None if said.kafka_bootstrap_servers else addresses.kafka,
                database=None if said.database_url else addresses.database,
                api=addresses.api, api_key=addresses.api_key, topic_prefix=settings.topic_prefix,
                partitions=settings.partitions, key_file=addresses.key_file,
            ),
        )  # fmt: skip
