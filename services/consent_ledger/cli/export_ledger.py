"""`consent export ledger`: the sealed ledger as Parquet files that anybody can query and check."""

from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, USAGE, AsJson, err, fail, out, run, say_json
from consent_ledger.runtime.objects import ObjectsError
from consent_ledger.runtime.settings import Settings
from consent_ledger.sealer.export import Exported, OtherLogError, export
from consent_ledger.store import replay
from consent_ledger.store.log import LogDamagedError


def ledger(
    *,
    place: Annotated[str, typer.Argument(help="A folder, or s3://bucket/path; what is there already is added to.")],
    size: Annotated[int | None, typer.Option(help="Up to the checkpoint of this size; the newest unless said.")] = None,
    after: Annotated[
        int | None, typer.Option(min=0, help="A new export: leave out what the checkpoint of this size holds.")
    ] = None,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Write what is sealed of the ledger as Parquet, with a manifest that `consent verify --export` checks.

    Nothing in it is personal: no ciphertexts, and no hashes of addresses. Run it again to add what was sealed since.
    """
    done = run(_export(found.settings(data), place, size, after, quiet=as_json))
    if as_json:
        say_json(done)
    else:
        out.print(
            f"{done.entries:,} entries in {done.segments:,} new segments; the export holds the log of {done.size:,}."
        )


async def _export(settings: Settings, place: str, size: int | None, after: int | None, *, quiet: bool) -> Exported:
    columns = (TextColumn("exporting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as shown:
        task = shown.add_task("exporting", total=None)
        async with replay.reading(settings.dsn) as connection:
            try:
                return await export(
                    connection, place, settings.log_origin, size=size, after=after,
                    progress=lambda done, every: shown.update(task, completed=done, total=every),
                )  # fmt: skip
            except OtherLogError as error:
                fail(str(error), USAGE)
            except LogDamagedError as error:
                fail(f"NOT EXPORTED: {error}", NO)
            except ObjectsError as error:
                fail(str(error))
