"""`consent campaign`: what mail tools asked about a campaign, and what they were answered."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, USAGE, AsJson, err, fail, out, run, say_json, table, yes_no
from consent_ledger.domain.errors import IdentifierError
from consent_ledger.domain.identifiers import TYPES, normalise
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import campaigns, keys
from consent_ledger.store.campaigns import About, Count, Span

app = typer.Typer(no_args_is_help=True, help="What mail tools asked about a campaign and were answered.")


class _Shown(msgspec.Struct):
    """A campaign as far as it was asked for. `about`: the answers about one address, None when none was given."""

    span: Span
    counts: list[Count]
    about: list[About] | None


@app.callback()
def group() -> None:
    """What mail tools asked about a campaign and were answered."""


@app.command()
def show(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The campaign, as the mail tool named it.")],
    address: Annotated[
        bool, typer.Option("--address", help="Read an address from standard input: was it asked for?")
    ] = False,
    type_: Annotated[str, typer.Option("--type", help=f"What the address is: {', '.join(TYPES)}.")] = "email",
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Count the answers to a campaign by reason, or show what was answered about one address.

    Exit status 1: nothing was asked under this name, or never about the address.
    """
    value = _address(type_) if address else None
    shown = run(_read(found.settings(data), name, None if value is None else (type_, value)))
    if as_json:
        say_json(_data(name, shown))
    elif not shown.span.requests:
        err.print(f"Nothing was asked under the name {name!r}, or its time of keeping is over.", markup=False)
    elif shown.about is None:
        _say(name, shown)
    else:
        _say_about(shown.about)
    if not shown.span.requests or shown.about == []:
        raise typer.Exit(NO)


def _address(type_: str) -> str:
    """Read it from standard input, for what stands on a command line is seen by every user of the machine."""
    if type_ not in TYPES:
        fail(f"--type is one of {', '.join(TYPES)}", USAGE)
    try:
        return normalise(type_, sys.stdin.readline().strip())
    except IdentifierError:
        fail(f"standard input holds no address of the type {type_}", USAGE)


async def _read(settings: Settings, name: str, address: tuple[str, str] | None) -> _Shown:
    connection = await connect(settings.dsn, "consent_operator")
    try:
        counts = await campaigns.counts(connection, name)
        about = None
        if address is not None:
            about = await campaigns.about(connection, name, await _hashes(connection, settings, counts, address))
        return _Shown(await campaigns.span(connection, name), counts, about)
    finally:
        await connection.close()


async def _hashes(
    connection: Connection, settings: Settings, counts: Sequence[Count], address: tuple[str, str]
) -> list[bytes]:
    """Hash the address as each controller does about which the campaign asked."""
    known = await keys.controller_keys(connection, KeyFile(settings.key_file))
    asked = {count.controller for count in counts} & known.keys()
    return [address_hash(known[controller].key, *address) for controller in sorted(asked)]


def _data(name: str, shown: _Shown) -> dict[str, Any]:
    said: dict[str, Any] = {
        "campaign": name,
        **shown.span._asdict(),
        "counts": [count._asdict() for count in shown.counts],
    }
    if shown.about is not None:
        said["about"] = [one._asdict() for one in shown.about]
    return said


def _say(name: str, shown: _Shown) -> None:
    rows = [
        (one.controller, one.purpose, one.channel, yes_no(yes=one.allow), one.reason, one.answers)
        for one in shown.counts
    ]
    out.print(table(f"Campaign {name}", "controller", "purpose", "channel", "answer", "reason", "answers", rows=rows,
                    right=(5,)))  # fmt: skip
    out.print(f"{shown.span.requests:,} requests from {shown.span.first} to {shown.span.last}")


def _say_about(about: Sequence[About]) -> None:
    if not about:
        err.print("This address was never asked about.")
        return
    rows = [
        (one.answered_at, one.controller, one.purpose, one.channel, yes_no(yes=one.allow), one.reason, _place(one))
        for one in about
    ]
    out.print(table("Answers about the address", "when", "controller", "purpose", "channel", "answer", "reason",
                    "position", rows=rows))  # fmt: skip


def _place(one: About) -> str | None:
    return None if one.shard is None else f"{one.shard}/{one.position}"
