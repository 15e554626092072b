"""`POST /v1/changes`: the people about whom something changed since a place that the caller remembers."""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, NamedTuple
from uuid import UUID

import msgspec
from fastapi import Request, Response
from msgspec import Meta

from consent_ledger.api.access import Access
from consent_ledger.api.answers import Place
from consent_ledger.api.body import decode, json_response, read_body
from consent_ledger.api.database import Database
from consent_ledger.api.problems import ProblemError, forbidden, unavailable
from consent_ledger.api.questions import Name
from consent_ledger.domain.suppression import CALL_REGISTER, PURPOSES
from consent_ledger.runtime.clock import Clock
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import changes
from consent_ledger.store.decisions import BehindError, behind_barrier

BODY_MAX_BYTES: Final = 1_048_576
CONTROLLERS_MAX: Final = 100
LIMIT_MAX: Final = 10_000

_FORMAT: Final = 1
_OF_EVERYONE: Final = frozenset({PURPOSES, CALL_REGISTER})


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a request.

    `cursor`: that of the answer before. Without one: no changes, and the cursor of now; with `from_start` everyone who
    ever had anything on record.
    """

    controllers: Annotated[list[Name], Meta(min_length=1, max_length=CONTROLLERS_MAX)]
    cursor: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    from_start: bool = False
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX)] = 1_000


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """An address whose decisions changed: ask about it again.

    `hash`: the keyed hash of the address, in lower-case hex. Null where `type` is `!purposes` (what holds for addresses
    with nothing on record) or `!dnc` (a do-not-call register, with `controller` null): then ask about everyone.
    `version` rises for ever. `position` and `recorded_at`: the entry that last changed it.
    """

    controller: str | None
    type: str
    hash: str | None
    version: int
    position: Place
    recorded_at: datetime


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an answer: each address once, in the order of the changes.

    `cursor`: where to go on; read nothing into it. `more` false: all that was recorded before the question, and all
    that Kafka held at `horizon`, is in this answer or in those before it.
    """

    changes: list[Change]
    cursor: str
    more: bool
    horizon: datetime


class Cursor(NamedTuple):
    """A place in the order of changes of one installation."""

    installation: UUID
    seq: int

    def dumps(self) -> str:
        """Write it down for the caller, who need not read it."""
        packed = msgspec.msgpack.encode((_FORMAT, self.installation.bytes, self.seq))
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read_cursor(text: str) -> Cursor:
    """Read what `dumps` wrote. Raises `ProblemError` 422."""
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        number, installation, seq = msgspec.msgpack.decode(packed, type=tuple[int, bytes, int])
        cursor = Cursor(UUID(bytes=installation), seq)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        number, cursor = 0, None
    if number != _FORMAT or cursor is None or cursor.seq < 0:
        raise ProblemError(422, "invalid", "cursor is not that of an answer")
    return cursor


class Changes:
    """Tells who changed, for the controllers of a key."""

    def __init__(self, access: Access, database: Database, clock: Clock, settings: Settings) -> None:
        self._access = access
        self._database = database
        self._clock = clock
        self._patience = timedelta(milliseconds=settings.barrier_ms)
        self._max_staleness = timedelta(seconds=settings.max_staleness)

    async def post(self, request: Request) -> Response:
        """Answer one request. What the key may not ask about is refused whole, whether it exists or not.

        Raises `ProblemError`, 503 when nothing is to be told and that may be because the service lags behind Kafka.
        """
        key = await self._access.require(request, "decide")
        asked = _read(await read_body(request, BODY_MAX_BYTES))
        if not all(map(key.acts_for, asked.controllers)):
            raise forbidden()
        cursor = None if asked.cursor is None else read_cursor(asked.cursor)
        return json_response(await self._database.read(lambda connection: self._answer(connection, asked, cursor)))

    async def _answer(self, connection: Connection, asked: Asked, cursor: Cursor | None) -> Answered:
        try:
            async with behind_barrier(connection, self._patience, self._clock) as snapshot:
                place = await changes.place(connection)
                begin = _begin(asked, cursor, place)
                found = await changes.since(connection, asked.controllers, begin, asked.limit)
                now = self._clock.now(snapshot.now)
        except BehindError:
            raise unavailable("the view") from None
        is_stale = snapshot.horizon < now - self._max_staleness
        if is_stale and not found:
            raise unavailable("the newest of Kafka")
        is_full = len(found) == asked.limit
        reached = found[-1].seq if is_full else place.seq
        return Answered(
            changes=_told(found),
            cursor=Cursor(place.installation, reached).dumps(),
            more=is_full or is_stale,
            horizon=snapshot.horizon,
        )


def _read(body: bytes) -> Asked:
    asked = decode(body, Asked)
    if asked.cursor is not None and asked.from_start:
        raise ProblemError(422, "invalid", "cursor and from_start exclude each other")
    return asked


def _begin(asked: Asked, cursor: Cursor | None, place: changes.Place) -> int:
    """Find where to go on. Raises `ProblemError` 409: what happened since is not known here, so begin anew."""
    if cursor is None:
        return 0 if asked.from_start else place.seq
    if cursor.installation != place.installation or cursor.seq > place.seq:
        raise ProblemError(409, "cursor-unknown", "the cursor is not of this ledger; begin again with from_start")
    return cursor.seq


def _told(found: Sequence[changes.Change]) -> list[Change]:
    return [
        Change(
            controller=one.controller, type=one.type, hash=None if one.type in _OF_EVERYONE else one.hash.hex(),
            version=one.seq, position=Place(one.shard, one.pos), recorded_at=one.recorded_at,
        )
        for one in found
    ]  # fmt: skip
