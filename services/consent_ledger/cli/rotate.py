"""`consent keys rotate`: a new key-encryption key takes over from the old ones, which backups still rest on."""

from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import AsJson, err, fail, out, run, say_json, table
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import rotation
from consent_ledger.store.rotation import Epoch

_STATEMENT_TIMEOUT = "60s"


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """What a rotation did: the key that is used now, those that are gone, and how many keys were wrapped anew."""

    current: str
    retired: list[str]
    rewrapped: int
    epochs: list[Epoch]


def rotate(
    *,
    batch: Annotated[int, typer.Option(min=1, max=20_000, help="Keys per transaction.")] = 1_000,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Wrap every key under a new key-encryption key, and destroy the old ones, so that no backup opens an erased key.

    Services go on meanwhile, and read the new key file by themselves. Where some have a key file of their own, copy
    the new one there at once: until then they cannot read what is wrapped under the new key, and try again. Cut off,
    it goes on where it stood when it is started again.
    """
    rotated = run(_rotate(found.settings(data), batch=batch, quiet=as_json))
    if as_json:
        say_json(rotated)
        return
    rows = [(one.epoch, one.kek, f"{one.began_at:%Y-%m-%d %H:%M:%S}",
             f"{one.retired_at:%Y-%m-%d %H:%M:%S}" if one.retired_at else None) for one in rotated.epochs]  # fmt: skip
    out.print(table("Key-encryption keys", "epoch", "name", "since (UTC)", "retired", rows=rows, right=(0,)))
    out.print(f"{rotated.rewrapped:,} keys are wrapped under {rotated.current} now.")
    err.print(Text("Keep a copy of the new key file, and destroy every copy of the old one.", style="bold yellow"))


async def _rotate(settings: Settings, *, batch: int, quiet: bool) -> Rotated:
    connection = await connect(settings.dsn, "consent_keeper", statement_timeout=_STATEMENT_TIMEOUT)
    try:
        if not await rotation.lock(connection):
            fail("another rotation is under way")
        return await rotated(connection, KeyFile(settings.key_file), batch=batch, quiet=quiet)
    finally:
        await connection.close()


async def rotated(connection: Connection, keys: KeyFile, *, batch: int, quiet: bool = True) -> Rotated:
    """Rotate, or finish what was cut off: a file with more keys than one is in the middle of it."""
    old = keys.names
    if len(old) == 1:
        await rotation.begin(connection, old)
        keys.add()
    *leaving, current = keys.names
    await rotation.begin(connection, [*leaving, current])
    number = 0
    with _progress(quiet=quiet) as progress:
        task = progress.add_task("keys", total=await rotation.left(connection, current))
        # A service that had not read the new file yet may have added a key under an old one meanwhile.
        while any([not await rotation.retire(connection, one) for one in leaving]):
            async for done in rotation.rewrap(connection, keys, current, batch):
                number += done
                progress.update(task, advance=done)
    for name in leaving:
        keys.remove(name)
    return Rotated(current=current, retired=leaving, rewrapped=number, epochs=await rotation.epochs(connection))


def _progress(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal)
