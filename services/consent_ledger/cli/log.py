"""`consent log`: how the log stands outside the database, and how it goes on after a restore that lost entries."""

import asyncio
from typing import Annotated, Any

import asyncpg
import typer
from rich.text import Text

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, USAGE, AsJson, fail, out, run, say_json, table
from consent_ledger.domain import checkpoint
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.logkey import LogKey
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.sealer.outside import contradiction, published
from consent_ledger.store import log, origins

app = typer.Typer(no_args_is_help=True, help="The Merkle log: its names, and how it begins anew.")


@app.command("origins")
def origins_(*, data: Data = found.DEFAULT_DATA, as_json: AsJson = False) -> None:
    """List the logs of this installation with their verifier keys, the present one last."""
    rows = run(_origins(found.settings(data)))
    if as_json:
        say_json(rows)
        return
    cells = [(row["origin"], row["verifier_key"], row["continues"], row["reason"]) for row in rows]
    out.print(table("Logs", "origin", "verifier key", "continues", "because", rows=cells))


async def _origins(settings: Settings) -> list[dict[str, Any]]:
    connection = await connect(settings.dsn, "consent_operator")
    try:
        key = await _key(connection, settings)
        later = await origins.origins(connection)
    finally:
        await connection.close()
    first = later[0].ended if later else key.origin
    rows: list[dict[str, Any]] = [{"origin": first, "continues": None, "reason": None}]
    rows += [{"origin": one.origin, "continues": one.ended, "reason": one.reason} for one in later]
    return [{**row, "verifier_key": key.verifier_key_of(row["origin"])} for row in rows]


@app.command("new-origin")
def new_origin(
    *,
    reason: Annotated[str, typer.Option(help="Why the log cannot go on: one line, which every checkpoint carries.")],
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Begin a new log where the database is behind what was published, as after a restore that lost entries.

    It names the log that was cut off, and the last checkpoint published of it. What that one proved stays proved.
    """
    begun = run(begin_anew(found.settings(data), reason))
    if isinstance(begun, str):
        fail(begun, NO)
    if as_json:
        say_json(begun)
        return
    out.print(Text(f"{begun['origin']} continues {begun['continues']}, which was cut off at {begun['size']} entries"))
    out.print(Text(begun["verifier_key"]), soft_wrap=True)


async def begin_anew(settings: Settings, reason: str) -> dict[str, Any] | str:
    """Begin a new log; returns what is told of it, or why none was begun."""
    connection = await connect(settings.dsn, "consent_operator")
    try:
        key, last = await _key(connection, settings), await log.last(connection)
        notes = await published(settings, key.origin, key.number)
        whys = [why for note in notes if (why := await contradiction(connection, key, note, last)) is not None]
    finally:
        await connection.close()
    if not whys:
        return f"{key.origin} agrees with what is published: it goes on by itself, and needs no new origin"
    # Without the key that signed the log, which a restore may lose, what is published is still named.
    readable = [note for note in notes if key.has_signed(note)] or [note for note in notes if _of(note, key.origin)]
    if not readable:
        return f"{whys[0]}: a person must look at it"
    ended = max(readable, key=lambda note: checkpoint.read(note).size)
    try:
        checkpoint.continuation(checkpoint.read(ended), reason)
    except ValueError as error:
        fail(str(error), USAGE)
    number = key.number + 1
    origin = f"{settings.log_origin}/{number}"
    await _write(settings, number, origin, ended, reason)
    head = checkpoint.read(ended)
    return {"origin": origin, "continues": head.origin, "size": head.size, "root": head.root.hex(), "reason": reason,
            "verifier_key": key.verifier_key_of(origin)}  # fmt: skip


async def _write(settings: Settings, number: int, origin: str, ended: bytes, reason: str) -> None:
    """Begin the log in the role of the tables' owner, as `consent migrate` works."""
    owner: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
        settings.dsn, server_settings={"search_path": "consent"}
    )
    try:
        async with owner.transaction():
            # A sealer that owns the log renews its lease in each of its transactions, and finds itself fenced.
            await owner.execute("UPDATE seal_head SET epoch = epoch + 1, lease_until = '-infinity'")
            await origins.begin(owner, number, origin, ended, reason)
    finally:
        await owner.close()


def _of(note: bytes, origin: str) -> bool:
    try:
        return checkpoint.read(note).origin == origin
    except ValueError:
        return False


async def _key(connection: Connection, settings: Settings) -> LogKey:
    return await origins.signing(connection, await asyncio.to_thread(KeyFile, settings.key_file), settings.log_origin)
