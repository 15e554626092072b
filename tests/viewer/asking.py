"""Reads the view as the decision path does: behind the barrier, in one snapshot."""

from datetime import timedelta
from typing import Any

import builders
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.domain.suppression import Answers, expand
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import keys, view
from consent_ledger.store.decisions import Snapshot, behind_barrier
from running import Installation

REGISTER: dict[str, Any] = {
    **builders.REGISTER,
    "purposes": [
        *builders.REGISTER["purposes"],
        {
            "controller": "shop-be",
            "id": "club",
            "basis": "consent",
            "channels": ["email"],
            "direct_marketing": True,
            "double_opt_in": True,
        },
        {
            "controller": "shop-be",
            "id": "week",
            "basis": "consent",
            "channels": ["email"],
            "direct_marketing": True,
            "consent_ttl": "P7D",
        },
    ],
}
"""Beside the newsletters a club that wants its consents confirmed, and a purpose for which consent lasts a week."""

PATIENCE = timedelta(seconds=10)


async def answers(home: Installation, address: str, *, controller: str = "shop-be") -> Answers:
    """All answers for an e-mail address; those of an address with nothing on record if it has no row."""
    connection = await connect(home.settings.dsn, "consent_operator")
    try:
        hash_ = await hashed(home, address, controller=controller)
        async with behind_barrier(connection, PATIENCE, home.clock) as snapshot:
            return await _read(snapshot, connection, controller, hash_)
    finally:
        await connection.close()


async def _read(snapshot: Snapshot, connection: Any, controller: str, hash_: bytes) -> Answers:
    found = (await snapshot.rows([hash_])).get(hash_)
    version = found.register_version if found else snapshot.register_version
    register = await view.compiled(connection, version)
    return expand(register, controller, "email", found.decisions if found else b"{}")


async def reason(
    home: Installation,
    address: str,
    *,
    controller: str = "shop-be",
    purpose: str = "newsletter",
    channel: str = "email",
) -> str:
    """The reason of one answer."""
    return (await answers(home, address, controller=controller))[purpose][channel].reason


async def hashed(home: Installation, address: str, *, controller: str = "shop-be") -> bytes:
    """The keyed hash by which a controller knows an address."""
    connection = await connect(home.settings.dsn, "consent_operator")
    try:
        found = await keys.controller_keys(connection, home.keks)
    finally:
        await connection.close()
    return address_hash(found[controller].key, "email", address)
