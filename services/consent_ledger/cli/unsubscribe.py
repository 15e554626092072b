"""`consent unsubscribe-link`: the headers by which one address can leave one purpose."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.history import address_from
from consent_ledger.cli.terminal import NO, USAGE, AsJson, fail, out, run, say_json
from consent_ledger.client import UnsubscribeLinks
from consent_ledger.domain.errors import IdentifierError
from consent_ledger.domain.unsubscribe import TokenKey
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import unsubscribe as store


def link(
    *,
    controller: Annotated[str, typer.Option(help="In whose name the mail is sent.")],
    purpose: Annotated[str, typer.Option(help="What the mail is for.")],
    channel: Annotated[str, typer.Option(help="Whose channel the address is.")] = "email",
    file: Annotated[
        Path | None, typer.Option(help="The address stands in this file, - for standard input; else you are asked.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Where readers reach the API; CONSENT_PUBLIC_URL by default.")] = None,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Print List-Unsubscribe and List-Unsubscribe-Post (RFC 8058) for a mail to one address; DKIM must cover both.

    The link is a secret between the mail and its reader. The address is no argument, so that no shell remembers it.
    """
    settings = found.settings(data)
    public_url = url or settings.public_url
    if public_url is None:
        fail("CONSENT_PUBLIC_URL is not set, and there is no --url", USAGE)
    address = address_from(file)
    key = run(_key(settings, controller, purpose))
    if key is None:
        fail(f"the register in force has no purpose {purpose} of {controller}", NO)
    links = UnsubscribeLinks(key, public_url, mailto=settings.unsubscribe_mailto)
    try:
        made = links.headers(purpose=purpose, channel=channel, address=address)
    except IdentifierError as error:
        fail(f"the address cannot be used: {error}", USAGE)
    except ValueError as error:
        fail(str(error), USAGE)
    if as_json:
        say_json({"headers": made, "link": links.link(purpose=purpose, channel=channel, address=address)})
        return
    for name, text in made.items():
        out.print(Text(f"{name}: {text}"), soft_wrap=True)


async def _key(settings: Settings, controller: str, purpose: str) -> TokenKey | None:
    connection = await connect(settings.dsn, "consent_operator")
    try:
        basis, _ = await store.purpose(connection, controller, purpose)
        if basis is None:
            return None
        return await store.newest_key(connection, KeyFile(settings.key_file), controller)
    finally:
        await connection.close()
