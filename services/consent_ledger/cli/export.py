"""`consent export`: what is handed to subjects, auditors and courts; each command has a file of its own."""

import typer

from consent_ledger.cli import (
    export_consent,
    export_ledger,
    export_pack,
    export_reads,
    export_subject,
    export_suppression,
)

app = typer.Typer(no_args_is_help=True, help="Evidence, and what subjects may ask for, as documents.")


@app.callback()
def group() -> None:
    """Evidence, and what subjects may ask for, as documents."""


app.command()(export_consent.consent)
app.command()(export_subject.subject)
app.command()(export_suppression.suppression)
app.command()(export_pack.pack)
app.command()(export_reads.reads)
app.command("ledger")(export_ledger.ledger)
