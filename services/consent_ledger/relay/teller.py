"""Tells on the topic of changes what has become of persons, beside the suppressions and never in their way.

It has a fence of its own, taken over after the epoch like that of the suppressions, and forgets what it told only
behind a commit: what a predecessor had not committed is told again, and who reads what is committed hears all in order.
"""

import asyncio
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


class Teller:
    """Tells as long as its epoch stands on partition `q`, which is claimed together with all others."""

    def __init__(self, settings: Settings, connection: Connection, records: Records, *, q: int, epoch: int) -> None:
        self._connection = connection
        self._records = records
        self._q = q
        self._epoch = epoch
        self._told = 0
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
                if not await self.round():
                    await asyncio.sleep(_REST_SECONDS)
        finally:
            await self.producer.drop()

    async def round(self) -> bool:
        """Tell what there is, commit it and forget it; return whether there may be more."""
        sent = 0
        while sent < _ROUND_ROWS and (found := await self.send()):
            sent += found
            if found < relay.TOLD_ROWS:
                break
        if await self.producer.commit():
            await relay.forget_told(self._connection, self._q, self._epoch, self._told)
        return sent >= _ROUND_ROWS

    async def send(self) -> int:
        """Send the next of what is to be told; return how much that was."""
        found = await relay.told(self._connection, self._q, self._epoch, self._told)
        if found:
            await self.producer.send(await self._by_partition(found))
            PUBLISHED.labels("change").inc(len(found))
            self._told = found[-1].id
        return len(found)

    async def _by_partition(self, found: list[Told]) -> dict[int, list[tuple[bytes, bytes]]]:
        messages: dict[int, list[tuple[bytes, bytes]]] = {}
        for one in found:
            messages.setdefault(one.q, []).append(await self._records.tell(self._connection, one))
            # Suppressions are made ready on the same core, and nobody waits for this.
            await asyncio.sleep(0)
        return messages
