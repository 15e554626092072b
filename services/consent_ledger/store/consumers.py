"""Registered consumers of the suppressions topic, and their copies as they have reported."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)


class Consumer(NamedTuple):
    """A tool that follows the suppressions topic, registered `since`; without purposes or channels, for all."""

    name: str
    controllers: list[str]
    purposes: list[str]
    channels: list[str]
    since: datetime


class Instance(NamedTuple):
    """One copy of a consumer. `instant`: it knows all that Kafka held then; None while it lacks a partition."""

    consumer: str
    instance: str
    partitions: list[int]
    instant: datetime | None
    reported_at: datetime


async def add(
    connection: Connection, name: str, *, controllers: Sequence[str], purposes: Sequence[str], channels: Sequence[str]
) -> Consumer | None:
    """Register a consumer; None: its name is taken."""
    since = await connection.fetchval(_SQL["add"], name, controllers, purposes, channels)
    return None if since is None else Consumer(name, [*controllers], [*purposes], [*channels], since)


async def remove(connection: Connection, name: str) -> bool:
    """Forget a consumer and all that it reported; False: there is none."""
    return await connection.fetchval(_SQL["remove"], name) is not None


async def registered(connection: Connection) -> list[Consumer]:
    """Return all consumers, by name."""
    return [Consumer(*row) for row in await connection.fetch(_SQL["all"])]


async def find(connection: Connection, name: str) -> Consumer | None:
    """Return one consumer."""
    return next((one for one in await registered(connection) if one.name == name), None)


async def instances(connection: Connection, partitions: int) -> list[Instance]:
    """Return every copy that has reported, of a topic of so many partitions."""
    return [Instance(*row) for row in await connection.fetch(_SQL["instances"], partitions)]
