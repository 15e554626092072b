"""The refusals of a time, and how far and how fast the topic and its consumers have them."""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import NamedTuple

from consent_ledger.domain import events
from consent_ledger.domain import register as registers
from consent_ledger.domain.propagation import PUBLISHED, REFUSALS, Refusal, Stage, refusal, uses
from consent_ledger.domain.register import Register
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import consumers, ledger, statements

_SQL = statements.load(__file__)


class Spread(NamedTuple):
    """What `domain.propagation.measure` needs."""

    refusals: list[Refusal]
    topic: Stage
    consumers: list[Stage]
    now: datetime


async def spread(connection: Connection, since: timedelta, partitions: int) -> Spread:
    """Read the refusals that were recorded within so long before now."""
    now: datetime = await connection.fetchval(_SQL["now"])
    version, document = await ledger.read_register(connection)
    register = registers.compile(document, version)
    rows = await connection.fetch(_SQL["refusals"], now - since, list(REFUSALS))
    refusals = [
        refusal(
            register, events.read_body(row["body"]), event_id=row["event_id"], type=row["type"],
            declared_at=row["occurred_at"], recorded_at=row["recorded_at"], controllers=row["controllers"],
        )
        for row in rows
    ]  # fmt: skip
    topic, *others = await stages(connection, register, now - since, partitions)
    return Spread(refusals, topic, others, now)


async def stages(connection: Connection, register: Register, since: datetime, partitions: int) -> list[Stage]:
    """Return how far the topic, which comes first, and each consumer are, and how long it took since an instant."""
    delays = {row["minute"]: row["worst"] for row in await connection.fetch(_SQL["publish_delays"], since)}
    topic = Stage(name=PUBLISHED, instant=await connection.fetchval(_SQL["published"]), delays=delays)
    return [topic, *await _consumers(connection, register, since, partitions)]


async def _consumers(connection: Connection, register: Register, since: datetime, partitions: int) -> list[Stage]:
    delays: dict[str, dict[datetime, timedelta]] = defaultdict(dict)
    for row in await connection.fetch(_SQL["ack_delays"], since):
        delays[row["consumer"]][row["minute"]] = row["worst"]
    instants: dict[str, list[datetime | None]] = defaultdict(list)
    for copy in await consumers.instances(connection, partitions):
        instants[copy.consumer].append(copy.instant)
    return [
        Stage(
            name=one.name, controllers=frozenset(one.controllers), since=one.since,
            uses=uses(register, one.controllers, one.purposes, one.channels), instant=_least(instants[one.name]),
            delays=delays[one.name],
        )
        for one in await consumers.registered(connection)
    ]  # fmt: skip


def _least(instants: list[datetime | None]) -> datetime | None:
    """A consumer has what each of its copies has."""
    known = [instant for instant in instants if instant is not None]
    return min(known) if known and len(known) == len(instants) else None
