"""`GET /v1/register`: the register in force and its versions, as far as they concern the holder of the key."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response

from consent_ledger.api.access import Access
from consent_ledger.api.body import json_response
from consent_ledger.api.database import Database
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import overview
from consent_ledger.store.api_keys import ALL, ApiKey
from consent_ledger.store.overview import RegisterVersion, ScheduledVersion


class Registers:
    """Shows the register."""

    def __init__(self, access: Access, database: Database) -> None:
        self._access = access
        self._database = database

    async def get(self, request: Request) -> Response:
        """Answer one request. Any key will do; it sees its own controllers, and those that its sources serve."""
        key = await self._access.require(request)
        versions, scheduled, document = await self._database.read(_read)
        in_force = _version(versions[-1]) if versions else {"version": 0}
        shown = visible(document, key)
        return json_response(
            {
                **in_force,
                "register": shown,
                "versions": [_version(one) for one in versions],
                "scheduled": [_scheduled(one) for one in scheduled],
            }
        )


async def _read(connection: Connection) -> tuple[list[RegisterVersion], list[ScheduledVersion], dict[str, Any]]:
    versions = await overview.register_versions(connection)
    document = await overview.register_document(connection, versions[-1].version) if versions else {}
    return versions, await overview.scheduled_registers(connection), document


def _scheduled(version: ScheduledVersion) -> dict[str, Any]:
    return {
        "valid_from": version.valid_from,
        "recorded_at": version.recorded_at,
        "position": {"shard": version.shard, "position": version.position},
    }


def _version(version: RegisterVersion) -> dict[str, Any]:
    return {
        "version": version.version,
        "digest": version.digest.hex(),
        "valid_from": version.valid_from,
        "recorded_at": version.recorded_at,
        "position": {"shard": version.shard, "position": version.position},
    }


def visible(document: Mapping[str, Any], key: ApiKey) -> dict[str, Any]:
    """Leave out of a register what concerns only controllers with whom the key has nothing to do."""
    if ALL in key.controllers | key.sources or key.scopes & {"audit", "admin"}:
        return dict(document)
    sources = document.get("sources", {})
    served = {name for source in key.sources for name in sources.get(source, {}).get("controllers", ())}
    mine = served | key.controllers
    return {
        **document,
        "controllers": {name: one for name, one in document.get("controllers", {}).items() if name in mine},
        "purposes": [one for one in document.get("purposes", ()) if one["controller"] in mine],
        "sources": {
            name: {**one, "controllers": [served for served in one.get("controllers", ()) if served in mine]}
            for name, one in sources.items()
            if name in key.sources or mine.intersection(one.get("controllers", ()))
        },
    }
