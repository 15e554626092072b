"""Brings registers that were loaded ahead into force, at their instant by the database's clock.

Whoever appends first after that instant does it, so no entry recorded from then on carries the version before; and a
task of its own does it where nobody appends. The place of the load in the ledger stays the place of the version.
"""

import asyncio
import hashlib
import logging

from consent_ledger.domain import events, register
from consent_ledger.runtime.clock import Clock
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import schedule
from consent_ledger.store.schedule import Scheduled

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.25
_RETRY_SECONDS = 1.0


async def keep(settings: Settings, clock: Clock) -> None:
    """Keep the schedule until cancelled."""
    while True:
        connection: Connection | None = None
        try:
            connection = await connect(settings.dsn, "consent_recorder", application_name="consent_schedule")
            while True:
                await asyncio.sleep(await _pause(connection, clock))
                await bring_into_force(connection, clock)
        except Exception:
            log.exception("the schedule of registers is not kept")
            await asyncio.sleep(_RETRY_SECONDS)
        finally:
            if connection is not None:
                connection.terminate()


async def _pause(connection: Connection, clock: Clock) -> float:
    """Tell how long to rest: until the next register's instant, but not so long as to oversee a newer load."""
    upcoming = await schedule.next_in_force(connection)
    if upcoming.valid_from is None:
        return _LOOK_SECONDS
    return min(_LOOK_SECONDS, max(0.0, (upcoming.valid_from - clock.now(upcoming.now)).total_seconds()))


async def bring_into_force(connection: Connection, clock: Clock) -> None:
    """Bring into force, in their order, the registers whose instant has come."""
    if not await _is_due(connection, clock):
        return
    async with schedule.changing(connection) as current:
        version, document = current
        now = clock.now((await schedule.next_in_force(connection)).now)
        # Under the lock, because another recorder may have been here meanwhile.
        for scheduled in await schedule.pending(connection):
            if scheduled.valid_from > now:
                break
            document, version = _after(document, scheduled), version + 1
            digest = hashlib.sha256(events.canonical(document)).digest()
            await schedule.bring_into_force(connection, scheduled, version, digest, document)
            log.info("scheduled register in force", extra={"version": version})


async def _is_due(connection: Connection, clock: Clock) -> bool:
    upcoming = await schedule.next_in_force(connection)
    return upcoming.valid_from is not None and upcoming.valid_from <= clock.now(upcoming.now)


def _after(document: dict[str, object], scheduled: Scheduled) -> dict[str, object]:
    try:
        return register.merge(document, scheduled.document)
    except register.RegisterError:
        # It was checked when it was loaded, and every load since with it; a fault of ours must not stop the shards.
        log.exception("a scheduled register changes nothing", extra={"event_id": str(scheduled.event_id)})
        return document
