"""`consent postfix`: the gate that judges a Postfix's recipients."""

from pathlib import Path
from typing import Annotated

import typer

from consent_ledger.cli.terminal import USAGE, fail
from consent_ledger.connectors import postfix

app = typer.Typer(no_args_is_help=True, help="A gate for Postfix: mail goes only to those who may have it.")


@app.callback()
def commands() -> None:
    """Keep the one command a command with a name."""


@app.command()
def policy(
    *, config: Annotated[Path, typer.Option("--config", exists=True, dir_okay=False, help="The gate's file (TOML).")]
) -> None:
    """Answer Postfix at RCPT TO from a copy of the suppressions topic, until stopped (ctrl-C, SIGTERM).

    Serves check_policy_service and check_recipient_access (tcp_table), as the file says.
    """
    try:
        postfix.run(postfix.load(config))
    except postfix.BadConfigurationError as error:
        fail(str(error), USAGE)
    except OSError as error:
        fail(f"{error.filename or 'the gate cannot listen'}: {error.strerror}", USAGE)
