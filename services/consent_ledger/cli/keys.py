"""`consent keys`: the key file, the hash keys of controllers, and the API keys of programs."""

import base64
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, TypeVar

import typer
from rich.text import Text

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, USAGE, AsJson, err, fail, out, run, say_json, table
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.logkey import LogKey
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import api_keys, keys
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
    """Print the key under which a controller's addresses are hashed on the topic. It is a secret."""
    settings = found.settings(data)
    key = run(_asked(settings, lambda connection: _controller_key(connection, settings, controller)))
    if key is None:
        fail(f"no register that was ever loaded names the controller {controller}", NO)
    if as_json:
        secret = base64.b64encode(key.key).decode()
        say_json({"controller": controller, "kid": key.kid, "alg": _ALGORITHM, "key": secret})
        return
    rows = [("controller", controller), ("kid", key.kid), ("alg", _ALGORITHM),
            ("key", base64.b64encode(key.key).decode())]  # fmt: skip
    out.print(table("Hash key", "", "", rows=list(rows)))


@app.command("log-public")
def log_public(*, data: Data = found.DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Print the key by which anyone checks the log's checkpoints and proofs (a verifier key of C2SP signed-note)."""
    settings = found.settings(data)
    key = run(_asked(settings, lambda connection: _log_key(connection, settings)))
    if as_json:
        say_json({"origin": settings.log_origin, "verifier_key": key})
    else:
        out.print(Text(key), soft_wrap=True)


async def _log_key(connection: Connection, settings: Settings) -> str:
    seed = await keys.log_key(connection, KeyFile(settings.key_file))
    try:
        return LogKey(settings.log_origin, seed).public
    except ValueError as error:
        fail(str(error), USAGE)


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
