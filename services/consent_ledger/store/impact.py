"""Everything on record, for questions about another register. Reads only, however long it takes."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NamedTuple

from consent_ledger.domain.decision import CallRegisters
from consent_ledger.domain.facts import Dossier as Facts
from consent_ledger.domain.facts import Fact
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.store import dnc, statements

_SQL = statements.load(__file__)

_CHUNK = 500


class Dossier(NamedTuple):
    """What one controller knows of one person."""

    controller: str
    facts: tuple[Fact, ...]
    calls: CallRegisters


class WithoutController(NamedTuple):
    """Refusals that a new controller is not reached by: they name none, or this one before it was registered."""

    naming_none: int
    naming_these: int


class Everything:
    """All dossiers as they stood at one instant."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self.now = now

    async def count(self, controllers: Collection[str]) -> int:
        """Count the dossiers of controllers."""
        number: int = await self._connection.fetchval(_SQL["count"], list(controllers))
        return number

    async def dossiers(self, controllers: Collection[str], sample: int | None = None) -> AsyncIterator[Dossier]:
        """Give the dossiers of controllers, all or so many at random, a chunk in memory at a time."""
        wanted = list(controllers)
        rows = self._connection.cursor(*(
            (_SQL["dossiers"], wanted) if sample is None else (_SQL["sample"], wanted, sample)
        ))  # fmt: skip
        cursor = await rows
        while some := await cursor.fetch(_CHUNK):
            chunk = [(row[0], Facts.loads(row[1]).facts) for row in some]
            phones = {i[2] for _, facts in chunk for fact in facts for i in fact.identifiers if i[1] == "phone"}
            calls = await dnc.histories(self._connection, controllers, phones) if phones else {}
            for controller, facts in chunk:
                yield Dossier(controller, facts, calls.get(controller, {}))


@asynccontextmanager
async def reading(dsn: str) -> AsyncIterator[Connection]:
    """Open a connection whose questions may take as long as they need."""
    connection = await connect(dsn, "consent_operator", statement_timeout="0", idle_in_transaction_session_timeout="0")
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def everything(connection: Connection) -> AsyncIterator[Everything]:
    """Hold one consistent snapshot, in which nothing can be written, as long as the block lasts."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        yield Everything(connection, await connection.fetchval(_SQL["now"]))


async def without_controller(
    connection: Connection, types: Collection[str], controllers: Collection[str]
) -> WithoutController:
    """Count, over the whole ledger, the refusals of these types that controllers registered just now do not know of."""
    row = await connection.fetchrow(_SQL["without_controller"], list(types), list(controllers))
    assert row is not None  # noqa: S101 - an aggregate always gives a row
    return WithoutController(*row)
