"""Looks at people over HTTP, and what the ledger and the view hold of them."""

from typing import Any

from api.served import Api, bearer
from builders import email
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import keys
from running import Installation

REASON = "request of 3 March"


async def looked(api: Api, value: str | None = None, *, wait: int = 20, key: str | None = None, **more: Any) -> Any:
    said = {"controller": "shop-be", "reason": REASON, **({"subject": [email(value)]} if value else {}), **more}
    headers = {"Prefer": f"wait={wait}"} | bearer(key)
    return await api.client.post("/v1/subjects/lookup", json=said, headers=headers)


async def shown(api: Api, value: str | None = None, **more: Any) -> Any:
    answer = await looked(api, value, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()["shown"]


def types(seen: Any) -> list[str]:
    return [entry["type"] for entry in seen["entries"]]


async def looks_of(installed: Installation, value: str) -> list[Any]:
    """What the ledger holds of looks at an address of the first shop."""
    hash_ = await hash_of(installed, value)
    return await installed.fetch(
        "SELECT l.*, p.person,"
        "       (SELECT count(*) FROM entry_subject s WHERE (s.shard, s.pos) = (l.shard, l.pos)) AS named"
        "  FROM entry_subject e JOIN ledger l USING (shard, pos) LEFT JOIN payload p USING (shard, pos)"
        " WHERE e.hash = $1 AND l.type = 'subject-viewed' ORDER BY l.recorded_at",
        hash_,
    )


async def hash_of(installed: Installation, value: str, controller: str = "shop-be") -> bytes:
    connection = await connect(installed.settings.dsn, "consent_operator")
    try:
        key = (await keys.controller_keys(connection, installed.keks))[controller].key
    finally:
        await connection.close()
    return address_hash(key, "email", value)


async def erase(installed: Installation, value: str) -> None:
    """Destroy the keys of a person, as an erasure does."""
    hash_ = await hash_of(installed, value)
    await installed.fetch("DELETE FROM person_key WHERE anchor = $1", hash_)
