"""Who is asking, and what their API key allows."""

import time
from typing import Final

from fastapi import Request

from consent_ledger.api.database import Database
from consent_ledger.api.problems import forbidden, unauthorized
from consent_ledger.store import api_keys
from consent_ledger.store.api_keys import ApiKey, Scope

# A key that was revoked works for at most this long in a process that has just seen it.
REMEMBERED_SECONDS: Final = 2.0
_REMEMBERED_MAX = 10_000


class Access:
    """Finds keys in the database and remembers those that work for a moment, by their digest."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[bytes, tuple[float, ApiKey]] = {}

    async def require(self, request: Request, scope: Scope | None = None) -> ApiKey:
        """Return the caller's key if it has the scope (None: any will do).

        Raises `ProblemError` 401 or 403, and 503 when keys cannot be read.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise unauthorized()
        key = await self._find(token.strip())
        if key is None:
            raise unauthorized()
        if scope is not None and scope not in key.scopes:
            raise forbidden()
        return key

    async def _find(self, token: str) -> ApiKey | None:
        digest, now = api_keys.digest(token), time.monotonic()
        until, key = self._seen.get(digest, (0.0, None))
        if key is not None and now < until:
            return key
        found = await self._database.read(lambda connection: api_keys.find(connection, token))
        if found is None:
            self._seen.pop(digest, None)
        else:
            if len(self._seen) >= _REMEMBERED_MAX:
                self._seen.clear()
            self._seen[digest] = (now + REMEMBERED_SECONDS, found)
        return found
