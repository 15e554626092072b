"""Real servers on this machine, from packages, for `consent up`, the demo and the tests."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from consent_ledger.runtime.local.errors import LocalServerError
from consent_ledger.runtime.local.kafka import Kafka
from consent_ledger.runtime.local.postgres import Postgres
from consent_ledger.runtime.local.server import Report, silent

__all__ = ["Kafka", "LocalServerError", "Postgres", "Report", "Servers", "local_servers"]


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    """A running Kafka and a running PostgreSQL; each can be killed, stopped and started again by itself."""

    kafka: Kafka
    postgres: Postgres

    @property
    def database_url(self) -> str:
        """The superuser's URL of the database `postgres`."""
        return self.postgres.url

    @property
    def kafka_bootstrap_servers(self) -> str:
        """What Kafka clients connect to."""
        return self.kafka.bootstrap_servers


@asynccontextmanager
async def local_servers(
    data: Path | None = None,
    *,
    report: Report = silent,
    kafka_settings: Mapping[str, str] | None = None,
    postgres_settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Servers]:
    """Start both servers side by side, and end them with the block; what they hold is kept in `data`, else nowhere.

    `report` is called from other threads. Raises LocalServerError, with nothing left running, if one cannot start.
    """
    servers = Servers(
        kafka=Kafka(data / "kafka" if data else None, report=report, settings=kafka_settings),
        postgres=Postgres(data / "postgres" if data else None, report=report, settings=postgres_settings),
    )
    try:
        await _both(servers.kafka.start, servers.postgres.start)
        yield servers
    finally:
        await _both(servers.kafka.close, servers.postgres.close)


async def _both(*calls: Callable[[], None]) -> None:
    outcomes = await asyncio.gather(*(asyncio.to_thread(call) for call in calls), return_exceptions=True)
    for outcome in outcomes:
        if outcome is not None:
            raise outcome
