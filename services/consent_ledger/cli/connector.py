"""`consent connector`: keeps the tools that send in line with the ledger, and shows what they did not take."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from prometheus_client import start_http_server

from consent_ledger.cli import webhook
from consent_ledger.cli.terminal import NO, UNAVAILABLE, USAGE, AsJson, fail, out, say_json, table
from consent_ledger.connectors import kinds, running
from consent_ledger.connectors.kinds import AnyKind, File
from consent_ledger.connectors.outcome import AwayError, RefusedError
from consent_ledger.connectors.running import Report
from consent_ledger.connectors.settings import BadConfigurationError
from consent_ledger.connectors.state import BusyError, State
from consent_ledger.runtime import telemetry
from consent_ledger.runtime.local.ports import LOOPBACK
from consent_ledger.runtime.supervise import until_told

app = typer.Typer(no_args_is_help=True, help="Connectors: what the ledger says reaches the tools that send.")
app.add_typer(webhook.app, name="webhook")

Config = Annotated[
    Path,
    typer.Option(
        "--config", envvar="CONSENT_CONNECTORS", exists=True, dir_okay=False, help="The connectors' file (TOML)."
    ),
]
Name = Annotated[str, typer.Argument(help="The connector, as the file and `consent consumers` name it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing, and say what would be changed.")]
DEFAULT: Final = Path("connectors.toml")


@app.callback()
def group() -> None:
    """Connectors: what the ledger says reaches the tools that send."""


@app.command()
def run(
    *,
    name: Name,
    config: Config = DEFAULT,
    once: Annotated[bool, typer.Option("--once", help="Do what is there to be done, and end.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Keep a tool in line with the ledger until stopped (ctrl-C, SIGTERM).

    Ends with 1 if something is parked, or, run dry, if something would be changed.
    """
    file, kind = _found(config, name)
    if not (once or dry_run):
        telemetry.configure_logging(file.log_level)
        if file.metrics_port:
            start_http_server(file.metrics_port, addr=LOOPBACK)
    report = _done(running.run(name, kind, file, once=once, dry=dry_run))
    if report is not None:
        _say(report, dry=dry_run, as_json=as_json)


@app.command()
def reconcile(*, name: Name, config: Config = DEFAULT, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Compare all that a tool thinks with what the ledger says, and put both in line.

    Where the ledger says no, the tool is told; where only the tool does, the ledger is, by an event. Nobody is
    subscribed again. Ends with 1 if something is parked, or, run dry, if anything differs.
    """
    file, kind = _found(config, name)
    report = _done(running.reconcile(name, kind, file, dry=dry_run))
    if report is not None:
        _say(report, dry=dry_run, as_json=as_json)


@app.command("list")
def list_(*, config: Config = DEFAULT, as_json: AsJson = False) -> None:
    """List the connectors of a file: whether each runs, when it was last through, and what is parked."""
    file = _file(config)
    rows = [{"name": name, "kind": _kind(kind), **_status(kind)} for name, kind in file.connector.items()]
    if as_json:
        say_json(rows)
        return
    columns = ("name", "kind", "runs", "caught up (UTC)", "parked refusals", "parked others")
    out.print(table("Connectors", *columns, rows=[tuple(row.values()) for row in rows], right=(4, 5)))


@app.command()
def status(*, name: Name, config: Config = DEFAULT, as_json: AsJson = False) -> None:
    """Say how a connector is. Ends with 1 if a refusal is parked."""
    _, kind = _found(config, name)
    found = {"name": name, "kind": _kind(kind), **_status(kind)}
    if as_json:
        say_json(found)
    else:
        out.print(table(f"Connector {name}", "what", "is", rows=list(found.items())))
    if found["parked_refusals"]:
        raise typer.Exit(NO)


@app.command()
def parked(*, name: Name, config: Config = DEFAULT, as_json: AsJson = False) -> None:
    """List what a tool refused for good. Ends with 1 if there is anything."""
    _, kind = _found(config, name)
    state = State(Path(kind.state))
    found = state.parked()
    state.close()
    if as_json:
        say_json([
            {"item": one.item.key, "refusal": one.item.refusal, "reason": one.reason, "since": one.since,
             "again": one.again}
            for one in found
        ])  # fmt: skip
    else:
        rows = [(one.item.key, one.item.refusal, one.reason, one.since, one.again) for one in found]
        out.print(table("Parked", "item", "refusal", "reason", "since (UTC)", "asked again", rows=rows))
    if found:
        raise typer.Exit(NO)


@app.command()
def redeliver(
    *,
    name: Name,
    item: Annotated[list[str] | None, typer.Argument(help="Items as `parked` lists them; all without.")] = None,
    config: Config = DEFAULT,
) -> None:
    """Have another attempt made at what is parked: by the connector that runs, or when it is started next."""
    _, kind = _found(config, name)
    state = State(Path(kind.state))
    asked, runs = state.ask_again(item), state.is_held()
    state.close()
    if item and asked < len(set(item)):
        fail("not all of these are parked", NO)
    out.print(f"{asked} to be tried again" + ("" if runs else f" when it runs: consent connector run {name}"))


def _file(config: Path) -> File:
    try:
        return kinds.load(config)
    except BadConfigurationError as error:
        fail(str(error), USAGE)


def _found(config: Path, name: str) -> tuple[File, AnyKind]:
    file = _file(config)
    kind = file.connector.get(name)
    if kind is None:
        fail(f"{config} has no connector {name}", USAGE)
    return file, kind


def _kind(kind: AnyKind) -> str:
    return str(kind.__struct_config__.tag)


def _status(kind: AnyKind) -> dict[str, str | int | bool | None]:
    state = State(Path(kind.state))
    try:
        refusals, others = state.count_parked()
        caught_up = state.facts().get("caught_up_at")
        return {
            "runs": state.is_held(), "caught_up_at": caught_up, "parked_refusals": refusals, "parked_others": others,
        }  # fmt: skip
    finally:
        state.close()


def _done(work: Coroutine[Any, Any, Report]) -> Report | None:
    """Run it; None when it was told to stop."""
    kept: list[Report] = []

    async def keep() -> None:
        kept.append(await work)

    try:
        asyncio.run(until_told(keep()))
    except BusyError as error:
        fail(str(error), UNAVAILABLE)
    except BadConfigurationError as error:
        fail(str(error), USAGE)
    except (AwayError, RefusedError) as error:
        fail(str(error), UNAVAILABLE)
    except OSError as error:
        fail(f"{error.filename or 'connector'}: {error.strerror or error}", USAGE)
    return kept[0] if kept else None


def _say(report: Report, *, dry: bool, as_json: bool) -> None:
    refusals, others = report.parked
    if as_json:
        counts = {key.replace(" ", "_"): value for key, value in sorted(report.counts.items())}
        say_json({**counts, "would": report.would, "parked_refusals": refusals, "parked_others": others})
    else:
        for line in report.would:
            out.print(f"would {line}", soft_wrap=True)
        rows = [*sorted(report.counts.items()), ("parked refusals", refusals), ("parked others", others)]
        out.print(table("Would be done" if dry else "Done", "what", "count", rows=rows, right=(1,)))
    differs = sum(count for what, count in report.counts.items() if what.startswith("to be ")) if dry else 0
    if refusals or others or report.would or differs:
        raise typer.Exit(NO)
