"""Keys by which programs ask and publish over HTTP: only a digest of each is kept, and what it may do.

A key reads `cl_<id>_<secret>`. The secret is 256 random bits, so one SHA-256 is all the hashing it needs: there is
nothing to guess. The id is no secret; it stands in lists and logs.
"""

import hashlib
import hmac
import secrets
from collections.abc import Collection
from datetime import datetime
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)

Scope: TypeAlias = Literal["publish", "decide", "audit", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
ALL: Final = "*"

_PREFIX = "cl"
_ID_BYTES = 6
_SECRET_BYTES = 32
_KEY_MAX_CHARS = 200


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """What the holder of a key may do. No source or controller listed: none; `*`: every one, also later ones."""

    id: str
    scopes: frozenset[str]
    sources: frozenset[str]
    controllers: frozenset[str]

    def speaks_for(self, source: str) -> bool:
        """Tell whether events of this source may be published with the key."""
        return ALL in self.sources or source in self.sources

    def acts_for(self, controller: str) -> bool:
        """Tell whether this controller's decisions may be asked for with the key."""
        return ALL in self.controllers or controller in self.controllers


class ListedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as an operator sees it. `revoked_at` None: it works."""

    id: str
    scopes: tuple[str, ...]
    sources: tuple[str, ...]
    controllers: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None


async def create(
    connection: Connection, *, scopes: Collection[str], sources: Collection[str], controllers: Collection[str]
) -> str:
    """Make a key and return it, this once: it is nowhere kept.

    Raises ValueError for a scope that does not exist, or none.
    """
    if not scopes or not set(scopes) <= set(SCOPES):
        raise ValueError(f"a key has one or more of the scopes {', '.join(SCOPES)}")
    key_id = secrets.token_hex(_ID_BYTES)
    key = f"{_PREFIX}_{key_id}_{secrets.token_hex(_SECRET_BYTES)}"
    bounds = (sorted(set(scopes)), sorted(set(sources)), sorted(set(controllers)))
    await connection.execute(_SQL["add"], key_id, digest(key), *bounds)
    return key


async def find(connection: Connection, key: str) -> ApiKey | None:
    """Return what a key may do; None when it is no key, not ours, or revoked."""
    prefix, _, rest = key.partition("_")
    if prefix != _PREFIX or len(key) > _KEY_MAX_CHARS or not key.isascii() or not key.isprintable():
        return None
    row = await connection.fetchrow(_SQL["find"], rest.partition("_")[0])
    if row is None or not hmac.compare_digest(row["digest"], digest(key)):
        return None
    return ApiKey(
        id=row["id"],
        scopes=frozenset(row["scopes"]),
        sources=frozenset(row["sources"]),
        controllers=frozenset(row["controllers"]),
    )


async def revoke(connection: Connection, key_id: str) -> bool:
    """End a key for ever; False when there is none that works under this id."""
    return await connection.execute(_SQL["revoke"], key_id) == "UPDATE 1"


async def list_keys(connection: Connection) -> list[ListedKey]:
    """Return all keys, the oldest first, also those that were revoked."""
    rows = await connection.fetch(_SQL["list"])
    return [
        ListedKey(
            id=row["id"],
            scopes=tuple(row["scopes"]),
            sources=tuple(row["sources"]),
            controllers=tuple(row["controllers"]),
            created_at=row["created_at"],
            revoked_at=row["revoked_at"],
        )
        for row in rows
    ]


def digest(key: str) -> bytes:
    """Return what is kept of a key."""
    return hashlib.sha256(key.encode()).digest()
