"""`consent history`: a person's entries at one controller, for an officer who says why they look."""

import getpass
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import httpx
import typer
from rich.text import Text

from consent_ledger.cli import found
from consent_ledger.cli.decide import api_client, kind_of, no_answer
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, USAGE, AsJson, err, fail, out, run, say_json, table, visible
from consent_ledger.domain.identifiers import TYPES

_STANDARD_INPUT: Final = Path("-")
_TIMEOUT_SECONDS: Final = 60.0
# What the table has columns for.
_SHOWN_APART: Final = frozenset({"entered_by", "controllers"})


def history(
    *,
    controller: Annotated[str, typer.Option(help="Whose ledger.")],
    reason: Annotated[str, typer.Option(help="Why you look; it is recorded.")],
    event: Annotated[UUID | None, typer.Option(help="Find the person by an event's id instead of an address.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="The address stands in this file, - for standard input; else you are asked.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--type", help=f"What the address is: {', '.join(TYPES)}; mostly clear by itself.")
    ] = None,
    viewer: Annotated[str | None, typer.Option("--as", help="Who looks; your user name unless said.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many entries.")] = 200,
    after: Annotated[str | None, typer.Option(metavar="SHARD/POSITION", help="Go on after this entry.")] = None,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Show all that one controller has on record of a person, oldest first; exit status 1 when there is nothing.

    The look itself is recorded first: who, whose data, why, and a digest of what was shown. Where it cannot be, nothing
    is shown and the exit status is 3. The address is no argument, so that it stays out of the shell's history.
    """
    if event is not None and file is not None:
        fail("give either --event, or an address", USAGE)
    if kind is not None and kind not in TYPES:
        fail(f"--type is one of {', '.join(TYPES)}", USAGE)
    asked: dict[str, Any] = {
        "controller": controller, "reason": reason, "viewer": viewer or getpass.getuser(), "limit": limit,
    }  # fmt: skip
    if after is not None:
        asked["after"] = _place(after)
    if event is not None:
        asked["event_id"] = str(event)
    else:
        address = address_from(file)
        asked["subject"] = [{"type": kind or kind_of(address), "value": address}]
    answer = run(look(data, asked))
    if as_json:
        say_json(answer)
    else:
        _say(answer)
    if not answer["shown"]["entries"]:
        raise typer.Exit(NO)


def _place(text: str) -> dict[str, int]:
    shard, _, position = text.partition("/")
    if not (shard.isdecimal() and position.isdecimal()):
        fail("--after is SHARD/POSITION, as the column `place` shows it", USAGE)
    return {"shard": int(shard), "position": int(position)}


def address_from(file: Path | None) -> str:
    """Ask for an address, or read it: as an argument a shell would remember it. Ends the command if there is none."""
    if file is None and sys.stdin.isatty():
        address: str = typer.prompt("address", err=True)
    elif file is None or file == _STANDARD_INPUT:
        address = sys.stdin.readline()
    elif file.is_file():
        address = next(iter(file.read_text(encoding="utf-8").splitlines()), "")
    else:
        fail(f"there is no file {file}", USAGE)
    if not address.strip():
        fail("there is no address", USAGE)
    return address.strip()


async def look(data: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Ask the API for a person, which records the look; where it gives none, the command ends."""
    async with api_client(data) as client:
        answer = await client.post("/v1/subjects/lookup", json=asked, timeout=_TIMEOUT_SECONDS)
    if answer.status_code == httpx.codes.NOT_FOUND:
        fail(f"no register that was ever loaded names the controller {visible(asked['controller'])}", USAGE)
    if not answer.is_success:
        fail(*no_answer(answer))
    looked: dict[str, Any] = answer.json()
    return looked


# -- for people


def _say(answer: dict[str, Any]) -> None:
    shown, look = answer["shown"], answer["look"]
    if not shown["entries"]:
        out.print("Nothing is on record.")
    rows = [
        (
            _at(entry["position"]), _time(entry["occurred_at"]), _time(entry["recorded_at"]), entry["type"],
            visible(entry["source"]), visible(entry["entered_by"] or "-"), _marks(entry),
        )
        for entry in shown["entries"]
    ]  # fmt: skip
    columns = ("place", "happened (UTC)", "recorded (UTC)", "type", "source", "typed by", "marks")
    out.print(table(f"Entries at {shown['controller']}", *columns, rows=list(rows)))
    for entry in shown["entries"]:
        out.print(Text.assemble((f"{_at(entry['position'])}  ", "dim"), _details(entry)), soft_wrap=True)
    known = [
        (one["type"], _value(one["value"]), "asked" if one["asked"] else "linked",
         ", ".join(_at(place) for place in one["positions"]))
        for one in shown["identifiers"]
    ]  # fmt: skip
    out.print(table("\nIdentifiers", "type", "value", "", "entries", rows=list(known)))
    answers = [
        (visible(one["value"]), each["purpose"], each["channel"], "yes" if each["allow"] else "no", each["reason"])
        for one in shown["answers"]
        for each in one["decisions"]
    ]
    out.print(table("\nAnswers now", "address", "purpose", "channel", "", "reason", rows=list(answers)))
    kept = [(one["type"], _value(one["value"]), one["hash"], _at(one["position"])) for one in shown["suppression"]]
    out.print(table("\nKept so that suppression goes on", "type", "value", "keyed hash", "entry", rows=list(kept)))
    if shown["next"] is not None:
        err.print(f"There is more: --after {_at(shown['next'])}")
    err.print(Text(f"This look is recorded as {_at(look['position'])}, event {look['event_id']}.", style="dim"))


def _at(place: dict[str, int]) -> str:
    return f"{place['shard']}/{place['position']}"


def _time(instant: str) -> str:
    return instant[:19].replace("T", " ")


def _value(value: str | None) -> str:
    return "(erased)" if value is None else visible(value)


def _marks(entry: dict[str, Any]) -> str:
    marks = [name for name in ("voided", "malformed") if entry[name]]
    if entry["personal"] in {"erased", "elsewhere"}:
        marks.append(entry["personal"])
    if entry["waits_for"]:
        marks.append(f"waits for {entry['waits_for']}")
    if entry["conflicts_with"]:
        marks.append(f"conflicts with {visible(entry['conflicts_with'])}")
    marks += [f"in quarantine: {record['reason']}" for record in entry["in_quarantine"]]
    return ", ".join(marks) or "-"


def _details(entry: dict[str, Any]) -> str:
    """Write the event's id and the rest of what was said in one line, identifiers first."""
    who = [f"{one['type']} {_value(one['value'])}" for one in entry["identifiers"]]
    said = [
        f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in sorted(entry["said"].items())
        if name not in _SHOWN_APART
    ]
    return visible("; ".join([entry["event_id"], *who, *said]))
