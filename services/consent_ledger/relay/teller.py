"""Tells on the topic of changes what has become of persons, beside the suppressions and not in their way.

While the lane is busy with a backlog nothing is told, for a minute at most: then what is to be told is late, and it is
told whatever the lane does, until nothing is left. It has a fence of its own, taken over after the epoch like that of
the suppressions, and forgets what it told only behind a commit: what a predecessor had not committed is told again, and
who reads what is committed hears all in order.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from consent_ledger.relay.lane import PUBLISHED
from consent_ledger.relay.producer import FencedProducer
from consent_ledger.relay.records import Records
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import relay
from consent_ledger.store.relay import Told

CHANGES: Final = "changes"

_REST_SECONDS: Final = 0.5
# As much as one transaction tells at most: readers wait for its end.
_ROUND_ROWS: Final = 2_000
_PATIENCE_SECONDS: Final = 60.0
# Suppressions are made ready on the same core: after so many records it is their turn.
_SLICE: Final = 8


class Teller:
    """Tells as long as its epoch stands on partition `q`, which is claimed together with all others.

    `is_busy` says whether whoever publishes the suppressions has a backlog.
    """

    def __init__(
        self, settings: Settings, connection: Connection, records: Records, *, q: int, epoch: int,
        is_busy: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._connection = connection
        self._records = records
        self._q = q
        self._epoch = epoch
        self._is_busy = is_busy
        self._told = 0
        # When all had been told that was there: what is there now came later.
        self._level_at = _now()
        fence = f"{settings.topic_prefix}relay-changes"
        self.producer = FencedProducer(
            settings.kafka(),
            transactional_ids=(fence, f"{fence}-next"),
            topic=f"{settings.topic_prefix}{CHANGES}",
        )

    async def run(self) -> None:
        """Tell until cancelled. Raises what Kafka and the database raise, above all `ProducerFenced`."""
        try:
            await self.producer.start()
            while True:
                if self.stands_back or not await self.round():
                    await asyncio.sleep(_REST_SECONDS)
        finally:
            await self.producer.drop()

    @property
    def stands_back(self) -> bool:
        """Whether the suppressions come first now."""
        return self._is_busy() and not self._is_late

    @property
    def _is_late(self) -> bool:
        return _now() - self._level_at >= _PATIENCE_SECONDS

    async def round(self) -> bool:
        """Tell what there is, commit it and forget it; return whether there may be more."""
        sent, there_may_be_more = 0, True
        while there_may_be_more and sent < _ROUND_ROWS:
            began = _now()
            found = await self.send()
            sent += found
            there_may_be_more = found == relay.TOLD_ROWS
            if there_may_be_more and not self._is_late:
                # At most half of the time, so that a backlog of this topic delays nobody either.
                await asyncio.sleep(_now() - began)
        if await self.producer.commit():
            await relay.forget_told(self._connection, self._q, self._epoch, self._told)
        return there_may_be_more

    async def send(self) -> int:
        """Send the next of what is to be told; return how much that was."""
        looked_at = _now()
        found = await relay.told(self._connection, self._q, self._epoch, self._told)
        if found:
            await self.producer.send(await self._by_partition(found))
            PUBLISHED.labels("change").inc(len(found))
            self._told = found[-1].id
        if len(found) < relay.TOLD_ROWS:
            self._level_at = looked_at
        return len(found)

    async def _by_partition(self, found: list[Told]) -> dict[int, list[tuple[bytes, bytes]]]:
        messages: dict[int, list[tuple[bytes, bytes]]] = {}
        for first in range(0, len(found), _SLICE):
            some = found[first : first + _SLICE]
            for one, message in zip(some, await self._records.tell(self._connection, some), strict=True):
                messages.setdefault(one.q, []).append(message)
            await asyncio.sleep(0)
        return messages


def _now() -> float:
    return asyncio.get_running_loop().time()
