"""A connector that tells an endpoint of what changes: each message by itself, in the order of its key.

A message that fails alone waits for its next attempt, and others go past it; an endpoint that fails is left alone for a
while, and nothing goes past. Either is tried for a day, then the message is parked and alarmed. Everything that waits
is on disk. While a refusal waits, its partition is not acknowledged.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final, Protocol

from prometheus_client import Gauge

from consent_ledger.client.copy import Place
from consent_ledger.connectors.outcome import AwayError, FailedError, GoneError, RefusedError
from consent_ledger.connectors.runner import RETRIES, Batch
from consent_ledger.connectors.state import Item, State
from consent_ledger.connectors.webhook.line import Line, Waiting, item_of
from consent_ledger.connectors.webhook.sender import Sending
from consent_ledger.domain import webhook
from consent_ledger.domain.durations import moment

log = logging.getLogger(__name__)

CLOSED = Gauge("consent_webhook_closed", "Whether an endpoint said that it is gone, or was never proved", ["connector"])
WAITING = Gauge("consent_webhook_waiting", "Messages that an endpoint has not taken yet", ["connector"])

WINDOW_SECONDS: Final = 24 * 3600.0
COMPLETE_SECONDS: Final = 60.0
UNREADABLE: Final = "unreadable"
OPEN: Final = "open"
GONE: Final = "gone"
_PAUSE_SECONDS: Final = 5.0
_PAUSE_MAX_SECONDS: Final = 3600.0
_IN_A_ROW: Final = 5
_LINE_MAX: Final = 10_000


def pause_after(failures: int, after: float | None = None) -> float:
    """Return for how many seconds nothing is attempted after so many failures: ever longer, spread at random.

    Never shorter than was asked for (RFC 9110 section 10.2.3), as far as that is within an hour.
    """
    longest = min(_PAUSE_MAX_SECONDS, _PAUSE_SECONDS * 2.0 ** min(failures - 1, 20))
    spread = longest * random.uniform(0.5, 1)  # noqa: S311 - spreads attempts, protects nothing
    return spread + min(after or 0.0, _PAUSE_MAX_SECONDS)


class Source(Protocol):
    """Where messages come from."""

    def batches(self, place: bytes | None) -> AsyncGenerator[Batch, None]:
        """Give what stands behind a place, as items of `line.item_of`."""


class WebhookConnector:
    """Keeps one endpoint told. `clock` gives seconds since 1970; `rest`: seconds between two looks at it.

    `would`: run dry, where what would be sent is described.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        state: State,
        sender: Sending,
        *,
        url: str,
        would: list[str] | None = None,
        clock: Callable[[], float] = time.time,
        rest: float = 1.0,
    ) -> None:
        self.line = Line(state.connection)
        self._name = name
        self._source = source
        self._state = state
        self._sender = sender
        self._url = url
        self._would = would
        self._clock = clock
        self._rest = rest
        self._closed_until = 0.0
        self._failures = 0
        self._in_a_row = 0
        self._complete_at = 0.0

    # -- what is to be done

    async def batches(self, place: bytes | None) -> AsyncIterator[Batch]:
        """Give what is due, and what is new while the endpoint takes it."""
        self.line.forget(self._clock() - 30 * 24 * 3600)
        async with aclosing(self._source.batches(place)) as source:
            while True:
                if self.takes():
                    for one in self.line.due(self._clock()):
                        yield Batch([one.item])
                WAITING.labels(self._name).set(self.line.count())
                if not self.takes() or self.line.count() >= _LINE_MAX:
                    yield Batch()
                    await asyncio.sleep(self._rest)
                    continue
                batch = await anext(source)
                yield Batch(batch.items, batch.place)
                if (item := self._complete(batch.places)) is not None:
                    yield Batch([item])
                # Only now is it known what has arrived.
                yield Batch((), None, self._arrived(batch.places), batch.last and not self.line.count())

    def takes(self) -> bool:
        """Tell whether the endpoint may be sent to now."""
        facts = self._state.facts()
        is_open = facts.get("endpoint") == OPEN and facts.get("proved") == self._url
        CLOSED.labels(self._name).set(not is_open and self._would is None)
        return self._would is not None or (is_open and self._clock() >= self._closed_until)

    def _arrived(self, places: Sequence[Place]) -> list[Place]:
        held = self.line.partitions()
        return [Place() if number in held else place for number, place in enumerate(places)]

    def _complete(self, places: Sequence[Place]) -> Item | None:
        """Say now and then up to when the endpoint knows everything, if it does."""
        now = self._clock()
        if not places or not all(place.instant for place in places) or now < self._complete_at:
            return None
        if self.line.count() or self._state.count_parked()[0]:
            return None
        self._complete_at = now + COMPLETE_SECONDS
        instant = min(place.instant for place in places)
        return item_of(webhook.complete(moment(instant), instant))

    # -- doing it

    async def apply(self, items: Sequence[Item]) -> None:
        """Put messages in line and attempt each once.

        Raises `RefusedError` for one, asked for alone, that has failed for a day, or that never can be sent.
        """
        unreadable = [item for item in items if item.key.startswith(UNREADABLE)]
        self.line.put(item for item in items if item not in unreadable)
        if unreadable:
            # Alone it is parked; those that came with it are asked for without it.
            raise RefusedError(unreadable[0].value.decode())
        for item in items:
            if not self.takes():
                return
            waiting = self.line.due_one(item.key, self._clock())
            if waiting is not None:
                await self._attempt(waiting, alone=len(items) == 1)

    async def _attempt(self, one: Waiting, *, alone: bool) -> None:
        if self._would is not None:
            self._would.append(f"send {one.letter.key} ({'a no' if one.letter.refusal else 'no refusal'})")
            self.line.delivered(one, self._now(), "dry")
            return
        try:
            await self._sender.send(one.letter.id, one.letter.body)
        except GoneError as error:
            self._state.note(endpoint=GONE)
            log.error("the endpoint is gone", extra={"connector": self._name})  # noqa: TRY400 - no trace is needed
            self.line.failed(one, self._now(), str(error), self._clock())
        except AwayError as error:
            self._close_for(error.after, str(error))
            self._fail(one, error, self._closed_until, alone=alone)
        except (FailedError, RefusedError) as error:
            self._in_a_row += 1
            if self._in_a_row >= _IN_A_ROW:
                self._close_for(None, str(error))
            next_at = self._clock() + pause_after(one.attempts + 1)
            self._fail(one, error, max(next_at, self._closed_until), alone=alone)
        else:
            self._failures = self._in_a_row = 0
            self.line.delivered(one, self._now(), "delivered")

    def _close_for(self, after: float | None, why: str) -> None:
        self._failures += 1
        pause = pause_after(self._failures, after)
        self._closed_until = self._clock() + pause
        log.warning("the endpoint is left alone", extra={"connector": self._name, "why": why, "seconds": round(pause)})

    def _fail(self, one: Waiting, error: Exception, next_at: float, *, alone: bool) -> None:
        RETRIES.labels(self._name, type(error).__name__).inc()
        now = self._clock()
        is_over = one.first_at is not None and now >= one.first_at + WINDOW_SECONDS
        # Of several, those that are asked for again would begin a day anew.
        if is_over and alone:
            self.line.failed(one, self._now(), f"given up: {error}", None)
            raise RefusedError(f"tried for a day, {one.attempts + 1} times: {error}")
        self.line.failed(one, self._now(), str(error), next_at)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)
