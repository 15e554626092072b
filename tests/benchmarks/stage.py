"""Servers, topics, keys and registers of one run, thrown away at its end, and the processes that run on them."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import asyncpg
import msgspec

from consent_ledger.cli.register import load_all, shipped
from consent_ledger.runtime import topics
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.local import Report, Servers, local_servers
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.supervise import Service, Supervisor
from consent_ledger.store import keys
from consent_ledger.store.migrate import migrate

LEDGER: Final = {name: f"consent_ledger.{name}" for name in ("recorder", "viewer", "relay")}
"""The processes of the service that lie between the events topic and the suppressions topic, with their modules."""

_TESTS: Final = Path(__file__).parents[1]
_START_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.02
_TAIL: Final = 4000
# Tells of each row when it was committed, and so which step took how long.
_POSTGRES: Final = {"track_commit_timestamp": "on"}


class _Said(msgspec.Struct):
    levelname: str
    message: str
    exc_info: str = ""


class RunError(Exception):
    """Something went otherwise than a measurement can use: a process died, events were lost or refused."""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """What a run happens on; `superuser` looks into the database."""

    settings: Settings
    servers: Servers
    superuser: Connection
    directory: Path

    @asynccontextmanager
    async def running(self, modules: Mapping[str, str]) -> AsyncIterator[Supervisor]:
        """Run processes, each `python -m <module>`. Raises `RunError` at the end if one of them had to be restarted."""
        services = [
            Service(name=name, module=module, log=self.directory / f"{name}.log") for name, module in modules.items()
        ]
        async with Supervisor(services, self._environment(), report=_silent) as supervisor:
            await until(_true_when(lambda: all(supervisor.pid(name) for name in modules)), "all processes run")
            yield supervisor
            ended = [name for name, count in supervisor.restarts.items() if count]
        if ended:
            raise RunError("\n".join(f"the {name} ended by itself:\n{self._said(name)}" for name in ended))

    def _environment(self) -> dict[str, str]:
        settings = self.settings
        path = [str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            "CONSENT_DATABASE_URL": settings.dsn,
            "CONSENT_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers or "",
            "CONSENT_TOPIC_PREFIX": settings.topic_prefix,
            "CONSENT_PARTITIONS": str(settings.partitions),
            "CONSENT_KEY_FILE": str(settings.key_file),
            "PYTHONPATH": os.pathsep.join(path),
        }

    def _said(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-_TAIL:]

    def complaints(self) -> dict[str, int]:
        """Count what the processes have logged as errors and warnings."""
        found: Counter[str] = Counter()
        for log in self.directory.glob("*.log"):
            for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(msgspec.MsgspecError):
                    said = msgspec.json.decode(line, type=_Said)
                    if said.levelname in {"WARNING", "ERROR", "CRITICAL"}:
                        last = said.exc_info.rstrip().rpartition("\n")[2]
                        found[": ".join(filter(None, [log.stem, said.message, last]))] += 1
        return dict(found)


@asynccontextmanager
async def staged(report: Report) -> AsyncIterator[Stage]:
    """Start servers and make them ready, registers included; afterwards nothing is left."""
    with TemporaryDirectory(prefix="consent-benchmark-") as name:
        async with local_servers(report=report, postgres_settings=_POSTGRES) as servers:
            settings = _settings(servers, Path(name))
            await migrate(settings.dsn)
            await _make_keys(settings)
            await topics.apply(settings.kafka(), prefix=settings.topic_prefix, partitions=settings.partitions)
            superuser = await asyncpg.connect(settings.dsn)
            try:
                stage = Stage(settings=settings, servers=servers, superuser=superuser, directory=Path(name))
                await _load_registers(stage, report)
                yield stage
            finally:
                await superuser.close()


def _settings(servers: Servers, directory: Path) -> Settings:
    return Settings.model_validate(
        {
            "database_url": servers.database_url,
            "kafka_bootstrap_servers": servers.kafka_bootstrap_servers,
            "topic_prefix": "benchmark.",
            "key_file": directory / "keys.json",
        }
    )


async def _make_keys(settings: Settings) -> None:
    connection = await connect(settings.dsn, "consent_operator")
    try:
        await keys.service_keys(connection, KeyFile.create(settings.key_file))
    finally:
        await connection.close()


async def _load_registers(stage: Stage, report: Report) -> None:
    async with stage.running(LEDGER):
        for loaded in await load_all(stage.settings, shipped()):
            if loaded.problem is not None:
                raise RunError(f"register {loaded.name}: {loaded.problem}")
            report(f"register {loaded.name} is in force as version {loaded.version}")


class Gate:
    """Holds the processes that are measured at a table's lock, so that a clock starts when all of them are up."""

    def __init__(self, connection: Connection, table: str) -> None:
        self._connection = connection
        self._table = table

    @classmethod
    @asynccontextmanager
    async def shut(cls, dsn: str, table: str) -> AsyncIterator["Gate"]:
        """Lock a table against whoever would write to it, until `open` or the end of the block."""
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute("BEGIN")
            await connection.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
            yield cls(connection, table)
        finally:
            await connection.close()

    async def reached(self) -> None:
        """Wait until somebody stands before it."""
        await until(self._is_reached, "the processes reach the gate")

    async def _is_reached(self) -> bool:
        waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = $1::text::regclass)"
        reached: bool = await self._connection.fetchval(waiting, self._table)
        return reached

    async def open(self) -> None:
        """Let everybody pass."""
        await self._connection.execute("COMMIT")


async def until(holds: Callable[[], Awaitable[bool]], what: str, seconds: float = _START_SECONDS) -> None:
    """Ask again and again until the answer is true. Raises `RunError` when it never is."""
    try:
        async with asyncio.timeout(seconds):
            while not await holds():
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise RunError(f"not within {seconds:.0f} s: {what}") from None


def _true_when(holds: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return holds()

    return ask


def _silent(_progress: str) -> None:
    """Say nothing: whoever measures finds out by himself that a process ended."""
