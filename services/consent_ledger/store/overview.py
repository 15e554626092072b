"""What may be known about the ledger as a whole: the register and its versions, and how fresh the view is."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)


class RegisterVersion(NamedTuple):
    """One load of the register: an entry of the control shard."""

    version: int
    digest: bytes
    valid_from: datetime
    recorded_at: datetime
    shard: int
    position: int

    @property
    def in_force_since(self) -> datetime:
        """The instant of its recording, or the later one that the load names."""
        return max(self.valid_from, self.recorded_at)


class ScheduledVersion(NamedTuple):
    """A load that comes into force at `valid_from`, unless a later one takes its place."""

    event_id: UUID
    valid_from: datetime
    recorded_at: datetime
    shard: int
    position: int


class Sweep(NamedTuple):
    """How far the view has been decided again under the register that it stands on.

    `controllers` are those still concerned; of `total` dossiers of all controllers, `swept` have been looked at.
    """

    version: int
    controllers: tuple[str, ...]
    swept: int
    total: int


class Progress(NamedTuple):
    """The version of the register in force and the one that the view has come to, 0 where none was ever loaded.

    `horizon_age_s` None: the view has not yet caught up with Kafka once.
    """

    register_version: int
    view_version: int
    horizon_age_s: float | None


async def register_versions(connection: Connection) -> list[RegisterVersion]:
    """Return all versions, the one in force last."""
    return [RegisterVersion(*row) for row in await connection.fetch(_SQL["versions"])]


async def register_version_at(connection: Connection, instant: datetime) -> int:
    """Return the version in force at an instant, 0 when there was none: what a replay of that instant decides under.

    What single entries were recorded under stands in the entries themselves.
    """
    version: int = await connection.fetchval(_SQL["version_at"], instant)
    return version


async def scheduled_registers(connection: Connection) -> list[ScheduledVersion]:
    """Return the loads that are still to come into force, the next one first."""
    return [ScheduledVersion(*row) for row in await connection.fetch(_SQL["scheduled"])]


async def register_document(connection: Connection, version: int) -> dict[str, Any]:
    """Return the whole register that a version brought into force."""
    document: dict[str, Any] = await connection.fetchval(_SQL["document"], version)
    return document


async def progress(connection: Connection) -> Progress:
    """Return how far the ledger has come."""
    row = await connection.fetchrow(_SQL["progress"])
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    return Progress(*row)


async def sweep(connection: Connection) -> Sweep:
    """Return how far a register load has been taken to everybody it concerns."""
    row = await connection.fetchrow(_SQL["sweep"])
    assert row is not None  # noqa: S101 - view_head has one row
    version, controllers, swept, total = row
    return Sweep(version, tuple(controllers), swept if controllers else total, total)
