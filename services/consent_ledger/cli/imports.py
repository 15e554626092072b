"""`consent import`: whole lists from outside."""

import typer

from consent_ledger.cli import import_suppressions

app = typer.Typer(no_args_is_help=True, help="Import whole lists from outside.")


@app.callback()
def imports() -> None:
    """Make a group of it even while it has one command only."""


app.command("suppressions")(import_suppressions.suppressions)
