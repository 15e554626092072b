"""The Merkle log over HTTP: checkpoint and tiles for anyone (C2SP tlog-tiles), entries and proofs for auditors."""

from typing import Any, Final

from fastapi import Request, Response

from consent_ledger.api.access import Access
from consent_ledger.api.body import json_response
from consent_ledger.api.database import Database
from consent_ledger.api.problems import ProblemError
from consent_ledger.domain import tiles
from consent_ledger.domain.tiles import Resource
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import log, proofs
from consent_ledger.store.log import Entry

_FOR_EVER: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
_NOT_LONG: Final = {"Cache-Control": "public, max-age=1"}
_POSITION_MAX: Final = 2**63 - 1
_SHARD_MAX: Final = 2**31 - 1


class Log:
    """Serves the log. What is open to anyone holds no personal data (`domain.leaf`)."""

    def __init__(self, access: Access, database: Database, *, cosigned: bool) -> None:
        self._access = access
        self._database = database
        # Only what witnesses have signed is shown.
        self._cosigned = cosigned

    async def checkpoint(self) -> Response:
        """Answer with the newest checkpoint; 404 before the first."""
        last = await self._database.read(lambda connection: log.shown(connection, cosigned=self._cosigned))
        if last is None:
            raise _absent()
        return Response(last.note, 200, _NOT_LONG, "text/plain; charset=utf-8")

    async def tile(self, request: Request) -> Response:
        """Answer with a tile or a bundle of entries, full or partial, as far as the newest checkpoint reaches."""
        resource = tiles.parse_path(request.path_params["path"])
        found = None
        if resource is not None:
            found = await self._database.read(lambda connection: _resource(connection, resource))
        if found is None:
            raise _absent()
        return Response(found, 200, _FOR_EVER, "application/octet-stream")

    async def entry(self, request: Request) -> Response:
        """Answer with an entry as the ledger has it, without what is personal, and its index in the log."""
        await self._access.require(request, "audit")
        place = _place(**request.path_params)
        found = await self._database.read(lambda connection: _entry(connection, *place))
        if found is None:
            raise _absent()
        return json_response(found)

    async def proof(self, request: Request) -> Response:
        """Answer with the proof of an entry (C2SP tlog-proof); 404 while it is in no checkpoint."""
        await self._access.require(request, "audit")
        place = _place(**request.path_params)
        found = await self._database.read(lambda connection: proofs.proof(connection, *place, cosigned=self._cosigned))
        if found is None:
            raise _absent()
        return Response(found, 200, {"Cache-Control": "no-store"}, "text/plain; charset=utf-8")


async def _resource(connection: Connection, resource: Resource) -> bytes | None:
    last = await log.last(connection)
    if last is None:
        return None
    if resource.level is None:
        return await proofs.bundle(connection, resource, last.size)
    # A partial tile is the beginning of the one that later becomes full.
    hashes = await log.tile(connection, (resource.level, resource.number), last.size)
    return None if hashes is None or len(hashes) < resource.width * 32 else hashes[: resource.width * 32]


async def _entry(connection: Connection, shard: int, position: int) -> dict[str, Any] | None:
    found = await log.entries(connection, shard, position, position + 1)
    if not found:
        return None
    return {**_described(found[0]), "index": await log.index_of(connection, shard, position)}


def _described(entry: Entry) -> dict[str, Any]:
    return {
        "event_id": entry.event_id,
        "type": entry.type,
        "shard": entry.shard,
        "position": entry.position,
        "occurred_at": entry.occurred_at,
        "recorded_at": entry.recorded_at,
        "offset": entry.offset,
        "register_version": entry.register_version,
        "body": entry.body.decode(),
        "commitment": entry.commitment.hex(),
        "tags": [entry.tags[at : at + 32].hex() for at in range(0, len(entry.tags), 32)],
        "leaf_hash": entry.leaf_hash.hex(),
    }


def _place(shard: str, position: str) -> tuple[int, int]:
    if not (shard.isascii() and shard.isdecimal() and position.isascii() and position.isdecimal()):
        raise _absent()
    place = int(shard[:20]), int(position[:20])
    if place[0] > _SHARD_MAX or place[1] >= _POSITION_MAX:
        raise _absent()
    return place


def _absent() -> ProblemError:
    return ProblemError(404, "not-found", "there is nothing here")
