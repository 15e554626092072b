"""`consent rebuild`: the view made anew from the ledger, compared with the live one, and put in its place if asked."""

import os
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, USAGE, AsJson, err, fail, out, run, say_json, table
from consent_ledger.domain.cloudevents import build
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.publish import publishing
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import EVENTS
from consent_ledger.viewer.differences import Difference
from consent_ledger.viewer.rebuild import BusyError, Rebuild, Report, WorkerError

_SOURCE = "consent-cli"


def rebuild(
    *,
    drill: Annotated[bool, typer.Option("--drill", help="Do all but the last step, whatever is found.")] = False,
    accept: Annotated[
        bool, typer.Option("--accept-differences/--refuse-differences", help="What to do where the views differ.")
    ] = False,
    processes: Annotated[int, typer.Option(min=1, max=64, help="How many processes work.")] = os.cpu_count() or 1,
    shown: Annotated[int, typer.Option(min=0, max=10_000, help="How many differences to tell of.")] = 20,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Make the view anew beside the live one, compare row by row, and say what differs and why.

    Where nothing differs there is nothing to do. Where something does, the exit status is 1, and it is refused unless
    --accept-differences: then what differs is replaced in one transaction, and published. Events flow all the while.
    What was found is recorded in the ledger, as figures.
    """
    if drill and accept:
        fail("a drill changes nothing: leave out --accept-differences", USAGE)
    began_at = datetime.now(UTC)
    report = run(_rebuild(found.settings(data), began_at, swap=accept, drill=drill, processes=processes, shown=shown,
                          quiet=as_json))  # fmt: skip
    if as_json:
        say_json({"drill": drill, **report_data(report)})
    else:
        _say(report)
    if report.differences and not report.swapped:
        raise typer.Exit(NO)


async def _rebuild(
    settings: Settings, began_at: datetime, *, swap: bool, drill: bool, processes: int, shown: int, quiet: bool
) -> Report:
    with _progress(quiet=quiet) as progress:
        task = progress.add_task("waiting", total=None)

        def tell(what: str, done: int, every: int) -> None:
            progress.update(task, description=what, completed=done, total=every)

        made = Rebuild(settings, KeyFile(settings.key_file), processes=processes, shown=shown, progress=tell)
        try:
            report = await made.run(swap=swap)
        except (BusyError, WorkerError) as error:
            fail(str(error))
    await _record(settings, report, began_at, drill=drill)
    return report


async def _record(settings: Settings, report: Report, began_at: datetime, *, drill: bool) -> None:
    said = {
        "drill": drill, "applied": report.applied, "register": report.register_version, "addresses": report.addresses,
        "differences": report.differences, "written": report.written, "digest": f"sha256:{report.digest}",
        "began_at": began_at,
    }  # fmt: skip
    value = build("rebuild-run", _SOURCE, datetime.now(UTC), said, id=uuid.uuid4())
    async with publishing(settings.kafka(), f"{settings.topic_prefix}{EVENTS}") as publisher:
        await publisher.send(None, value)


def report_data(report: Report) -> dict[str, Any]:
    """Give a report as data."""
    return {name: getattr(report, name) for name in report.__struct_fields__}


def _say(report: Report) -> None:
    rows: list[tuple[Any, ...]] = [
        ("entries", report.entries), ("addresses", report.addresses), ("dossiers", report.dossiers),
        ("decided for", f"{report.instant:%Y-%m-%d %H:%M:%S} UTC"), ("register version", report.register_version),
        ("digest", report.digest), ("differences", report.differences), ("rows replaced", report.written),
    ]  # fmt: skip
    out.print(table("The view made anew", "", "", rows=rows))
    if report.found:
        told = [(one.what, _whose(one), one.cause, _answers(one)) for one in report.found]
        out.print(table("\nWhere the live view differs", "what", "address", "cause", "answers: live → anew", rows=told))
    if len(report.found) < report.differences:
        out.print(f"and {report.differences - len(report.found):,} more")
    if not report.differences:
        out.print("The live view is what the ledger says.")
    elif report.swapped:
        out.print("What differed is replaced, and is being published.")
    else:
        out.print("Nothing was changed; --accept-differences replaces what differs.")


def _whose(one: Difference) -> str:
    return "-" if one.hash is None else f"{one.controller}/{one.type}/{one.hash[:16]}…"


def _answers(one: Difference) -> str:
    said = (f"{a.purpose}/{a.channel}: {a.live or 'as for all'} → {a.anew or 'as for all'}" for a in one.answers[:3])
    return ", ".join(said) or "-"


def _progress(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal)
