"""From a mail that came back to events on Kafka: nothing counts as taken before every in-sync replica has it."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from consent_ledger.client.transports import KafkaTransport, OutOfReachError
from consent_ledger.domain import cloudevents, inbound
from consent_ledger.domain.inbound import Known, Told
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import EVENTS
from consent_ledger.store import unsubscribe

log = logging.getLogger(__name__)

_SEND_SECONDS: Final = 30.0


class Taken(NamedTuple):
    """What became of a mail. `aside`: why somebody must look at it; None: it is done with."""

    events: int
    aside: str | None


class Intake:
    """Reads mails and publishes what they say. The mail itself is the outbox: whoever brings it keeps it until then."""

    def __init__(self, settings: Settings, keks: KeyEncryptionKeys) -> None:
        self._settings = settings
        self._keks = keks
        self._transport = KafkaTransport(settings.kafka(), topic=f"{settings.topic_prefix}{EVENTS}")

    async def known(self) -> Known:
        """Read what one must know to understand mail: ask again now and then, for keys and registers change."""
        connection = await connect(self._settings.dsn, "consent_operator")
        try:
            keys = await unsubscribe.token_keys(connection, self._keks)
            bases = await unsubscribe.bases(connection)
        finally:
            await connection.close()
        mailboxes = {address.lower(): names for address, names in self._settings.inbound_mailboxes.items()}
        return Known(keys=keys, bases=bases, mailboxes=mailboxes)

    async def take(
        self, raw: bytes, known: Known, recipients: Sequence[str] = (), received_at: datetime | None = None
    ) -> Taken:
        """Publish what a mail says, and return when Kafka has it. Raises `OutOfReachError`: bring the mail again."""
        reading = inbound.read(raw, known, recipients)
        now = datetime.now(UTC)
        instant = min(received_at or reading.received_at or now, now)
        refused = await self._send([self._event(one, instant) for one in reading.told])
        taken = Taken(len(reading.told) - len(refused), "; ".join([*refused, reading.aside or ""]).strip("; ") or None)
        log.info("mail read", extra={"events": taken.events, "aside": taken.aside})
        return taken

    def _event(self, told: Told, instant: datetime) -> bytes:
        return cloudevents.build(told.type, self._settings.inbound_source, instant, told.data, told.id)

    async def _send(self, batch: Sequence[bytes]) -> list[str]:
        """Return why events were refused for good."""
        if not batch:
            return []
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                return [reason for reason in await self._transport.send(batch) if reason is not None]
        except TimeoutError:
            await self.close()
            raise OutOfReachError("Kafka takes too long") from None

    async def close(self) -> None:
        """Let go of connections."""
        await self._transport.close()
