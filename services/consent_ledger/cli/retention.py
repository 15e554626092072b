"""`consent retention`: deletes evidence whose time is over, says how much, and what is to be looked over each year."""

from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec
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
from consent_ledger.store import retention as store
from consent_ledger.store import view
from consent_ledger.store.retention import DueForReview
from consent_ledger.store.view import FencedError
from consent_ledger.viewer.retention import FilesKept, RebuildUnderWayError, Report, Retention

app = typer.Typer(no_args_is_help=True, help="How long evidence is kept (Art. 5(1)(e)).")

_SOURCE = "consent-cli"
_STATEMENT_TIMEOUT = "60s"
# It reads every refusal there ever was, once a year.
_REVIEW_TIMEOUT = "15min"


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


@app.command()
def review(
    *,
    controller: Annotated[str | None, typer.Option(help="Only those of this controller.")] = None,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Count the suppression entries (refusals, erasures) that are due for their yearly review. Deletes nothing.

    And the files of requests whose time is over and whose index rows are there: because somebody may refuse something
    by them (Art. 7(3), 17, 18, 21), because a legal hold or a refusal rests on them, or until the next run.

    Refusals have no end while their controller does any direct marketing: the review is where somebody sees that one
    does none any more. A withdrawal is kept, and counted, at every controller that it may reach (C-129/21);
    entries that were voided are counted too.
    """
    reviewed = run(_review(found.settings(data)))
    due = [one for one in reviewed.due if controller in (None, one.controller)]
    files = [one for one in reviewed.files if controller in (None, one.controller)]
    if as_json:
        told = [{**msgspec.to_builtins(one), "direct_marketing": one.controller in reviewed.marketing} for one in due]
        say_json({"as_of": reviewed.now, "due": told, "request_files": files})
        return
    markets = {one.controller: "yes" if one.controller in reviewed.marketing else "no" for one in due}
    rows = [
        (one.controller, one.type, one.years, one.entries, one.addresses, markets[one.controller]) for one in due
    ]  # fmt: skip
    heads = ("controller", "type", "years", "entries", "addresses", "markets")
    out.print(table("Suppression entries due for review", *heads, rows=rows, right=(2, 3, 4)))
    kept = [
        (one.controller, one.article, one.files, one.index_rows, one.oldest, "yes" if one.refuses else "no")
        for one in files
    ]  # fmt: skip
    heads = ("controller", "article", "files", "index rows", "answered since", "refuses")
    out.print(table("Files of requests whose time is over", *heads, rows=kept, right=(2, 3)))


class _Reviewed(NamedTuple):
    """What is to be looked over, as of the database's clock; and the controllers that do direct marketing now."""

    now: datetime
    due: list[DueForReview]
    files: list[FilesKept]
    marketing: frozenset[str]


async def _review(settings: Settings) -> _Reviewed:
    connection = await connect(settings.dsn, "consent_retention", statement_timeout=_REVIEW_TIMEOUT)
    try:
        now = await store.database_now(connection)
        version = await store.register_version(connection)
        purposes = (await view.compiled(connection, version)).purposes.values()
        marketing = frozenset(one.controller for one in purposes if one.terms.direct_marketing)
        files = await Retention(settings, KeyFile(settings.key_file), SystemClock(), connection).review_files()
        return _Reviewed(now, await store.review(connection, now), files, marketing)
    finally:
        await connection.close()


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
            except RebuildUnderWayError:
                fail("the view is being made anew; start the run again when that is done, and it goes on")
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
