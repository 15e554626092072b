"""Events that commands publish themselves, and wait for until the ledger has them."""

import asyncio
from typing import Final
from uuid import UUID

from consent_ledger.cli.terminal import fail
from consent_ledger.domain import events
from consent_ledger.domain.bucket import key_of
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.publish import HEADERS, publishing
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import EVENTS
from consent_ledger.store import history
from consent_ledger.store.history import Recorded

WAIT_SECONDS: Final = 20.0
_ASK_SECONDS: Final = 0.05


async def publish_recorded(settings: Settings, connection: Connection, value: bytes, event_id: UUID) -> Recorded:
    """Publish an event and return its place in the ledger; the command ends when it does not get there in time."""
    event = events.decode(None, value, HEADERS)
    assert isinstance(event, events.Event)  # noqa: S101 - made here, or judged by the caller
    async with publishing(settings.kafka(), f"{settings.topic_prefix}{EVENTS}") as publisher:
        await publisher.send(key_of(event), value)
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while (recorded := await history.place(connection, event_id)) is None:
                await asyncio.sleep(_ASK_SECONDS)
    except TimeoutError:
        fail("Kafka has the event, and the ledger not yet: see whether a recorder runs (`consent doctor`)")
    return recorded
