"""`consent propagation`: how fast refusals spread, who is behind, and which refusals have not arrived."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Final

import isodate
import msgspec
import typer
from rich.text import Text

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, USAGE, AsJson, fail, out, run, say_json, table, yes_no
from consent_ledger.domain.propagation import Figures, measure
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import propagation as store

_SHOWN_MAX: Final = 20
_STATEMENT_TIMEOUT: Final = "60s"
_DAYS_KEPT: Final = 30


def propagation(
    *,
    since: Annotated[str, typer.Option(help="How far to look back, as an ISO 8601 duration; P30D at most.")] = "P1D",
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Show how long refusals took: to be recorded, to be on the topic, to be applied by each registered consumer.

    Exit status 1 when a budget is broken: 99 of 100 within a minute of being recorded; no consumer a quarter of an hour
    behind. Times are upper bounds, by the minute in which a refusal was recorded.
    """
    figures = run(_measure(found.settings(data), _duration(since)))
    if as_json:
        say_json({"since": since, "stages": [msgspec.structs.asdict(one) for one in figures]})
    else:
        _say(figures)
    if any(one.late for one in figures):
        raise typer.Exit(NO)


def _duration(text: str) -> timedelta:
    try:
        duration = isodate.parse_duration(text)
    except isodate.ISO8601Error:
        duration = None
    if not isinstance(duration, timedelta) or not timedelta(0) < duration <= timedelta(days=_DAYS_KEPT):
        fail("--since takes an ISO 8601 duration such as PT1H or P7D, P30D at most", USAGE)
    return duration


async def _measure(settings: Settings, since: timedelta) -> list[Figures]:
    connection = await connect(settings.dsn, "consent_operator", statement_timeout=_STATEMENT_TIMEOUT)
    try:
        spread = await store.spread(connection, since, settings.partitions)
    finally:
        await connection.close()
    return measure(*spread)


def _say(figures: Sequence[Figures]) -> None:
    rows = [
        (
            one.stage, one.refusals, *map(_seconds, (one.p50, one.p95, one.p99, one.max, one.behind)),
            len(one.unconfirmed), yes_no(yes=not one.late, text="late" if one.late else "in time"),
        )
        for one in figures
    ]  # fmt: skip
    columns = ("stage", "refusals", "p50 s", "p95 s", "p99 s", "max s", "behind s", "not confirmed", "budget")
    out.print(
        table("From being recorded (the first row: from being declared)", *columns, rows=rows, right=(*range(1, 8),))
    )
    for one in figures:
        if one.unconfirmed:
            shown = ", ".join(str(event_id) for event_id in one.unconfirmed[:_SHOWN_MAX])
            more = len(one.unconfirmed) - _SHOWN_MAX
            out.print(Text(f"not at {one.stage}: {shown}{f' and {more:,} more' if more > 0 else ''}"), soft_wrap=True)


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:,.1f}"
