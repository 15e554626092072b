"""`consent keys`: the key file, the hash keys of controllers, and the API keys of programs."""

import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from rich.text import Text

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.rotate import rotate
from consent_ledger.cli.terminal import NO, USAGE, AsJson, err, fail, out, run, say_json, table
from consent_ledger.domain.signing import SigningKey, SigningKeyError
from consent_ledger.domain.unsubscribe import ALGORITHM as TOKEN_ALGORITHM
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.logkey import LogKey
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import api_keys, consumers, keys, origins, unsubscribe
from consent_ledger.store.keys import ControllerKey

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="The key file, the hash keys of controllers, and API keys.")

_ALGORITHM: Final = "HMAC-SHA-256"


app.command()(rotate)


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
    controller: Annotated[str | None, typer.Option(help="Whose key.")] = None,
    consumer: Annotated[str | None, typer.Option(help="All keys of a registered consumer, and no other.")] = None,
    links: Annotated[bool, typer.Option("--links", help="With the keys that seal unsubscribe links.")] = False,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Print the key that hashes a controller's addresses on the topic, or all keys of a tool: secrets."""
    if (controller is None) == (consumer is None):
        fail("name either a --controller or a --consumer", USAGE)
    settings = found.settings(data)
    exported = run(
        _asked(settings, lambda connection: _export(connection, settings, controller, consumer, links=links))
    )
    if as_json:
        say_json(exported[0] if consumer is None else {"keys": exported})
        return
    rows = [(one["controller"], what, *key.values()) for one in exported for what, key in _named(one)]
    out.print(table("Keys", "controller", "what for", "kid", "alg", "key", rows=rows))


def _named(one: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
    hashing = {name: one[name] for name in ("kid", "alg", "key")}
    sealing = [("unsubscribe links", one["unsubscribe"])] if "unsubscribe" in one else []
    return [("addresses", hashing), *sealing]


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


@app.command("source-public")
def source_public(
    *,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="As openssl genpkey writes it.")],
    as_json: AsJson = False,
) -> None:
    """Print the public key of a source that signs its events, for `keys` of the source in the register."""
    try:
        key = SigningKey(file.read_bytes()).public
    except SigningKeyError as error:
        fail(str(error), USAGE)
    if as_json:
        say_json({"key": key})
    else:
        out.print(Text(key), soft_wrap=True)


@app.command("log-public")
def log_public(*, data: Data = found.DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Print the key by which anyone checks the log's checkpoints and proofs (a verifier key of C2SP signed-note)."""
    settings = found.settings(data)
    key = run(_asked(settings, lambda connection: _log_key(connection, settings)))
    if as_json:
        say_json({"origin": key.origin, "verifier_key": key.public})
    else:
        out.print(Text(key.public), soft_wrap=True)


async def _log_key(connection: Connection, settings: Settings) -> LogKey:
    try:
        return await origins.signing(connection, KeyFile(settings.key_file), settings.log_origin)
    except ValueError as error:
        fail(str(error), USAGE)


async def _controller_key(connection: Connection, settings: Settings, controller: str) -> ControllerKey | None:
    return (await keys.controller_keys(connection, KeyFile(settings.key_file))).get(controller)


async def _export(
    connection: Connection, settings: Settings, controller: str | None, consumer: str | None, *, links: bool
) -> list[dict[str, Any]]:
    """Return the keys as tools read them, of just the controllers that were asked for."""
    wanted = [controller] if controller is not None else await _controllers(connection, consumer)
    known = await keys.controller_keys(connection, KeyFile(settings.key_file))
    if strangers := [one for one in wanted if one not in known]:
        fail(f"no register that was ever loaded names the controller {', '.join(strangers)}", NO)
    exported: list[dict[str, Any]] = [
        {"controller": one, **_said(known[one].kid, _ALGORITHM, known[one].key)} for one in wanted
    ]
    for one in exported if links else ():
        token = await unsubscribe.newest_key(connection, KeyFile(settings.key_file), one["controller"])
        one["unsubscribe"] = _said(token.kid, TOKEN_ALGORITHM, token.key)
    return exported


def _said(kid: str, algorithm: str, key: bytes) -> dict[str, str]:
    return {"kid": kid, "alg": algorithm, "key": base64.b64encode(key).decode()}


async def _controllers(connection: Connection, name: str | None) -> list[str]:
    consumer = await consumers.find(connection, name or "")
    if consumer is None:
        fail(f"no consumer {name} is registered: consent consumers add", NO)
    return consumer.controllers


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
