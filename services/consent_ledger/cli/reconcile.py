"""`consent reconcile`: compares the suppressions topic with the view, and has what differs sent again."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.text import Text

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, UNAVAILABLE, AsJson, err, fail, out, run, say_json, table
from consent_ledger.relay.reconcile import BehindError, Report
from consent_ledger.relay.reconcile import reconcile as compare
from consent_ledger.relay.restored import compare as compare_restored
from consent_ledger.relay.restored import raise_versions
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.settings import Settings


def reconcile(
    *,
    after_restore: Annotated[
        bool, typer.Option("--after-restore", help="The database was set back: the topic may be ahead of it.")
    ] = False,
    patience: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the relay to catch up.")] = 30.0,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Compare the topic with the view, key by key; what differs is sent again by the relay. Exit status 1 then.

    With --after-restore versions are raised first, so that readers take what comes; the rest is done once services run.
    """
    if after_restore:
        _after_restore(found.settings(data), patience, as_json=as_json)
        return
    report = run(_compare(found.settings(data), patience))
    if as_json:
        say_json(report_data(report))
    else:
        rows = [(name, value, _MEANING[name]) for name, value in report_data(report).items() if name in _MEANING]
        out.print(table("Topic and view", "", "keys", "", rows=rows, right=(1,)))
        out.print("They agree." if report.agrees else "They differ; what the view has is being sent again.")
    if not report.agrees:
        raise typer.Exit(NO)


_MEANING = {
    "checked": "compared",
    "moving": "changed meanwhile, not compared",
    "missing": "in the view, not on the topic: sent again",
    "stale": "another record than the view has: sent again",
    "unexpected": "on the topic, not in the view: look at these",
    "falling": "records with a lower version than one before: look at these",
}


async def _compare(settings: Settings, patience: float) -> Report:
    with err.status("comparing"):
        try:
            return await compare(settings, KeyFile(settings.key_file), patience_seconds=patience)
        except BehindError as error:
            fail(f"the relay does not catch up ({error}): does one run?", UNAVAILABLE)


def _after_restore(settings: Settings, patience: float, *, as_json: bool) -> None:
    highest, ours = run(raise_versions(settings))
    if not as_json:
        out.print(f"The topic has versions up to {highest:,}; those of the view go on above {ours:,}.")
    try:
        found = run(compare_restored(settings, KeyFile(settings.key_file), patience_seconds=patience))
    except BehindError as error:
        fail(f"versions are raised, and the relay does not catch up ({error}): start the services, then run this again")
    if as_json:
        say_json({"highest": highest, "seq": ours, "agrees": found.agrees, **asdict(found)})
    else:
        for text, keys in (("allowed by the view and refused by the topic, left as it is", found.withheld),
                           ("on the topic, and lost to the ledger", found.unexpected),
                           ("erased by the topic and not by the ledger", found.erased)):  # fmt: skip
            for key in keys:
                out.print(Text(f"{text}: {key}"), soft_wrap=True)
        out.print(f"{found.lifted:,} records are published anew.")
    if not found.agrees:
        raise typer.Exit(NO)


def report_data(report: Report) -> dict[str, Any]:
    """Give a report as data."""
    return {**{name: getattr(report, name) for name in _MEANING}, "agrees": report.agrees}
