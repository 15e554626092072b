"""`consent keys`: the key file, the hash keys of controllers, and the API keys of programs."""

import base64
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, TypeVar

import typer
from rich.text import Text

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, USAGE, AsJson, err, fail, out, run, say_json, table
from consent_ledger.domain.unsubscribe import ALGORITHM as TOKEN_ALGORITHM
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import api_keys, keys, unsubscribe
from consent_ledger.store.keys import ControllerKey

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="The key file, the hash keys of controllers, and API keys.")

_ALGORITHM: Final = "HMAC-SHA-256"


@app.command()
def init(*, data: Data = found.DEFAULT_DATA) -> None:
    """Make the key file that CONSENT_KEY_FILE names; one that exists is never written over."""
    path = found.settings(data).key_file
    try:
        KeyFile.create(path)
    except FileExistsError:
        fail(f"{path} exists already, and whatever was written under it needs it", USAGE)
    out.print(Text(str(path)), soft_wrap=True)
    err.print(Text("Keep a copy apart from the database: losing it loses everything.", style="bold yellow"))


@app.command()
def export(
    *,
    controller: Annotated[str, typer.Option(help="Whose key.")],
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Print the key under which a controller's addresses are hashed, and the one for its unsubscribe links. Secrets."""
    settings = found.settings(data)
    key = run(_asked(settings, lambda connection: _controller_key(connection, settings, controller)))
    if key is None:
        fail(f"no register that was ever loaded names the controller {controller}", NO)
    token = run(_asked(settings, lambda one: unsubscribe.newest_key(one, KeyFile(settings.key_file), controller)))
    hashing = {"kid": key.kid, "alg": _ALGORITHM, "key": base64.b64encode(key.key).decode()}
    sealing = {"kid": token.kid, "alg": TOKEN_ALGORITHM, "key": base64.b64encode(token.key).decode()}
    if as_json:
        say_json({"controller": controller, **hashing, "unsubscribe": sealing})
        return
    rows = [("controller", controller), *hashing.items(),
            *((f"unsubscribe {name}", text) for name, text in sealing.items())]  # fmt: skip
    out.print(table("Keys", "", "", rows=list(rows)))


@app.command()
def renew(
    *,
    controller: Annotated[str, typer.Option(help="Whose key.")],
    data: Data = found.DEFAULT_DATA,
) -> None:
    """Make a new key for a controller's unsubscribe links; links made under the older ones go on working."""
    settings = found.settings(data)
    if run(_asked(settings, lambda connection: _controller_key(connection, settings, controller))) is None:
        fail(f"no register that was ever loaded names the controller {controller}", NO)
    key = run(_asked(settings, lambda one: unsubscribe.add_key(one, KeyFile(settings.key_file), controller)))
    out.print(Text(key.kid), soft_wrap=True)
    err.print(Text("Export it to the tools that make links.", style="dim"))


async def _controller_key(connection: Connection, settings: Settings, controller: str) -> ControllerKey | None:
    return (await keys.controller_keys(connection, KeyFile(settings.key_file))).get(controller)


@app.command()
def create(
    *,
    scope: Annotated[list[str], typer.Option(help=f"What it may do: {', '.join(api_keys.SCOPES)}; repeat for more.")],
    source: Annotated[list[str] | None, typer.Option(help="Sources it may publish for; * for all.")] = None,
    controller: Annotated[list[str] | None, typer.Option(help="Controllers it may ask for; * for all.")] = None,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Make an API key, and print it this once: only a digest is kept."""
    if unknown := sorted(set(scope) - set(api_keys.SCOPES)):
        fail(f"no such scope: {', '.join(unknown)}; there are {', '.join(api_keys.SCOPES)}", USAGE)
    key = run(
        _asked(
            found.settings(data),
            lambda connection: api_keys.create(
                connection, scopes=scope, sources=source or [], controllers=controller or []
            ),
        )
    )
    if as_json:
        say_json({"api_key": key, "scopes": scope, "sources": source or [], "controllers": controller or []})
    else:
        out.print(Text(key), soft_wrap=True)
        err.print(Text("It is not shown again.", style="dim"))


@app.command("list")
def list_(*, data: Data = found.DEFAULT_DATA, as_json: AsJson = False) -> None:
    """List the API keys by their ids, also revoked ones."""
    listed = run(_asked(found.settings(data), api_keys.list_keys))
    if as_json:
        say_json(listed)
        return
    rows = [
        (
            key.id,
            ", ".join(key.scopes),
            ", ".join(key.sources) or None,
            ", ".join(key.controllers) or None,
            f"{key.created_at:%Y-%m-%d %H:%M:%S}",
            f"{key.revoked_at:%Y-%m-%d %H:%M:%S}" if key.revoked_at else None,
        )
        for key in listed
    ]
    out.print(table("API keys", "id", "scopes", "sources", "controllers", "created (UTC)", "revoked", rows=rows))


@app.command()
def revoke(
    *,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `consent keys list` shows it.")],
    data: Data = found.DEFAULT_DATA,
) -> None:
    """End an API key for ever; processes that have just seen it take it for some seconds more."""
    if not run(_asked(found.settings(data), lambda connection: api_keys.revoke(connection, key_id))):
        fail("no API key that works has this id", NO)
    out.print("revoked")


async def _asked(settings: Settings, question: Callable[[Connection], Awaitable[T]]) -> T:
    connection = await connect(settings.dsn, "consent_operator")
    try:
        return await question(connection)
    finally:
        await connection.close()
