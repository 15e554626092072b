"""What consumers of the suppressions topic have reported, and how late they were."""

from collections.abc import Sequence
from datetime import datetime

from consent_ledger.domain.acks import Ack
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)


async def take(connection: Connection, acks: Sequence[tuple[Ack, datetime]]) -> int:
    """Keep acknowledgements of different keys, each with the time at which the broker had it.

    Returns how many are of registered consumers; the others are not kept.
    """
    columns = [
        (ack.consumer, ack.instance, ack.partition, ack.offset, ack.seq, ack.instant, ack.applied_at, at)
        for ack, at in acks
    ]
    known: int = await connection.fetchval(_SQL["take"], *(list(column) for column in zip(*columns, strict=True)))
    return known


async def retire(connection: Connection, consumer: str, instance: str, partition: int) -> None:
    """Forget what a copy that is no more has reported of a partition."""
    await connection.execute(_SQL["retire"], consumer, instance, partition)


async def behind(connection: Connection) -> dict[str, float]:
    """Return by consumer how many seconds its copy that is furthest behind knows nothing of."""
    return {row["name"]: row["seconds"] for row in await connection.fetch(_SQL["behind"])}


async def forget(connection: Connection) -> None:
    """Drop what is older than thirty days."""
    await connection.execute(_SQL["forget"])
