"""What mail tools asked about a campaign and were answered: written once, and kept for its time."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)

_COLUMNS = (
    "request", "ordinal", "question", "controller", "type", "hash", "purpose", "channel", "at", "allow", "reason",
    "shard", "pos",
)  # fmt: skip


class Answer(NamedTuple):
    """One answer about one address. `hash` None: it is no address, or one of a controller without a key."""

    question: int
    controller: str
    type: str | None
    hash: bytes | None
    purpose: str | None
    channel: str | None
    at: datetime | None
    allow: bool
    reason: str
    shard: int | None
    pos: int | None


class Request(NamedTuple):
    """Everything that one request was answered. `id` makes that it is remembered once, however often it is tried."""

    id: UUID
    campaign: str
    api_key: str
    known: str | None
    horizon: datetime | None
    answers: Sequence[Answer]


class Count(NamedTuple):
    """How often a campaign got an answer."""

    controller: str
    purpose: str | None
    channel: str | None
    allow: bool
    reason: str
    answers: int


class Span(NamedTuple):
    """How often a campaign asked, first and last."""

    requests: int
    first: datetime | None
    last: datetime | None


class About(NamedTuple):
    """What a campaign was answered about an address."""

    answered_at: datetime
    controller: str
    purpose: str | None
    channel: str | None
    at: datetime | None
    allow: bool
    reason: str
    shard: int | None
    position: int | None
    known: str | None
    horizon: datetime | None


class Refused(NamedTuple):
    """A check at the time of sending that was answered no."""

    answered_at: datetime
    campaign: str
    purpose: str | None
    channel: str | None
    reason: str


async def refused(connection: Connection, controller: str, hashes: Collection[bytes]) -> list[Refused]:
    """Return the first ten thousand checks about these addresses that were answered no, the earliest first."""
    return [Refused(*row) for row in await connection.fetch(_SQL["refused"], controller, list(hashes))]


async def remember(connection: Connection, request: Request) -> None:
    """Write down a request and all its answers, or nothing."""
    async with connection.transaction():
        row = (request.id, request.campaign, request.api_key, request.known, request.horizon)
        if await connection.execute(_SQL["begin"], *row) == "INSERT 0 0":
            return
        records = [(request.id, ordinal, *answer) for ordinal, answer in enumerate(request.answers)]
        await connection.copy_records_to_table("campaign_answer", records=records, columns=_COLUMNS)


async def counts(connection: Connection, campaign: str) -> list[Count]:
    """Return how often a campaign got which answer."""
    return [Count(*row) for row in await connection.fetch(_SQL["counts"], campaign)]


async def span(connection: Connection, campaign: str) -> Span:
    """Return how often a campaign asked, and when."""
    row = await connection.fetchrow(_SQL["span"], campaign)
    assert row is not None  # noqa: S101 - an aggregate always gives a row
    return Span(*row)


async def about(connection: Connection, campaign: str, hashes: Collection[bytes]) -> list[About]:
    """Return everything that a campaign was answered about an address, by its hashes, in the order of time."""
    return [About(*row) for row in await connection.fetch(_SQL["about"], campaign, list(hashes))]


async def count_old(connection: Connection, before: datetime) -> int:
    """Count answers given before an instant."""
    found: int = await connection.fetchval(_SQL["count_old"], before)
    return found


async def delete_old(connection: Connection, before: datetime) -> int:
    """Delete some of the requests answered before an instant; return the number of their answers.

    0: there are none left.
    """
    ids = [row["id"] for row in await connection.fetch(_SQL["old"], before)]
    deleted = await connection.execute(_SQL["delete_answers"], ids)
    await connection.execute(_SQL["delete_requests"], ids)
    return int(deleted.rpartition(" ")[2])
