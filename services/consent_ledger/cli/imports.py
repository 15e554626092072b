"""`consent import`: whole lists from outside."""

import typer

from consent_ledger.cli import import_dnc, import_receipts, import_suppressions

app = typer.Typer(no_args_is_help=True, help="Import whole lists from outside.")

app.command("dnc")(import_dnc.dnc_command)
app.command("suppressions")(import_suppressions.suppressions)
app.command("receipts")(import_receipts.receipts_command)
