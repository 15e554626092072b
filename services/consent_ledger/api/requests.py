"""`GET /v1/requests`: requests of subjects and notices to recipients, and how many are overdue as metrics."""

import asyncio
import logging
from collections import Counter
from typing import Final

from fastapi import Request, Response
from prometheus_client import Gauge

from consent_ledger.api.access import Access
from consent_ledger.api.body import json_response
from consent_ledger.api.database import Database
from consent_ledger.domain import durations
from consent_ledger.runtime.clock import Clock
from consent_ledger.store import requests
from consent_ledger.store.requests import Duties

log = logging.getLogger(__name__)

OPEN: Final = Gauge("consent_requests_open", "Requests of subjects not yet answered", ["controller", "article"])
OVERDUE: Final = Gauge("consent_requests_overdue", "Requests past their last day", ["controller", "article"])
NOTICES: Final = Gauge("consent_notices_overdue", "Recipients not told in time (Art. 19)", ["controller"])
COUNTED: Final = Gauge("consent_requests_counted_timestamp_seconds", "When requests were last counted")

_EVERY_SECONDS: Final = 60.0


class Requests:
    """Shows what is to be answered, and keeps its metrics."""

    def __init__(self, access: Access, database: Database, clock: Clock) -> None:
        self._access = access
        self._database = database
        self._clock = clock

    async def get(self, request: Request) -> Response:
        """Answer one request: everything about the controllers of the key, the most pressing first."""
        key = await self._access.require(request, "audit")
        duties = (await self._read()).of(key.acts_for)
        return json_response({"requests": duties.requests, "notices": duties.notices, "more": duties.more})

    async def count(self) -> None:
        """Count again and again until cancelled; while the ledger is away the last figures stand, with their age."""
        while True:
            try:
                count(await self._read())
                COUNTED.set_to_current_time()
            except Exception as error:  # noqa: BLE001 - metrics must not end the service
                log.warning("requests not counted", extra={"error": type(error).__name__})
            await asyncio.sleep(_EVERY_SECONDS)

    async def _read(self) -> Duties:
        now = durations.instant(self._clock.now())
        return await self._database.read(lambda connection: requests.duties(connection, now))


def count(duties: Duties) -> None:
    """Set the metrics."""
    states = Counter((one.controller, one.article, one.state) for one in duties.requests)
    for controller, article in {(one.controller, one.article) for one in duties.requests}:
        overdue = states[controller, article, "overdue"]
        OPEN.labels(controller, article).set(states[controller, article, "open"] + overdue)
        OVERDUE.labels(controller, article).set(overdue)
    late = Counter(one.controller for one in duties.notices if one.overdue)
    for controller in {one.controller for one in duties.notices}:
        NOTICES.labels(controller).set(late[controller])
