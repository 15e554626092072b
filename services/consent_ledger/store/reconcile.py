"""What a comparison of the suppressions topic with the view needs to read, and the one thing it may write."""

from collections.abc import AsyncIterator, Collection

from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements
from consent_ledger.store.relay import Row

_SQL = statements.load(__file__)

_PAGE = 1000


async def head(connection: Connection) -> int:
    """Return the newest version in the view."""
    seq: int = await connection.fetchval(_SQL["head"])
    return seq


async def is_published(connection: Connection, q: int, seq: int) -> bool:
    """Whether all versions up to `seq` are on the partition, and committed."""
    unsent: bool = await connection.fetchval(_SQL["unsent"], q, seq)
    return not unsent


async def rows(connection: Connection, q: int) -> AsyncIterator[list[Row]]:
    """Go through the view's rows of one partition by pages, in no order and in one snapshot; within a transaction."""
    cursor = await connection.cursor(_SQL["rows"], q)
    while page := await cursor.fetch(_PAGE):
        yield [Row(*row) for row in page]


async def request(connection: Connection, q: int, hashes: Collection[bytes]) -> None:
    """Ask the partition's owner to send the records of these addresses again."""
    await connection.execute(_SQL["request"], q, list(hashes))


async def raise_to(connection: Connection, seq: int) -> int:
    """Let all further versions of the view be higher than `seq`; as the viewer. Returns the newest version then."""
    raised: int = await connection.fetchval(_SQL["raise"], seq)
    return raised


async def lift(connection: Connection, hashes: Collection[bytes]) -> None:
    """Give rows of the view new versions, so that they are published as they are; as the viewer."""
    await connection.execute(_SQL["lift"], list(hashes))
