"""Looks at persons: published and awaited, for what the ledger does not record is not shown (Art. 5(2), 32)."""

import asyncio
import time
import uuid
from typing import Any, Final

from consent_ledger.api.database import Database
from consent_ledger.api.problems import ProblemError
from consent_ledger.api.publisher import Publisher, Record
from consent_ledger.domain.bucket import key_of_address
from consent_ledger.domain.catalogue import VIEWED
from consent_ledger.domain.cloudevents import STRUCTURED, build, uuid7
from consent_ledger.runtime.clock import Clock
from consent_ledger.store import history
from consent_ledger.store.history import Recorded

SOURCE: Final = "desk"
"""The source of looks: registered for nobody, so that what it says speaks to nobody."""
WAIT_SECONDS: Final = 10

_POLL_SECONDS: Final = 0.01
_HEADERS: Final = (("content-type", STRUCTURED.encode()),)


class Looks:
    """Records who is shown whose data, and why."""

    def __init__(self, database: Database, publisher: Publisher, clock: Clock) -> None:
        self._database = database
        self._publisher = publisher
        self._clock = clock

    async def record(self, said: list[dict[str, Any]], seconds: int) -> list[tuple[uuid.UUID, Recorded]]:
        """Publish looks, and return their events and entries. Raises `ProblemError` 503 when it takes longer."""
        now = self._clock.now()
        ids = [uuid7(now) for _ in said]
        await self._publisher.publish(
            [
                Record(_key(one, id_), build(VIEWED, SOURCE, now, one, id_), _HEADERS)
                for id_, one in zip(ids, said, strict=True)
            ]
        )
        deadline = time.monotonic() + seconds
        return [(id_, await self._recorded(id_, deadline)) for id_ in ids]

    async def _recorded(self, event_id: uuid.UUID, deadline: float) -> Recorded:
        while True:
            recorded = await self._database.read(lambda connection: history.place(connection, event_id))
            if recorded is not None:
                return recorded
            if time.monotonic() > deadline:
                detail = "the look could not be recorded in time, so nothing is shown"
                raise ProblemError(503, "not-recorded", detail, headers={"Retry-After": "1"})
            await asyncio.sleep(_POLL_SECONDS)


def _key(said: dict[str, Any], event_id: uuid.UUID) -> bytes:
    (one,) = said.get("subject") or [{"type": "event", "value": str(event_id)}]
    return key_of_address(one["type"], one["value"])
