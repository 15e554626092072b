"""`consent notice`: the texts that subjects are shown when they consent, kept word for word in the ledger."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.text import Text as Line

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.recorded import publish_recorded
from consent_ledger.cli.terminal import NO, USAGE, AsJson, fail, out, run, say_json, table, visible
from consent_ledger.domain.catalogue import TEXT
from consent_ledger.domain.cloudevents import build
from consent_ledger.domain.service_events import TEXT_MAX, text_hash
from consent_ledger.domain.texts import REGISTRAR, Text, event_id
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import keys, texts

app = typer.Typer(no_args_is_help=True, help="Texts that subjects are shown when they consent.")

Id = Annotated[str, typer.Option("--id", help="What events call it: evidence.text_id.")]
Version = Annotated[int, typer.Option(min=0, help="Which version: evidence.text_version.")]
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_MEDIA: Final = {".html": "text/html", ".htm": "text/html", ".md": "text/markdown"}


@app.callback()
def group() -> None:
    """Texts that subjects are shown when they consent."""


@app.command()
def add(
    *,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The text, in UTF-8.")],
    controller: Annotated[list[str], typer.Option(help="Whose text it is; repeat for more.")],
    text_id: Id,
    version: Version,
    language: Annotated[str, typer.Option(help="A tag such as nl or fr-BE.")],
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Keep a text for ever, as an entry of the ledger, under its SHA-256.

    A version keeps its text: another one under the same id, version and language is refused, exit status 1.
    """
    if _LANGUAGE.fullmatch(language) is None:
        fail("--language is a tag such as nl or fr-BE", USAGE)
    try:
        text = file.read_bytes().decode()
    except UnicodeDecodeError:
        fail(f"{file} is not UTF-8", USAGE)
    if not text.strip() or len(text) > TEXT_MAX:
        fail(f"{file} is empty, or longer than {TEXT_MAX:,} characters", USAGE)
    said = {"text_id": text_id, "text_version": version, "language": language, "text": text,
            "text_hash": text_hash(text), "media_type": _MEDIA.get(file.suffix.lower(), "text/plain")}  # fmt: skip
    kept = run(_add(found.settings(data), sorted(set(controller)), said))
    if as_json:
        say_json([_told(one) for one in kept])
    else:
        for one in kept:
            out.print(f"{one.hash}  entry {one.shard}/{one.position}  {visible(one.controller)}")


async def _add(settings: Settings, controllers: Sequence[str], said: dict[str, Any]) -> list[Text]:
    connection = await connect(settings.dsn, "consent_operator")
    try:
        known = await keys.known_controllers(connection)
        if unknown := [name for name in controllers if name not in known]:
            fail(f"no register that was ever loaded names {', '.join(map(visible, unknown))}", USAGE)
        for controller in controllers:
            if await _kept(connection, controller, said) is None:
                named = event_id(controller, said["text_id"], said["text_version"], said["language"])
                value = build(TEXT, REGISTRAR, datetime.now(UTC), {"controllers": [controller], **said}, named)
                await publish_recorded(settings, connection, value, named)
        return [one for one in [await _kept(connection, controller, said) for controller in controllers] if one]
    finally:
        await connection.close()


async def _kept(connection: Connection, controller: str, said: dict[str, Any]) -> Text | None:
    """Return the text of this version, if there is one; another one ends the command."""
    key = (controller, said["text_id"], said["text_version"], said["language"])
    there = next((one for one in await texts.registered(connection) if one.key == key), None)
    if there is not None and there.hash != said["text_hash"]:
        fail(
            f"version {there.version} of {visible(there.id)} in {there.language} has another text, {there.hash}: "
            "a changed text is a new version", NO,
        )  # fmt: skip
    return there


@app.command("list")
def list_(
    *,
    controller: Annotated[str | None, typer.Option(help="Only those of this controller.")] = None,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """List the texts that are kept."""
    kept = [one for one in run(_read(found.settings(data))) if controller in (None, one.controller)]
    if as_json:
        say_json([_told(one) for one in kept])
        return
    rows = [
        (visible(one.controller), visible(one.id), one.version, one.language, one.hash,
         f"{one.recorded_at:%Y-%m-%d %H:%M:%S}", f"{one.shard}/{one.position}")
        for one in kept
    ]  # fmt: skip
    columns = ("controller", "id", "version", "language", "hash", "recorded (UTC)", "entry")
    out.print(table("Texts", *columns, rows=list(rows)))


@app.command()
def show(
    *,
    hash_: Annotated[str, typer.Argument(metavar="HASH", help="SHA-256 of the text, or how it begins.")],
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Print a text, byte by byte as it was added; exit status 1 when none is kept under this hash."""
    wanted = hash_.lower().removeprefix("sha256:")
    kept = {
        one.hash: one for one in run(_read(found.settings(data))) if one.hash.removeprefix("sha256:").startswith(wanted)
    }
    if len(kept) != 1:
        fail("no text is kept under this hash" if not kept else "several texts begin so: give more of the hash", NO)
    (one,) = kept.values()
    if as_json:
        say_json({**_told(one), "text": one.text})
    else:
        typer.echo(one.text.encode() if not out.is_terminal else Line(visible(one.text)).plain, nl=False)


async def _read(settings: Settings) -> list[Text]:
    connection = await connect(settings.dsn, "consent_operator")
    try:
        return await texts.registered(connection)
    finally:
        await connection.close()


def _told(one: Text) -> dict[str, Any]:
    return {
        "controller": one.controller, "id": one.id, "version": one.version, "language": one.language, "hash": one.hash,
        "media_type": one.media_type, "event_id": one.event_id, "recorded_at": one.recorded_at,
        "position": {"shard": one.shard, "position": one.position},
    }  # fmt: skip
