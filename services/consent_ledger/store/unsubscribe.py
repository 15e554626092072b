"""Keys of unsubscribe tokens, wrapped like all others, and the basis that turns a click into the right event."""

import secrets

from consent_ledger.domain.unsubscribe import KEY_BYTES, TokenKey
from consent_ledger.runtime.keys import KeyEncryptionKeys, kid_of, unwrap, wrap
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import statements

_SQL = statements.load(__file__)


async def token_keys(connection: Connection, keks: KeyEncryptionKeys) -> dict[str, TokenKey]:
    """Return every key that any token was ever sealed under, by kid; those of a controller from the oldest on."""
    return {
        row["kid"]: TokenKey(
            controller=row["controller"], kid=row["kid"], key=unwrap(await keks.key(row["kek"]), row["wrapped"])
        )
        for row in await connection.fetch(_SQL["token_keys"])
    }


async def newest_key(connection: Connection, keks: KeyEncryptionKeys, controller: str) -> TokenKey:
    """Return the key for a controller's new tokens, making the first one."""
    mine = [key for key in (await token_keys(connection, keks)).values() if key.controller == controller]
    return mine[-1] if mine else await add_key(connection, keks, controller)


async def add_key(connection: Connection, keks: KeyEncryptionKeys, controller: str) -> TokenKey:
    """Make a random key for a controller's new tokens; the older keys stay, for the tokens in mails already sent."""
    key = secrets.token_bytes(KEY_BYTES)
    name = await keks.current()
    await connection.execute(_SQL["add_token_key"], kid_of(key), controller, name, wrap(await keks.key(name), key))
    return TokenKey(controller=controller, kid=kid_of(key), key=key)


async def purpose(connection: Connection, controller: str, id: str) -> tuple[str | None, str | None]:
    """Return the basis of a purpose and the name of its controller by the register in force; None: not in it."""
    row = await connection.fetchrow(_SQL["purpose"], controller, id)
    return (row["basis"], row["name"]) if row is not None else (None, None)


async def bases(connection: Connection) -> dict[tuple[str, str], str]:
    """Return the basis of every purpose of the register in force, by controller and id."""
    return {(row["controller"], row["id"]): row["basis"] for row in await connection.fetch(_SQL["bases"])}
