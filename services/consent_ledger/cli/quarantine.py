"""`consent quarantine`: what was not accepted, by its place; never what it holds."""

from typing import Annotated

import typer

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import AsJson, out, run, say_json, table
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import operator
from consent_ledger.store.operator import QuarantinedRecord

app = typer.Typer(no_args_is_help=True, help="Records that were not accepted, or only in part.")


@app.callback()
def group() -> None:
    """Records that were not accepted, or only in part."""


@app.command("list")
def list_(
    *,
    reason: Annotated[str | None, typer.Option(help="Only records of this reason.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, the newest first.")] = 100,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """List places, reasons and times, the newest first."""
    records = run(_read(found.settings(data), reason, limit))
    if as_json:
        say_json([record._asdict() for record in records])
        return
    rows = [
        (
            f"{record.topic}/{record.partition}@{record.offset}",
            f"{record.recorded_at:%Y-%m-%d %H:%M:%S}",
            record.reason,
            record.detail,
            None if record.position is None else f"{record.shard}/{record.position}",
        )
        for record in records
    ]
    out.print(table("Quarantine", "place", "recorded (UTC)", "reason", "detail", "entry", rows=rows))
    if not records:
        out.print("Nothing is in quarantine.")


async def _read(settings: Settings, reason: str | None, limit: int) -> list[QuarantinedRecord]:
    connection = await connect(settings.dsn, "consent_operator")
    try:
        return list(await operator.quarantined(connection, reason, limit))
    finally:
        await connection.close()
