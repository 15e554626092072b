"""`/u/{token}`: the way out of a mail. GET shows a page and changes nothing; POST acts at once (RFC 8058)."""

import logging
import sqlite3
from typing import Any, Final

from fastapi import Request, Response

from consent_ledger import client
from consent_ledger.api.database import Database
from consent_ledger.api.pages import page
from consent_ledger.api.problems import ProblemError
from consent_ledger.api.publisher import Publisher, Record
from consent_ledger.domain import cloudevents, events, unsubscribe
from consent_ledger.domain.bucket import key_of
from consent_ledger.domain.unsubscribe import Claim, TokenKey
from consent_ledger.runtime.clock import Clock
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.publish import HEADERS
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import unsubscribe as store

log = logging.getLogger(__name__)

# By which the ledger knows how the refusal came (domain.md 4.1).
RECEIVED_VIA: Final = "list-unsubscribe"


class Unsubscribe:
    """Turns a click into a refusal.

    Every POST is an event of its own: a second click on an old mail must work after a new subscription in between.
    With an outbox, what it holds is taken, and reaches Kafka when that is there; without one, only what Kafka has is.
    """

    def __init__(
        self, database: Database, publisher: Publisher, keks: KeyEncryptionKeys, clock: Clock, settings: Settings
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._keks = keks
        self._clock = clock
        self._settings = settings
        self._keys: dict[str, TokenKey] = {}
        self._outbox: client.Publisher | None = None

    async def open(self) -> None:
        """Open the outbox, if there is to be one, and deliver what an earlier process has left in it."""
        if self._settings.outbox is not None:
            topic = self._publisher.topic
            self._outbox = client.Publisher(
                self._settings.outbox,
                lambda: client.KafkaTransport(self._settings.kafka(), topic=topic),
                source=self._settings.unsubscribe_source,
            )
            await self._outbox.__aenter__()

    async def close(self) -> None:
        """Stop delivering; what waits stays in the outbox."""
        if self._outbox is not None:
            await self._outbox.__aexit__()

    async def get(self, request: Request) -> Response:
        """Show what the button does. Link scanners come here as well, so nothing happens."""
        try:
            claim = await self._claim(request)
            if claim is None:
                return page(request, "unknown")
            _, name = await self._purpose(claim)
        except ProblemError:
            return page(request, "unavailable")
        return page(request, "ask", name or claim.controller)

    async def post(self, request: Request) -> Response:
        """Take the refusal. Whatever the body holds, or fails to hold, is no reason not to."""
        try:
            claim = await self._claim(request)
            if claim is None:
                return page(request, "unknown")
            await self._take(*unsubscribe.refusal(claim, await self._basis(claim), RECEIVED_VIA))
        except (ProblemError, sqlite3.Error, OSError) as error:
            log.warning("an unsubscription was not taken", extra={"error": type(error).__name__})
            return page(request, "unavailable")
        return page(request, "done")

    async def _claim(self, request: Request) -> Claim | None:
        """Open the token. Raises `ProblemError` 503 when its key may be one that cannot be read now."""
        token = request.path_params["token"]
        kid = unsubscribe.kid_of(token)
        if kid is not None and kid not in self._keys:
            self._keys = await self._database.read(lambda connection: store.token_keys(connection, self._keks))
        return unsubscribe.open_token(token, self._keys.get)

    async def _basis(self, claim: Claim) -> str | None:
        try:
            return (await self._purpose(claim))[0]
        except ProblemError:
            # The refusal is right without it.
            return None

    async def _purpose(self, claim: Claim) -> tuple[str | None, str | None]:
        return await self._database.read(lambda connection: store.purpose(connection, claim.controller, claim.purpose))

    async def _take(self, kind: str, data: dict[str, Any]) -> None:
        now = self._clock.now()
        if self._outbox is not None:
            await self._outbox.publish_async(kind, data, occurred_at=now)
            return
        value = cloudevents.build(kind, self._settings.unsubscribe_source, now, data)
        said = events.decode(None, value, HEADERS)
        assert isinstance(said, events.Event)  # noqa: S101 - made from fields that were checked when it was sealed
        await self._publisher.publish([Record(key_of(said), value, HEADERS)])
