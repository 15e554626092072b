"""The API's way to Postgres: connected when first needed, and a clear answer while it is away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import asyncpg

from consent_ledger.api.problems import unavailable
from consent_ledger.runtime.postgres import Connection, Pool, Role, create_pool

T = TypeVar("T")

_POOL_SIZE: Final = 8
_WAIT_SECONDS: Final = 5.0
# What a lost, refused, exhausted or restarting server looks like from here.
_AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)


class Database:
    """A pool of connections with the API's rights, which are to read, or with those of an officer."""

    def __init__(self, dsn: str, role: Role = "consent_api", size: int = _POOL_SIZE) -> None:
        self._dsn = dsn
        self._role: Role = role
        self._size = size
        self._pool: Pool | None = None
        self._opening = asyncio.Lock()

    async def read(self, question: Callable[[Connection], Awaitable[T]]) -> T:
        """Ask once, and once more where the connection turns out to be dead. Raises `ProblemError` 503."""
        try:
            return await self._ask(question)
        except _AWAY:
            # A pooled connection whose server was restarted shows it only when it is used.
            pass
        try:
            return await self._ask(question)
        except _AWAY:
            raise unavailable("the ledger") from None

    async def _ask(self, question: Callable[[Connection], Awaitable[T]]) -> T:
        async with asyncio.timeout(_WAIT_SECONDS):
            pool = await self._connected()
        async with pool.acquire(timeout=_WAIT_SECONDS) as connection:
            return await question(connection)  # type: ignore[arg-type]

    async def _connected(self) -> Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await create_pool(self._dsn, self._role, size=self._size)
            return self._pool

    async def close(self) -> None:
        """Close all connections; what is still being asked is cut off."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None
