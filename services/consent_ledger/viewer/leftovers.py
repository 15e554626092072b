"""Clears away what a rebuild that was killed has left beside the live view, so that no fact outlasts its erasure there.

A rebuild holds a lock as long as its connection lasts, and only what nobody holds is cleared away.
"""

import asyncio
import logging

from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import rebuild

log = logging.getLogger(__name__)


class Leftovers:
    """Looks once in a lease, at any time by any process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self._look()
            except Exception:
                log.exception("cannot look for what a rebuild has left behind")
            await asyncio.sleep(self._settings.lease_seconds)

    async def _look(self) -> None:
        connection = await connect(self._settings.dsn, "consent_viewer", application_name="consent_leftovers")
        try:
            if await rebuild.clear_away(connection):
                log.warning("a rebuild was cut off, and what it left is cleared away")
        finally:
            connection.terminate()
