"""What the exports have in common: a person, shown once the look is recorded; proofs of entries; files, whole."""

import asyncio
import getpass
import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

import msgspec
import typer

from consent_ledger.cli import found, history, verify
from consent_ledger.cli.decide import kind_of
from consent_ledger.cli.terminal import NO, UNAVAILABLE, USAGE, fail
from consent_ledger.domain import register as registers
from consent_ledger.domain.access import Place
from consent_ledger.domain.consent_record import Log, Proof
from consent_ledger.domain.identifiers import TYPES
from consent_ledger.domain.register import Register
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import log, overview, proofs

Controller = Annotated[str, typer.Option(help="At which controller.")]
Reason = Annotated[str, typer.Option(help="Why; the look is recorded with it.")]
As = Annotated[str | None, typer.Option("--as", help="Who looks; your user name unless said.")]
AddressFile = Annotated[
    Path | None,
    typer.Option("--file", help="The address stands in this file, - for standard input; else you are asked."),
]
Kind = Annotated[
    str | None, typer.Option("--type", help=f"What the address is: {', '.join(TYPES)}; mostly clear by itself.")
]
Event = Annotated[UUID | None, typer.Option("--event", help="Find the person by an event's id instead of an address.")]
Patience = Annotated[float, typer.Option("--wait", min=0, help="How many seconds the sealer may take.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file instead.")]

PATIENCE_SECONDS: Final = 30.0
_ASK_SECONDS: Final = 0.1
_PAGE: Final = 1_000


class Ledger(NamedTuple):
    """What of the ledger is nobody's personal data: read with an operator's rights."""

    settings: Settings
    connection: Connection


class Wanted(NamedTuple):
    """Whose data, at which controller, who looks, and why. `subject` None: the person of an event."""

    controller: str
    reason: str
    viewer: str
    subject: dict[str, str] | None
    event_id: UUID | None


@asynccontextmanager
async def ledger(data: Path) -> AsyncIterator[Ledger]:
    """Open the ledger that a command is about."""
    settings = found.settings(data)
    connection = await connect(settings.dsn, "consent_operator")
    try:
        yield Ledger(settings, connection)
    finally:
        await connection.close()


def wanted(
    controller: str, reason: str, viewer: str | None, file: Path | None, kind: str | None, event: UUID | None
) -> Wanted:
    """Say whose data are asked for; asks for the address, unless it is in a file or an event is named."""
    if event is not None and file is not None:
        fail("give either --event, or an address", USAGE)
    if kind is not None and kind not in TYPES:
        fail(f"--type is one of {', '.join(TYPES)}", USAGE)
    if not reason.strip():
        fail("--reason says why you look", USAGE)
    subject = None
    if event is None:
        address = history.address_from(file)
        subject = {"type": kind or kind_of(address), "value": address}
    return Wanted(controller, reason, viewer or getpass.getuser(), subject, event)


async def person(data: Path, who: Wanted, *, openings: bool = False) -> dict[str, Any]:
    """Return all that is on record of a person, as `shown` by the API; exit status 1 where nothing is.

    The look is recorded first, as one entry for a thousand that are shown.
    """
    asked: dict[str, Any] = {
        "controller": who.controller, "reason": who.reason, "viewer": who.viewer, "limit": _PAGE, "openings": openings,
    }  # fmt: skip
    asked |= {"event_id": str(who.event_id)} if who.subject is None else {"subject": [who.subject]}
    shown: dict[str, Any] = (await history.look(data, asked))["shown"]
    after = shown["next"]
    while after is not None:
        page = (await history.look(data, asked | {"after": after}))["shown"]
        shown["entries"] += page["entries"]
        after = page["next"]
    if not shown["entries"]:
        fail("nothing is on record", NO)
    return shown


async def register_of(connection: Connection, version: int | None = None) -> Register:
    """Return a version of the register, else the one in force."""
    versions = await overview.register_versions(connection)
    number = version if version is not None else versions[-1].version if versions else 0
    document = await overview.register_document(connection, number) if number else {}
    return registers.compile(document, number)


async def proved(ledger: Ledger, entries: Sequence[Mapping[str, Any]], patience: float) -> Log:
    """Prove entries, as shown, in one checkpoint; waits for the sealer, and ends the command if that takes too long."""
    places = [(entry["position"]["shard"], entry["position"]["position"]) for entry in entries]
    deadline = asyncio.get_running_loop().time() + patience
    while not await _are_sealed(ledger.connection, places):
        if asyncio.get_running_loop().time() > deadline:
            fail(
                f"not all of this is sealed after {patience:g} seconds: see whether a sealer runs (`consent doctor`), "
                "then try again", UNAVAILABLE,
            )  # fmt: skip
        await asyncio.sleep(_ASK_SECONDS)
    async with ledger.connection.transaction(isolation="repeatable_read", readonly=True):
        found_ = [await _proof(ledger.connection, entry, *place) for entry, place in zip(entries, places, strict=True)]
    return Log(verifier_key=await verify.public_key(ledger.settings), proofs=found_)


async def _are_sealed(connection: Connection, places: Collection[tuple[int, int]]) -> bool:
    last = await log.last(connection)
    return last is not None and all(
        shard < len(last.heads) and position < last.heads[shard] for shard, position in places
    )


async def _proof(connection: Connection, entry: Mapping[str, Any], shard: int, position: int) -> Proof:
    proof = await proofs.proof(connection, shard, position)
    (leaf,) = await log.entries(connection, shard, position, position + 1)
    assert proof is not None  # noqa: S101 - the caller has waited for it
    return Proof(
        event_id=str(entry["event_id"]), place=Place(shard, position), leaf_hash=leaf.leaf_hash.hex(),
        proof=proof.decode(), opening=entry.get("opening"),
    )  # fmt: skip


def now() -> str:
    """Give the instant at which a document is made."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def pretty(document: msgspec.Struct) -> bytes:
    """Write a document as JSON for people and programs."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def deliver(content: bytes, output: Path | None) -> None:
    """Print a document, or write it to a file that only its owner may read."""
    if output is None:
        typer.echo(content, nl=False)
    else:
        write(output, content)


def write_all(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a directory that, where it is new, only its owner may enter."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in files.items():
        write(directory / name, content)


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, for its owner alone: it is about a person."""
    fresh = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)
