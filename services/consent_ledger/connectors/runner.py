"""Runs a connector: what comes is applied in order, tried again with patience, or parked; then the place moves.

Nothing is left out: an item is applied, or parked with a reason, before the place moves behind it. What is parked is
alarmed and waits for somebody to ask for redelivery. A partition of which a refusal is parked is not acknowledged any
further: the ledger must not believe that a refusal has arrived which has not.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol

from prometheus_client import Counter, Gauge
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from consent_ledger.client.copy import Place
from consent_ledger.connectors.outcome import AwayError, DeniedError, FailedError, RefusedError
from consent_ledger.connectors.state import Item, State
from consent_ledger.domain.durations import rfc3339

log = logging.getLogger(__name__)

ITEMS = Counter(
    "consent_connector_items_total", "What connectors had to do, by what became of it", ["connector", "outcome"]
)
RETRIES = Counter(
    "consent_connector_retries_total", "Attempts at a tool that failed and are made again", ["connector", "error"]
)
PARKED = Gauge("consent_connector_parked", "What tools refused for good and nobody has seen to", ["connector", "what"])
CAUGHT_UP = Gauge(
    "consent_connector_caught_up_timestamp_seconds", "When a connector last had nothing left to do", ["connector"]
)

ATTEMPTS: Final = 5
_PAUSE_SECONDS: Final = 0.5
_PAUSE_MAX_SECONDS: Final = 60.0


class Batch(NamedTuple):
    """Some items in order.

    `place`: where a connector goes on behind them, None while they are only part of a step. `places`: how far the copy
    of the suppressions topic was when they were found, if they come from there. `last`: nothing more is there now.
    """

    items: Sequence[Item] = ()
    place: bytes | None = None
    places: Sequence[Place] = ()
    last: bool = False


class Connector(Protocol):
    """What makes a kind of tool."""

    def batches(self, place: bytes | None) -> AsyncIterator[Batch]:
        """Give what is to be done behind a place, None at the beginning: once a second at least, and without end."""

    async def apply(self, items: Sequence[Item]) -> None:
        """Do it. It may be asked for the same again. Raises the errors of `outcome`; then none of it counts as done.

        Of several items that cannot be done together each is asked for alone, so that only that one is parked.
        """


class Acknowledging(Protocol):
    """Who reports how far the suppressions have been applied."""

    def applied(self, places: Sequence[Place]) -> None:
        """Take note of it."""


class Runner:
    """Runs one connector. `attempts`: how often a tool that fails, without saying for how long, is asked."""

    def __init__(
        self,
        name: str,
        connector: Connector,
        state: State,
        *,
        acknowledger: Acknowledging | None = None,
        attempts: int = ATTEMPTS,
        pause: float = _PAUSE_SECONDS,
    ) -> None:
        self._name = name
        self._connector = connector
        self._state = state
        self._acknowledger = acknowledger
        self._attempts = attempts
        self._wait = wait_random_exponential(multiplier=pause, max=_PAUSE_MAX_SECONDS)

    async def run(self, *, once: bool = False) -> None:
        """Run until cancelled, or `once` through all that is there."""
        self._count_parked()
        async for batch in self._connector.batches(self._state.place):
            await self._redeliver()
            await self._deliver(batch.items, batch.place)
            self._acknowledge(batch.places)
            if batch.last:
                CAUGHT_UP.labels(self._name).set_to_current_time()
                self._state.note(caught_up_at=rfc3339(datetime.now(UTC)))
                if once:
                    return

    async def _redeliver(self) -> None:
        """Attempt again what somebody has asked for."""
        for parked in self._state.parked():
            if parked.again:
                await self._deliver([parked.item], None)

    async def _deliver(self, items: Sequence[Item], place: bytes | None) -> None:
        parked = await self._apply(items) if items else []
        missing = {item.key for item, _ in parked}
        done = [item.key for item in items if item.key not in missing]
        self._state.advance(place, done=done, parked=parked)
        ITEMS.labels(self._name, "applied").inc(len(done))
        for item, reason in parked:
            ITEMS.labels(self._name, "parked").inc()
            log.error("parked", extra={"connector": self._name, "item": item.key, "reason": reason})
        if items:
            self._count_parked()

    async def _apply(self, items: Sequence[Item]) -> list[tuple[Item, str]]:
        """Apply items, and return those that cannot be, with the reasons."""
        try:
            await self._patiently(items)
        except (RefusedError, FailedError) as error:
            if len(items) == 1:
                return [(items[0], str(error))]
            half = len(items) // 2
            return [*await self._apply(items[:half]), *await self._apply(items[half:])]
        return []

    async def _patiently(self, items: Sequence[Item]) -> None:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type((AwayError, FailedError)), wait=self._pause, stop=self._gives_up,
            before_sleep=self._tell, reraise=True,
        ):  # fmt: skip
            with attempt:
                await self._connector.apply(items)

    def _gives_up(self, state: RetryCallState) -> bool:
        return isinstance(_error(state), FailedError) and state.attempt_number >= self._attempts

    def _pause(self, state: RetryCallState) -> float:
        """Spread attempts, and never come back earlier than a tool has asked for."""
        error = _error(state)
        after = error.after if isinstance(error, AwayError) else None
        return self._wait(state) + (after or 0.0)

    def _tell(self, state: RetryCallState) -> None:
        error = _error(state)
        kind = type(error).__name__
        RETRIES.labels(self._name, kind).inc()
        level = logging.ERROR if isinstance(error, DeniedError) else logging.WARNING
        log.log(level, "tried again", extra={"connector": self._name, "error": kind, "why": str(error)})

    def _acknowledge(self, places: Sequence[Place]) -> None:
        if self._acknowledger is None or not places:
            return
        held = [parked.item.partitions for parked in self._state.parked() if parked.item.refusal]
        # A place without an instant is not reported.
        self._acknowledger.applied([
            Place() if any(not some or number in some for some in held) else place
            for number, place in enumerate(places)
        ])  # fmt: skip

    def _count_parked(self) -> None:
        refusals, others = self._state.count_parked()
        PARKED.labels(self._name, "refusal").set(refusals)
        PARKED.labels(self._name, "other").set(others)


def _error(state: RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()
