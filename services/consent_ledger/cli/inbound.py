"""`consent inbound`: mail that comes back, from a pipe or a mailbox, becomes events."""

import asyncio
import ssl
import sys
from contextlib import ExitStack
from typing import Annotated, Final

import asyncpg
import typer
from imapclient.exceptions import IMAPClientError, LoginError
from rich.text import Text

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, AsJson, err, fail, out, run, say_json
from consent_ledger.client.transports import OutOfReachError
from consent_ledger.inbound import aside, reader
from consent_ledger.inbound.intake import Intake, Taken
from consent_ledger.inbound.mailbox import Folders, Mailbox
from consent_ledger.runtime import telemetry
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Bounces, complaints and unsubscriptions that come by mail.")

# sysexits.h: the mail server keeps the mail and tries again.
TEMPORARY: Final = 75
_PIPE_SECONDS: Final = 60.0
_NOT_LET_IN: Final = "the mail server does not let us in: look at CONSENT_IMAP_USER and CONSENT_IMAP_PASSWORD"

_VOUCHED: Final = "its certificate must name CONSENT_IMAP_HOST and come from CONSENT_IMAP_CA_FILE"


@app.command()
def pipe(
    *,
    recipient: Annotated[
        list[str] | None, typer.Option(help="Whom the envelope names: ${original_recipient} in Postfix.")
    ] = None,
    data: Data = found.DEFAULT_DATA,
) -> None:
    """Read one mail from standard input, for a mail server's pipe or alias.

    Ends with 0 once Kafka has what the mail says, or the mail lies in CONSENT_INBOUND_ASIDE; else with 75, whatever the
    cause, so that the mail server keeps the mail and brings it again.
    """
    try:
        settings = found.settings(data)
        raw = sys.stdin.buffer.read()
        taken = asyncio.run(_take(settings, raw, recipient or []))
        if taken.aside is not None:
            kept = aside.keep(settings.inbound_aside, raw)
            err.print(Text(f"consent: set aside, {taken.aside}: {kept}"), soft_wrap=True)
    except Exception as error:  # noqa: BLE001 - every other exit status makes the mail server give up, or bounce
        err.print(Text(f"consent: the mail cannot be taken for the moment ({type(error).__name__})"), soft_wrap=True)
        raise typer.Exit(TEMPORARY) from None


async def _take(settings: Settings, raw: bytes, recipients: list[str]) -> Taken:
    intake = Intake(settings, KeyFile(settings.key_file))
    try:
        async with asyncio.timeout(_PIPE_SECONDS):
            return await intake.take(raw, await intake.known(), recipients)
    finally:
        await intake.close()


@app.command()
def mailbox(
    *,
    inbox: Annotated[str, typer.Option(help="Folder that is read.")] = Folders().inbox,
    done: Annotated[str, typer.Option(help="Folder for mails that were read.")] = Folders().done,
    put_aside: Annotated[
        str, typer.Option("--aside", help="Folder for mails that somebody must look at.")
    ] = Folders().aside,
    once: Annotated[
        bool, typer.Option("--once", help="Read what is there, and end; 1 if a mail was set aside.")
    ] = False,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Read the mailbox of the CONSENT_IMAP_* settings for as long as this runs.

    A mail is moved once Kafka has what it says. What is read twice after a crash counts once.
    """
    settings = found.settings(data)
    folders = Folders(inbox, done, put_aside)
    if once:
        counts = run(_once(settings, folders))
        if as_json:
            say_json(counts)
        else:
            out.print(Text(f"{counts['mails']} mails, {counts['events']} events, {counts['aside']} set aside"))
        raise typer.Exit(NO if counts["aside"] else 0)
    telemetry.configure_logging(settings.log_level)
    telemetry.start_metrics(settings)
    try:
        telemetry.run(_for_ever(settings, folders))
    except LoginError:
        fail(_NOT_LET_IN)


async def _once(settings: Settings, folders: Folders) -> dict[str, int]:
    intake = Intake(settings, KeyFile(settings.key_file))
    with ExitStack() as stack:
        try:
            opened = await asyncio.to_thread(stack.enter_context, Mailbox(settings, folders))
        except LoginError:
            fail(_NOT_LET_IN)
        except ssl.SSLCertVerificationError as error:
            # Its text names what is wrong, such as another name or an unknown authority, and no secrets.
            fail(f"the mail server is not the one it must be ({error.verify_message}): {_VOUCHED}")
        except (IMAPClientError, OSError) as error:
            fail(f"the mail server does not answer ({type(error).__name__}): look at CONSENT_IMAP_HOST, then try again")
        try:
            return dict(await reader.read_once(intake, opened))
        except OutOfReachError as error:
            fail(f"Kafka does not answer ({error}): look at CONSENT_KAFKA_BOOTSTRAP_SERVERS, then try again")
        finally:
            await intake.close()


async def _for_ever(settings: Settings, folders: Folders) -> None:
    intake = Intake(settings, KeyFile(settings.key_file))
    away = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
    try:
        await reader.read_for_ever(intake, lambda: Mailbox(settings, folders), away)
    finally:
        await intake.close()
