"""`consent retention`: deletes evidence whose time is over, and says how much."""

from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import AsJson, err, fail, out, run, say_json, table
from consent_ledger.domain.cloudevents import build
from consent_ledger.runtime.clock import SystemClock
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.publish import publishing
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import EVENTS
from consent_ledger.store.view import FencedError
from consent_ledger.viewer.retention import Report, Retention

app = typer.Typer(no_args_is_help=True, help="How long evidence is kept (Art. 5(1)(e)).")

_SOURCE = "consent-cli"
_STATEMENT_TIMEOUT = "60s"


@app.callback()
def group() -> None:
    """How long evidence is kept (Art. 5(1)(e))."""


@app.command("run")
def run_(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only; nothing is deleted.")] = False,
    chunk: Annotated[int, typer.Option(min=1, max=5_000, help="Dossiers per transaction.")] = 200,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Delete evidence of what permitted, files of requests, quarantined records and campaigns whose time is over.

    Never a refusal. A run that was cut off is taken up where it stood. What was deleted is recorded in the ledger, as
    figures.
    """
    report = run(_run(found.settings(data), dry_run=dry_run, chunk=chunk, quiet=as_json))
    counts = report.counts
    if as_json:
        say_json({"id": report.id, "began_at": report.began_at, "dry_run": dry_run, "counts": counts})
        return
    rows = [(name.partition("/")[0], name.partition("/")[2], count) for name, count in counts.consents.items()]
    out.print(table("Consents whose time is over", "controller", "purpose", "consents", rows=rows, right=(2,)))
    would = "would be " if dry_run else ""
    out.print(
        f"{counts.payloads:,} personal parts, {counts.index_rows:,} index rows and {counts.quarantined:,} quarantined "
        f"records {would}deleted; the index rows of {counts.kept:,} consents stay, for refusals rest on them. "
        f"{counts.campaign_answers:,} answers to campaigns {would}deleted."
    )


async def _run(settings: Settings, *, dry_run: bool, chunk: int, quiet: bool) -> Report:
    connection = await connect(settings.dsn, "consent_retention", statement_timeout=_STATEMENT_TIMEOUT)
    try:
        with _progress(quiet=quiet) as progress:
            task = progress.add_task("dossiers", total=None)
            retention = Retention(
                settings, KeyFile(settings.key_file), SystemClock(), connection, chunk=chunk,
                progress=lambda done, every: progress.update(task, completed=min(done, every), total=every),
            )  # fmt: skip
            if dry_run:
                return await retention.count()
            try:
                report = await retention.run()
            except FencedError:
                fail("a register was loaded or the viewer changed meanwhile; the run goes on when it is started again")
        await _record(settings, report)
        await retention.close(report)
    finally:
        await connection.close()
    return report


async def _record(settings: Settings, report: Report) -> None:
    """Publish what was done under the run's own id, so that once more is not twice."""
    counts = report.counts
    controllers = sorted({name.partition("/")[0] for name in counts.consents})
    said = {
        "controllers": controllers, "payloads": counts.payloads, "index_rows": counts.index_rows,
        "quarantined": counts.quarantined, "kept": counts.kept, "began_at": report.began_at,
    }  # fmt: skip
    value = build("retention-run", _SOURCE, report.began_at, said, id=report.id)
    async with publishing(settings.kafka(), f"{settings.topic_prefix}{EVENTS}") as publisher:
        await publisher.send(None, value)


def _progress(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal)
