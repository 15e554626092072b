"""What became of rows and lines that a command published: waited for, and written down one by one."""

import asyncio
import csv
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TextIO
from uuid import UUID

from consent_ledger.cli.terminal import UNAVAILABLE, fail
from consent_ledger.domain.bucket import key_of
from consent_ledger.domain.events import Event
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.publish import Placed, Publisher
from consent_ledger.store import receipts
from consent_ledger.store.receipts import Outcome, Sent, ShardPlace

COLUMNS: Final = ("outcome", "reason", "event_id")
_SECONDS: Final = 60.0
_ASK_SECONDS: Final = 0.01
_WORDS: Final = {"entry": "recorded", "duplicate": "duplicate", "rejected": "refused"}


class Item(NamedTuple):
    """One row or line, by its number: what is to be published of it, or why nothing is."""

    number: int
    event: Event | None
    value: bytes
    reason: str | None = None


class Told(NamedTuple):
    """What became of it: recorded, duplicate, refused, or ready where nothing was to be published."""

    number: int
    outcome: str
    reason: str | None
    event_id: UUID | None


class Recording:
    """Publishes events and waits until the ledger has each."""

    def __init__(self, connection: Connection, publisher: Publisher, topic: str) -> None:
        self._connection = connection
        self._publisher = publisher
        self._topic = topic

    async def record(self, items: Sequence[Item]) -> list[Told]:
        """Publish what can be, and return what became of every item, in order."""
        going = [item for item in items if item.event is not None]
        before = await receipts.places(self._connection, self._topic)
        placed = await self._publisher.send_all([(key_of(item.event), item.value) for item in going if item.event])
        outcomes = iter(await self._wait(going, placed, before))
        return [_told(item, next(outcomes)) if item.event is not None else refused(item) for item in items]

    async def _wait(
        self, items: Sequence[Item], placed: Sequence[Placed], before: dict[int, ShardPlace]
    ) -> list[Outcome]:
        last: dict[int, int] = {}
        for place in placed:
            last[place.partition] = max(place.offset, last.get(place.partition, -1))
        try:
            async with asyncio.timeout(_SECONDS):
                while not _has_passed(now := await receipts.places(self._connection, self._topic), last):
                    await asyncio.sleep(_ASK_SECONDS)
        except TimeoutError:
            fail(f"published but not recorded after {_SECONDS:.0f} s: do the services run? The same again is harmless",
                 UNAVAILABLE)  # fmt: skip
        sent = [
            Sent(
                item.event.id, now[place.partition].shard, place.offset,
                before[place.partition].next_pos if place.partition in before else 0,
            )
            for item, place in zip(items, placed, strict=True) if item.event is not None
        ]  # fmt: skip
        return await receipts.outcomes(self._connection, sent)


def _has_passed(places: dict[int, ShardPlace], last: dict[int, int]) -> bool:
    return all(number in places and places[number].next_offset > offset for number, offset in last.items())


def _told(item: Item, outcome: Outcome) -> Told:
    event_id = item.event.id if item.event is not None else None
    return Told(item.number, _WORDS[outcome.status], outcome.reason or item.reason, event_id)


def refused(item: Item) -> Told:
    """Tell of an item of which nothing is published."""
    return Told(item.number, "refused", item.reason, None)


def ready(item: Item) -> Told:
    """Tell of an item that would be published."""
    return refused(item) if item.event is None else Told(item.number, "ready", item.reason, item.event.id)


class Report:
    """Counts outcomes, and writes one line of CSV for each where a file is wanted. Never holds an address."""

    def __init__(self, file: TextIO | None, number: str) -> None:
        self.outcomes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self._rows: Any = csv.writer(file, lineterminator="\n") if file is not None else None
        if self._rows is not None:
            self._rows.writerow((number, *COLUMNS))

    def add(self, told: Sequence[Told]) -> None:
        """Take in what became of some items."""
        self.outcomes.update(one.outcome for one in told)
        self.reasons.update(one.reason for one in told if one.reason is not None)
        if self._rows is not None:
            self._rows.writerows(("" if cell is None else cell for cell in one) for one in told)
