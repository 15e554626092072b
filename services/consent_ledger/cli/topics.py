"""`consent topics`: makes and checks the topics."""

from collections.abc import Awaitable, Callable

import typer

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, AsJson, out, run, say_json, table
from consent_ledger.runtime import topics
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.topics import Difference

app = typer.Typer(no_args_is_help=True, help="The topics and their settings.")


@app.command()
def apply(*, data: Data = found.DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Make the topics that are missing, and mend settings that differ."""
    mended = run(_with(topics.apply, found.settings(data)))
    _say(mended, "mended", "All topics were as they should be.", as_json=as_json)


@app.command()
def check(*, data: Data = found.DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Compare the topics with what they should be; exit status 1 when one differs."""
    differences = run(_with(topics.check, found.settings(data)))
    _say(differences, "differs", "All topics are as they should be.", as_json=as_json)
    if differences:
        raise typer.Exit(NO)


async def _with(work: Callable[..., Awaitable[list[Difference]]], settings: Settings) -> list[Difference]:
    return await work(settings.kafka(), prefix=settings.topic_prefix, partitions=settings.partitions)


def _say(differences: list[Difference], title: str, none: str, *, as_json: bool) -> None:
    if as_json:
        say_json([difference_data(difference) for difference in differences])
    elif differences:
        rows = [(one.topic, one.setting, one.found or "missing", one.wanted) for one in differences]
        out.print(table(title, "topic", "setting", "found", "wanted", rows=rows))
    else:
        out.print(none)


def difference_data(difference: Difference) -> dict[str, str | bool | None]:
    """Give a difference as data."""
    return {
        "topic": difference.topic,
        "setting": difference.setting,
        "found": difference.found,
        "wanted": difference.wanted,
        "vital": difference.vital,
    }
