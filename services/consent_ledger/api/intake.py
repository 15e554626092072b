"""`POST /v1/events`: events over HTTP onto Kafka, and word from the ledger for those who wait for it."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from fastapi import Request, Response

from consent_ledger.api.access import Access
from consent_ledger.api.body import json_response, preferred_wait, read_body
from consent_ledger.api.database import Database
from consent_ledger.api.problems import ProblemError, forbidden, urn
from consent_ledger.api.publisher import KafkaPlace, Publisher, Record
from consent_ledger.domain import cloudevents, events
from consent_ledger.domain.bucket import key_of
from consent_ledger.domain.catalogue import VIEWED
from consent_ledger.domain.cloudevents import Message
from consent_ledger.domain.events import CONTROL_TYPES, Event, Rejection
from consent_ledger.domain.refusals import UNKNOWN_SOURCE
from consent_ledger.store import receipts
from consent_ledger.store.api_keys import ApiKey
from consent_ledger.store.receipts import Outcome, Sent, ShardPlace

BODY_MAX_BYTES: Final = 1_048_576
EVENTS_MAX: Final = 1_000

# Reasons of a record of which nothing could be read.
_UNREAD: Final = frozenset({"NOT_JSON", "NOT_UTF8", "NULL_VALUE"})
_FIRST_POLL_SECONDS: Final = 0.002
_LAST_POLL_SECONDS: Final = 0.05


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a request: what goes to Kafka if `event` is there, and what is wrong with it if anything is."""

    message: Message
    event: Event | None
    rejection: Rejection | None

    @property
    def event_id(self) -> UUID | None:
        """The event's id, if it has one that can be read."""
        if self.event is not None:
            return self.event.id
        return self.rejection.event_id if self.rejection else None


class Intake:
    """Takes events from publishers."""

    def __init__(self, access: Access, database: Database, publisher: Publisher) -> None:
        self._access = access
        self._database = database
        self._publisher = publisher

    async def post(self, request: Request) -> Response:
        """Answer one request.

        202 with what is on Kafka and what is not; with `Prefer: wait=N` (RFC 7240) 200 once the ledger has them all.
        A malformed refusal is taken, untouched, with a warning: the recorder suppresses what can be read of it.
        """
        key = await self._access.require(request, "publish")
        body = await read_body(request, BODY_MAX_BYTES)
        items = _read(request, body)
        _allow(items, key)
        accepted = [item for item in items if item.event is not None]
        wait = preferred_wait(request)
        before = await self._places() if wait and accepted else {}
        sent = await self._publisher.publish([_record(item) for item in accepted])
        if not wait:
            return json_response(_receipt(items), 202)
        applied = {"Preference-Applied": f"wait={wait}"}
        try:
            outcomes = await self._wait(accepted, sent, before, wait)
        except ProblemError:
            # The ledger went away meanwhile; what Kafka has is accepted all the same.
            outcomes = None
        if outcomes is None:
            return json_response(_receipt(items), 202, applied)
        return json_response({"results": _results(items, outcomes)}, 200, applied)

    async def _places(self) -> dict[int, ShardPlace]:
        return await self._database.read(lambda connection: receipts.places(connection, self._publisher.topic))

    async def _wait(
        self, accepted: Sequence[Item], sent: Sequence[KafkaPlace], before: dict[int, ShardPlace], seconds: int
    ) -> list[Outcome] | None:
        """Return what the ledger made of the records, None when it does not have them all in time."""
        last = dict[int, int]()
        for place in sent:
            last[place.partition] = max(place.offset, last.get(place.partition, 0))
        deadline, pause = time.monotonic() + seconds, _FIRST_POLL_SECONDS
        while not _passed(places := await self._places(), last):
            if time.monotonic() + pause > deadline:
                return None
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LAST_POLL_SECONDS)
        records = [
            Sent(
                item.event.id,
                places[place.partition].shard,
                place.offset,
                before[place.partition].next_pos if place.partition in before else 0,
            )
            for item, place in zip(accepted, sent, strict=True)
            if item.event is not None
        ]
        return await self._database.read(lambda connection: receipts.outcomes(connection, records))


def _passed(places: dict[int, ShardPlace], last: dict[int, int]) -> bool:
    return all(number in places and places[number].next_offset > offset for number, offset in last.items())


# -- reading


def _read(request: Request, body: bytes) -> list[Item]:
    """Read the events. Raises `ProblemError` where there is nothing to read, too much, or a load of a register."""
    media = cloudevents.media_type(request.headers.get("content-type"))
    messages = cloudevents.from_http(media, request.headers.items(), body)
    if not isinstance(messages, list):
        status = 415 if messages.reason == "BAD_CONTENT_TYPE" else 400
        raise ProblemError(status, messages.reason, messages.detail)
    if len(messages) > EVENTS_MAX:
        raise ProblemError(413, "too-many", f"more than {EVENTS_MAX} events")
    items = [_item(message) for message in messages]
    if items and all(item.event is None and item.rejection and item.rejection.reason in _UNREAD for item in items):
        rejection = items[0].rejection
        assert rejection is not None  # noqa: S101 - just looked
        raise ProblemError(400, rejection.reason, rejection.detail)
    for index, item in enumerate(items):
        if item.event is not None and item.event.type in CONTROL_TYPES:
            raise ProblemError(422, "control-event", "registers are loaded by an operator, not published", index=index)
        if item.event is not None and item.event.type == VIEWED:
            raise ProblemError(422, "look", "a look is recorded by the service that shows, not published", index=index)
    return items


def _item(message: Message) -> Item:
    said = events.decode(None, message.value, message.headers)
    if isinstance(said, Rejection):
        return Item(message=message, event=None, rejection=said)
    event, rejection = said if isinstance(said, tuple) else (said, None)
    return Item(message=message, event=event, rejection=rejection)


def _allow(items: Sequence[Item], key: ApiKey) -> None:
    """Refuse the whole request if the key does not speak for one of its sources.

    A malformed refusal of which no source can be read passes: it suppresses, and that is never refused to a publisher.
    """
    for item in items:
        if item.event is None or (item.rejection is not None and item.event.source == UNKNOWN_SOURCE):
            continue
        if not key.speaks_for(item.event.source):
            raise forbidden()


# -- writing


def _record(item: Item) -> Record:
    assert item.event is not None  # noqa: S101 - only accepted items are sent
    return Record(key_of(item.event), item.message.value, item.message.headers)


def _receipt(items: Sequence[Item]) -> dict[str, list[dict[str, Any]]]:
    accepted: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    for index, item in enumerate(items):
        if item.event is None:
            rejected.append({"index": index, "id": item.event_id, "problem": _problem(item)})
        elif warning := _warning(item):
            accepted.append({"id": item.event.id, "warning": warning})
        else:
            accepted.append({"id": item.event.id})
    return {"accepted": accepted, "rejected": rejected}


def _warning(item: Item) -> str | None:
    return item.rejection.reason if item.rejection else item.event.warning if item.event else None


def _problem(item: Item) -> dict[str, str]:
    reason, detail = (item.rejection.reason, item.rejection.detail) if item.rejection else ("UNREADABLE", "")
    return {"type": urn(reason), "title": reason, "detail": detail}


def _results(items: Sequence[Item], outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Say of every event of the request what became of it, in order."""
    remaining = iter(outcomes)
    results = []
    for item in items:
        if item.event is None:
            reason = item.rejection.reason if item.rejection else "UNREADABLE"
            outcome = Outcome("rejected", None, None, None, reason)
        else:
            outcome = next(remaining)
        results.append({"id": item.event_id, **outcome._asdict()})
    return results
