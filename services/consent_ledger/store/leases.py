"""What every take-over begins with: the back end of an owner whose lease has passed is ended.

It may be stopped within a transaction and hold the row for which its successor would wait.
"""

from collections.abc import Iterable

from asyncpg import Record

from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)


async def end_back_ends(connection: Connection, owners: Iterable[Record]) -> None:
    """End the back ends (`pid`) of silent owners.

    Only the user who logged in may end that user's back ends; the service's own role may not.
    """
    for row in owners:
        async with connection.transaction():
            await connection.execute("SET LOCAL ROLE NONE")
            await connection.execute(_SQL["terminate"], row["pid"])
