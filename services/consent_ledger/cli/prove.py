"""`consent prove`: writes the proof of one entry, which anyone can check without us."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.text import Text

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, AsJson, fail, out, run, say_json
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import log, proofs


def prove(
    *,
    event_id: Annotated[UUID, typer.Argument(help="Which event.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to; EVENT_ID.tlog-proof if left out.")
    ] = None,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Write a file that proves an event's entry to be in the log: entry, way to the root, signed checkpoint.

    `consent verify FILE` checks it; it holds nothing personal. (C2SP tlog-proof.)
    """
    proof = run(_proof(found.settings(data), event_id))
    if isinstance(proof, str):
        fail(proof, NO)
    path = output or Path(f"{event_id}.tlog-proof")
    try:
        path.write_bytes(proof)
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    if as_json:
        say_json({"event_id": event_id, "file": str(path), "bytes": len(proof)})
    else:
        out.print(Text(str(path)), soft_wrap=True)


async def _proof(settings: Settings, event_id: UUID) -> bytes | str:
    connection = await connect(settings.dsn, "consent_operator")
    try:
        place = await log.place_of(connection, event_id)
        if place is None:
            return "the ledger has no such event"
        proof = await proofs.proof(connection, *place, cosigned=settings.witness_quorum > 0)
        return proof or "the event is in no checkpoint yet that may be shown; try again in a moment"
    finally:
        await connection.close()
