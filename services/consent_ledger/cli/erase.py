"""`consent erase`: leads through an erasure, from the request to the certificate (Art. 17, 19)."""

import sys
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import msgspec
import typer
from rich.text import Text

from consent_ledger.cli import erasing, found
from consent_ledger.cli.decide import kind_of
from consent_ledger.cli.erasing import Addresses, Desk, Person
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, USAGE, AsJson, err, fail, out, run, say_json, table
from consent_ledger.domain.identifiers import TYPES, normalise_or_raw
from consent_ledger.runtime.settings import Settings

Told = Annotated[list[str] | None, typer.Option("--told", help="A recipient who was told (Art. 19); repeat for more.")]


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What was done. `to_tell`: recipients who have still to be told. `certificate`: the file."""

    request_id: UUID
    erasure: UUID
    person: Person
    keys: int
    personal_parts: int
    index_rows: int
    told: list[str]
    to_tell: list[str]
    certificate: str


def erase(
    *,
    address: Annotated[list[str] | None, typer.Argument(help="Whom: one address, or several of one person.")] = None,
    controller: Annotated[str, typer.Option(help="At which controller; everywhere else the person stays.")],
    source: Annotated[str, typer.Option(help="For which registered source you speak, for example staff:shop-be.")],
    who: Annotated[str, typer.Option("--as", help="Who you are, for example staff:jan.")],
    kind: Annotated[str | None, typer.Option("--type", help="What the addresses are; mostly clear by itself.")] = None,
    request: Annotated[UUID | None, typer.Option(help="The request that is on record; else one is recorded.")] = None,
    told: Told = None,
    certify: Annotated[UUID | None, typer.Option(help="Certify an erasure once more; with --told.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where the certificate goes.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; what is destroyed does not come back.")] = False,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Erase a person at one controller: record the request, look at holds, destroy, tell recipients, certify.

    Exit status 1 when a legal hold stands against it: the request is on record then, and suppresses.
    `consent verify FILE` checks the certificate.
    """
    if certify is None and not address:
        fail("name an address of the person", USAGE)
    if not who.strip():
        fail("--as says who you are", USAGE)
    if not (yes or certify or (somebody_is_there() and not as_json)):
        fail("nobody can be asked here: say --yes", USAGE)
    said = _addresses(address or [], kind)
    asking = not yes and not as_json
    settings = found.settings(data)
    if certify is not None:
        path = output or Path(f"{certify}.certificate.json")
        _write(path, run(_certify(settings, controller, source, who, certify, told or [])))
        say_json({"certificate": str(path)}) if as_json else out.print(Text(str(path)), soft_wrap=True)
        return
    erased = run(_erase(settings, controller, source, who, said, request, told or [], output, asking=asking))
    if as_json:
        say_json(erased)
    else:
        _say(erased)


def somebody_is_there() -> bool:
    """Tell whether questions would be answered."""
    return sys.stdin.isatty()


def _addresses(addresses: list[str], kind: str | None) -> Addresses:
    found_ = []
    for one in addresses:
        chosen = kind or kind_of(one)
        if chosen not in TYPES:
            fail(f"--type is one of {', '.join(TYPES)}", USAGE)
        # A refusal may have bound a value that is no address.
        value, _ = normalise_or_raw(chosen, one)
        if not value:
            fail("an empty address names nobody", USAGE)
        found_.append((chosen, value))
    return found_


async def _erase(
    settings: Settings, controller: str, source: str, who: str, addresses: Addresses, request: UUID | None,
    told: list[str], output: Path | None, *, asking: bool,
) -> Erased:  # fmt: skip
    async with erasing.desk(settings, controller, source, who) as at:
        person = await erasing.find(at, addresses)
        subject = [{"type": kind, "value": value} for kind, value in addresses]
        if request is None:
            # From here on the person is suppressed, and the clock of Art. 12 runs.
            request, _ = await erasing.say(at, "erasure-requested", {"subject": subject, "entered_by": who})
        _require_free(at, person, request)
        if asking:
            _show(at, person)
            typer.confirm("Destroy it for good?", abort=True, err=True)
        order = {"subject": subject, "request_id": request, "entered_by": who}
        erasure, place = await erasing.say(at, "erasure-executed", order)
        done = await erasing.carried_out(at, place)
        to_tell = await _tell(at, request, told, asking=asking)
        path = output or Path(f"{erasure}.certificate.json")
        _write(path, await erasing.certify(at, erasure))
    return Erased(
        request_id=request, erasure=erasure, person=person, keys=done.keys, personal_parts=done.payloads,
        index_rows=done.index_rows, told=told, to_tell=to_tell, certificate=str(path),
    )  # fmt: skip


def _require_free(at: Desk, person: Person, request: UUID) -> None:
    if person.holds:
        held = ", ".join(map(str, person.holds))
        fail(f"a legal hold of {at.controller} stands against it ({held}); the request {request} is on record", NO)


async def _tell(at: Desk, request: UUID, told: list[str], *, asking: bool) -> list[str]:
    """Record who was told, and return who has still to be."""
    for recipient in told:
        await erasing.told(at, request, recipient)
    left = []
    for notice in await erasing.notices(at, request):
        if notice.state != "open" or notice.recipient in told:
            continue
        if asking and typer.confirm(f"Was {notice.recipient} told (Art. 19)?", err=True):
            await erasing.told(at, request, notice.recipient)
        else:
            left.append(notice.recipient)
    return left


async def _certify(
    settings: Settings, controller: str, source: str, who: str, erasure: UUID, told: list[str]
) -> dict[str, Any]:
    """Certify what was carried out, and record who was told meanwhile."""
    async with erasing.desk(settings, controller, source, who) as at:
        certificate = await erasing.certify(at, erasure)
        for recipient in told:
            await erasing.told(at, UUID(certificate["claims"]["request_id"]), recipient)
        return certificate


def _write(path: Path, certificate: dict[str, Any]) -> None:
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(certificate)))
    except OSError as error:
        fail(f"{path}: {error.strerror}")


def _show(at: Desk, person: Person) -> None:
    rows = [
        ("entries", person.entries), ("consents among them, whose proof is kept for its time", person.consents),
        ("identifiers", person.identifiers), ("purposes that go on (Art. 17(3))", ", ".join(person.exempt) or None),
    ]  # fmt: skip
    err.print(table(f"What is known of the person at {at.controller}", "", "", rows=list(rows)))


def _say(erased: Erased) -> None:
    out.print(
        f"Erased: {erased.keys:,} keys, {erased.personal_parts:,} personal parts and {erased.index_rows:,} index rows "
        "are gone; a keyed hash stays, so that the person stays suppressed."
    )
    if erased.to_tell:
        rows = [(one,) for one in erased.to_tell]
        out.print(table("Recipients to tell within a week (Art. 19)", "recipient", rows=list(rows)))
        err.print(f"Once they are: consent erase --certify {erased.erasure} --told RECIPIENT")
    out.print(Text(erased.certificate), soft_wrap=True)
