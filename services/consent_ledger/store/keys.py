"""Wrapped keys in the database: of the service, of each controller, of each person at a controller."""

import secrets
import uuid
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

from consent_ledger.runtime.keys import KEY_BYTES, KeyEncryptionKeys, kid_of, unwrap, wrap
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)

# Digests of events are keyed, so that nobody can guess an address from one; quarantined bodies are encrypted.
SERVICE_KEYS = ("digest", "quarantine")
_LOG_KEY = "log"


class ControllerKey(NamedTuple):
    """The key under which one controller's addresses are hashed. `kid` names it outside."""

    kid: str
    key: bytes


class PersonKey(NamedTuple):
    """The key of one person at one controller; erasure destroys it."""

    person: uuid.UUID
    key: bytes


def payload_context(event_id: uuid.UUID, controller: str) -> bytes:
    """What a payload's ciphertext is bound to, so that it cannot be moved to another entry or controller."""
    return event_id.bytes + controller.encode()


async def service_keys(connection: Connection, keks: KeyEncryptionKeys) -> dict[str, bytes]:
    """Return the keys of the service itself, making those that do not exist yet."""
    name = await keks.current()
    kek = await keks.key(name)
    rows = await connection.fetch(_SQL["service_keys"])
    for missing in set(SERVICE_KEYS) - {row["name"] for row in rows}:
        await connection.execute(_SQL["add_service_key"], missing, name, wrap(kek, secrets.token_bytes(KEY_BYTES)))
        rows = await connection.fetch(_SQL["service_keys"])
    return {row["name"]: unwrap(await keks.key(row["kek"]), row["wrapped"]) for row in rows}


async def log_key(connection: Connection, keks: KeyEncryptionKeys) -> bytes:
    """Return the seed of the key that signs checkpoints, making one if there is none."""
    rows = [row for row in await connection.fetch(_SQL["service_keys"]) if row["name"] == _LOG_KEY]
    if not rows:
        name = await keks.current()
        wrapped = wrap(await keks.key(name), secrets.token_bytes(KEY_BYTES))
        await connection.execute(_SQL["add_service_key"], _LOG_KEY, name, wrapped)
        rows = [row for row in await connection.fetch(_SQL["service_keys"]) if row["name"] == _LOG_KEY]
    return unwrap(await keks.key(rows[0]["kek"]), rows[0]["wrapped"])


async def controller_keys(connection: Connection, keks: KeyEncryptionKeys) -> dict[str, ControllerKey]:
    """Return the hash keys of all controllers, by controller."""
    rows = await connection.fetch(_SQL["controller_keys"])
    return {
        row["controller"]: ControllerKey(row["kid"], unwrap(await keks.key(row["kek"]), row["wrapped"])) for row in rows
    }


async def known_controllers(connection: Connection) -> set[str]:
    """Return the controllers that any register has ever named."""
    return {row["controller"] for row in await connection.fetch(_SQL["known_controllers"])}


async def add_controller_keys(connection: Connection, keks: KeyEncryptionKeys, controllers: Iterable[str]) -> None:
    """Make a random hash key for each controller that has none."""
    name = await keks.current()
    kek = await keks.key(name)
    for controller in controllers:
        key = secrets.token_bytes(KEY_BYTES)
        await connection.execute(_SQL["add_controller_key"], controller, kid_of(key), name, wrap(kek, key))


async def person_keys(
    connection: Connection, keks: KeyEncryptionKeys, anchors: dict[bytes, str]
) -> dict[bytes, PersonKey]:
    """Return the key of each anchor (anchor → controller), making a random one where there is none.

    The keys are committed before anything is encrypted under them; a key that is never used harms nobody.
    """
    found = await existing_person_keys(connection, keks, anchors)
    # Sorted, so that two recorders with anchors in common wait for each other and never in a circle.
    missing = sorted(anchors.keys() - found.keys())
    if missing:
        name = await keks.current()
        kek = await keks.key(name)
        made = {anchor: PersonKey(uuid.uuid4(), secrets.token_bytes(KEY_BYTES)) for anchor in missing}
        rows = await connection.fetch(
            _SQL["add_person_keys"],
            missing,
            [one.person for one in made.values()],
            [anchors[anchor] for anchor in missing],
            [name] * len(missing),
            [wrap(kek, one.key) for one in made.values()],
        )
        added = {row["anchor"]: made[row["anchor"]] for row in rows}
        found |= added
        if others := made.keys() - added.keys():
            found |= await existing_person_keys(connection, keks, others)
    return found


async def existing_person_keys(
    connection: Connection, keks: KeyEncryptionKeys, anchors: Iterable[bytes]
) -> dict[bytes, PersonKey]:
    """Return the key of each anchor that has one, making none."""
    rows = await connection.fetch(_SQL["person_keys"], list(anchors))
    return {row["anchor"]: PersonKey(row["person"], unwrap(await keks.key(row["kek"]), row["wrapped"])) for row in rows}


async def keys_of_persons(
    connection: Connection, keks: KeyEncryptionKeys, persons: Collection[uuid.UUID]
) -> dict[uuid.UUID, bytes]:
    """Return the keys of persons that still have one, by person; erased persons are missing from the answer."""
    rows = await connection.fetch(_SQL["person_keys_by_person"], list(persons))
    return {row["person"]: unwrap(await keks.key(row["kek"]), row["wrapped"]) for row in rows}


async def erasures(connection: Connection) -> int:
    """Return how many erasures have destroyed keys; keys fetched before the last of them may be gone."""
    number: int = await connection.fetchval(_SQL["erasures"])
    return number


async def newest_erasure(connection: Connection) -> datetime | None:
    """Return up to when the latest erasure took what had happened; None when there was none."""
    found: datetime | None = await connection.fetchval(_SQL["newest_erasure"])
    return found


async def erased(connection: Connection, hashes: Collection[bytes]) -> dict[bytes, datetime]:
    """Return which of these addresses were erased, each with the instant up to which nothing personal is kept."""
    return {row["hash"]: row["at"] for row in await connection.fetch(_SQL["erased"], list(hashes))}
