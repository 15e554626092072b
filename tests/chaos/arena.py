"""One installation to be broken: topics, a database on a PostgreSQL of its own, service processes with short leases."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar

import asyncpg
import psutil

from consent_ledger.runtime.local import Postgres
from consent_ledger.runtime.local.guarded import Guarded

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
T = TypeVar("T")

LEASE_SECONDS = 1.0
PATIENCE_SECONDS = 150.0
_LOOK_SECONDS = 0.02
_GRACE_SECONDS = 10.0
# A connection that dies within a query surfaces in many ways.
_GONE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_MUTANT = Path(__file__).with_name("mutant.py")


async def until(condition: Callable[[], Awaitable[T | None]], what: str, seconds: float = PATIENCE_SECONDS) -> T:
    """Ask again and again, and return the first answer that is true. Raises TimeoutError naming what is missing."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (answer := await condition()):
        if loop.time() > deadline:
            raise TimeoutError(f"within {seconds:g} s not: {what}")
        await asyncio.sleep(_LOOK_SECONDS)
    return answer


class Process:
    """One service process, which may be killed, stopped and woken; it ends with the test process, however that ends."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environment = environment
        self._running: Guarded | None = None
        self.start()

    def start(self) -> None:
        """Start it, again after `kill`."""
        self._running = Guarded(
            self._command,
            log=self.log,
            stop_signal=signal.SIGKILL,
            grace_seconds=_GRACE_SECONDS,
            environment=self._environment,
        )

    async def kill(self) -> None:
        """Send SIGKILL, and return when it is gone; it may be stopped, or dead already."""
        running, self._running = self._running, None
        if running is not None:
            await asyncio.to_thread(running.end, signal.SIGKILL, _GRACE_SECONDS)

    def revive(self) -> None:
        """Start it again if it has ended by itself, as when the database was away while it started."""
        if self._running is not None and self._running.exit_status is not None:
            self._running.wait(_GRACE_SECONDS)
            self.start()

    async def stop(self) -> None:
        """Send SIGSTOP, and return when it stands still."""
        process = self._find()
        process.suspend()
        async with asyncio.timeout(_GRACE_SECONDS):
            while process.status() != psutil.STATUS_STOPPED:
                await asyncio.sleep(_LOOK_SECONDS)

    def wake(self) -> None:
        """Send SIGCONT."""
        self._find().resume()

    def said(self, what: str) -> int:
        """Count how often it has logged something, over all its starts."""
        return self.log.read_text(encoding="utf-8", errors="replace").count(what)

    def _find(self) -> psutil.Process:
        assert self._running is not None, f"{self.name} was killed"
        return psutil.Process(self._running.pid)


@dataclass(kw_only=True)
class Installation:
    """Where everything is, and the processes that were started."""

    postgres: Postgres
    database: str
    kafka: str
    prefix: str
    partitions: int
    directory: Path
    processes: dict[str, Process] = field(default_factory=dict)
    _connection: "Connection | None" = None
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def start(self, name: str, *, service: str = "recorder", mutant: str | None = None, **settings: object) -> Process:
        """Start a service process under a name of its own; `mutant` leaves a rule out (mutant.py)."""
        environment = {
            **os.environ,
            "CONSENT_DATABASE_URL": self.database,
            "CONSENT_KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "CONSENT_TOPIC_PREFIX": self.prefix,
            "CONSENT_PARTITIONS": str(self.partitions),
            "CONSENT_KEY_FILE": str(self.directory / "keys.json"),
            "CONSENT_INSTANCE": name,
            "CONSENT_LEASE_SECONDS": str(LEASE_SECONDS),
            **{f"CONSENT_{setting.upper()}": str(value) for setting, value in settings.items()},
        }
        command = [str(_MUTANT), service, mutant] if mutant else ["-m", f"consent_ledger.{service}"]
        process = Process(name, [sys.executable, *command], environment, self.directory / f"{name}.log")
        self.processes[name] = process
        return process

    async def fetch(self, query: str, *values: Any) -> list[asyncpg.Record]:
        """Ask the database as its superuser; waits while it is down."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._asking:
            while True:
                try:
                    if self._connection is None or self._connection.is_closed():
                        self._connection = await asyncpg.connect(self.database, timeout=5)
                    return await self._connection.fetch(query, *values)
                except _GONE:
                    self._connection = None
                    await asyncio.sleep(_LOOK_SECONDS)

    @asynccontextmanager
    async def supervised(self) -> AsyncIterator[None]:
        """Start what ends by itself again, as the supervisor of an installation does, as long as the block lasts."""

        async def supervise() -> None:
            while True:
                for process in self.processes.values():
                    process.revive()
                await asyncio.sleep(_LOOK_SECONDS)

        task = asyncio.create_task(supervise())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def owners(self) -> dict[int, str]:
        """Return by shard the name of the process that owns it now."""
        rows = await self.fetch(
            "SELECT shard, owner FROM consent.shard_head WHERE lease_until > clock_timestamp() ORDER BY shard"
        )
        return {row["shard"]: row["owner"].partition("/")[0] for row in rows}

    async def until_owned_by(self, name: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until one process owns every shard."""
        shards = range(self.partitions + 1)

        async def owned() -> bool:
            owners = await self.owners()
            return all(owners.get(shard) == name for shard in shards)

        await until(owned, f"{name} owns all shards", seconds)

    async def back_end(self, name: str) -> int:
        """Return the back end of a process that owns shards."""
        rows = await self.fetch("SELECT owner_pid FROM consent.shard_head WHERE owner LIKE $1 || '/%'", name)
        return int(rows[0]["owner_pid"])

    async def close(self) -> None:
        """End all processes."""
        await asyncio.gather(*(process.kill() for process in self.processes.values()))
        if self._connection is not None and not self._connection.is_closed():
            await self._connection.close()


class Trap:
    """Holds chosen back ends where they insert into a table, so that the moment of a fault is certain.

    A trigger waits for an advisory lock with the back end's own number, which only this session ever takes.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def laid(cls, installation: Installation, table: str) -> AsyncIterator[Self]:
        """Lay it on a table, holding nobody yet; at the end of the block everybody goes on."""
        connection: Connection = await asyncpg.connect(installation.database)
        try:
            await connection.execute(
                f"""
                CREATE FUNCTION public.trap() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    PERFORM set_config('lock_timeout', '0', true);
                    PERFORM pg_advisory_xact_lock_shared(hashtext('trap'), pg_backend_pid());
                    RETURN NULL;
                END $$;
                CREATE TRIGGER trap BEFORE INSERT ON consent.{table}
                    FOR EACH STATEMENT EXECUTE FUNCTION public.trap();
                """
            )
            yield cls(connection)
        finally:
            connection.terminate()

    async def hold(self, back_end: int) -> None:
        """From now on, this back end does not get past its next insert."""
        await self._connection.execute("SELECT pg_advisory_lock(hashtext('trap'), $1::int)", back_end)

    async def until_caught(self, back_end: int) -> None:
        """Wait until it stands in the trap."""

        async def caught() -> bool:
            found: bool = await self._connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = $1 AND NOT granted)",
                back_end,
            )
            return found

        await until(caught, "the back end inserts")

    async def release(self, back_end: int) -> None:
        """Let it go on."""
        await self._connection.execute("SELECT pg_advisory_unlock(hashtext('trap'), $1::int)", back_end)
