"""`consent verify`: checks a proof, the whole ledger, or a published log; everything that decides is in `verifier`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, USAGE, AsJson, fail, out, run, say_json, table, visible, yes_no
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.sealer import outside
from consent_ledger.store import audit as stored
from consent_ledger.store import origins
from consent_ledger.verifier.audit import Report, audit
from consent_ledger.verifier.certificate import Certified, check_certificate, is_certificate
from consent_ledger.verifier.finding import Finding
from consent_ledger.verifier.note import Checkpoint, VerifierKey, open_checkpoint
from consent_ledger.verifier.origin import check_link, ended_before
from consent_ledger.verifier.proof import Proven, check_proof
from consent_ledger.verifier.remote import Checked, check_url
from consent_ledger.verifier.tree import ProofError

Key = Annotated[str | None, typer.Option(help="Verifier key of the log, as `consent keys log-public` prints it.")]
Published = Annotated[
    list[Path] | None, typer.Option("--checkpoint", help="A checkpoint kept elsewhere, which the log must continue.")
]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked, and the first thing that is not as it was sealed."""

    ok: bool
    size: int
    root: str
    entries: int
    finding: dict[str, object] | None = None


def verify(
    *,
    file: Annotated[Path | None, typer.Argument(help="What `consent prove` or `consent erase` writes.")] = None,
    ledger: Annotated[bool, typer.Option("--ledger", help="Check the whole ledger in the database.")] = False,
    url: Annotated[str | None, typer.Option(help="Check the whole published log under this URL.")] = None,
    key: Key = None,
    witness: Annotated[list[str] | None, typer.Option(help="Verifier key of a witness; repeat for more.")] = None,
    quorum: Annotated[int, typer.Option(min=0, help="How many witnesses must have signed a proof.")] = 0,
    checkpoint: Published = None,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Check that nothing was altered, removed, added or reordered since it was sealed, and name the first that was.

    A proof, a certificate of erasure and a published log need --key and nothing of ours: neither database nor service.
    """
    if [file is not None, ledger, url is not None].count(True) != 1:
        fail("name a file, or say --ledger, or --url URL", USAGE)
    try:
        trusted = VerifierKey.parse(key) if key else VerifierKey.parse(run(public_key(found.settings(data))))
        witnesses = [VerifierKey.parse(one) for one in witness or []]
        notes, ended = _apart([path.read_bytes() for path in checkpoint or []], trusted)
        if file is not None:
            raw = file.read_bytes()
            if is_certificate(raw):
                _say_certificate(check_certificate(raw, trusted, witnesses, quorum), as_json=as_json)
            else:
                proven = check_proof(raw, trusted, witnesses, quorum)
                _check_links(proven.checkpoint, ended, trusted)
                _say_proof(proven, as_json=as_json)
        elif url is not None:
            older = [open_checkpoint(note, trusted) for note in notes]
            checked = run(_checked(url, trusted, older, witnesses, quorum))
            _check_links(checked.checkpoint, ended, trusted)
            _say(_of_log(checked), as_json=as_json)
        else:
            settings = found.settings(data)
            _say(_of_ledger(run(audited(settings, trusted, notes, ended))), as_json=as_json)
    except ProofError as error:
        if as_json:
            say_json({"ok": False, "error": str(error)})
        fail(f"NOT PROVED: {error}", NO)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", USAGE)


async def public_key(settings: Settings) -> str:
    """Return the verifier key of an installation's own log."""
    connection = await connect(settings.dsn, "consent_operator")
    try:
        return (await origins.signing(connection, KeyFile(settings.key_file), settings.log_origin)).public
    finally:
        await connection.close()


def _apart(notes: list[bytes], key: VerifierKey) -> tuple[list[bytes], list[bytes]]:
    """Divide checkpoints into those of the key's own log, and those of others, which it may name as ended."""
    ours = f"{key.name}\n".encode()
    return [note for note in notes if note.startswith(ours)], [note for note in notes if not note.startswith(ours)]


def _check_links(checkpoint: Checkpoint, ended: Sequence[bytes], key: VerifierKey) -> None:
    for note in ended:
        check_link(checkpoint, note, key)


async def _checked(
    url: str, key: VerifierKey, older: Sequence[Checkpoint], witnesses: Sequence[VerifierKey], quorum: int
) -> Checked:
    return check_url(url, key, older, witnesses, quorum)


async def audited(
    settings: Settings, key: VerifierKey, notes: Sequence[bytes] = (), ended: Sequence[bytes] = ()
) -> Report:
    """Audit the database against what is published, where that can be seen, and what was given."""
    # What is published is read first: the database is at least as far then.
    connection = await connect(settings.dsn, "consent_operator")
    try:
        later = await origins.origins(connection)
    finally:
        await connection.close()
    notes = [*notes, *await _seen(settings, key.name, len(later) + 1)]
    if later:
        ended = [*ended, *await _seen(settings, later[-1].ended, len(later))]
    async with stored.reading(settings.dsn) as source:
        report = await audit(source, key, notes)
    for note in notes:
        _check_links(open_checkpoint(note, key), ended, key)
    return report


async def _seen(settings: Settings, origin: str, number: int) -> list[bytes]:
    notes: list[bytes] = []
    if settings.log_directory is not None:
        notes += outside.in_place(settings.log_directory, number)
    if settings.kafka_bootstrap_servers is not None:
        notes += await outside.newest(settings.kafka(), outside.topic_of(settings), origin.encode())
    return notes


def _of_log(checked: Checked) -> Verdict:
    finding, head = checked.finding, checked.checkpoint
    return Verdict(ok=finding is None, size=head.size, root=head.root.hex(), entries=checked.entries,
                   finding=_told(finding))  # fmt: skip


def _of_ledger(report: Report) -> Verdict:
    return Verdict(ok=report.finding is None, size=report.size, root=report.root.hex(),
                   entries=report.size + report.unsealed, finding=_told(report.finding))  # fmt: skip


def _told(finding: Finding | None) -> dict[str, object] | None:
    return None if finding is None else {**finding._asdict(), "text": str(finding)}


def _say(verdict: Verdict, *, as_json: bool) -> None:
    if as_json:
        say_json(verdict)
    elif verdict.finding is None:
        out.print(yes_no(yes=True, text="as sealed"))
        rows = [("entries checked", verdict.entries), ("size of the log", verdict.size), ("root", verdict.root)]
        out.print(table("Log", "", "", rows=list(rows)))
    else:
        out.print(yes_no(yes=False, text="NOT as sealed"))
        out.print(Text(visible(str(verdict.finding["text"]))), soft_wrap=True)
    if not verdict.ok:
        raise typer.Exit(NO)


def _say_proof(proven: Proven, *, as_json: bool) -> None:
    head = proven.checkpoint
    ended = ended_before(head)
    if as_json:
        say_json({"ok": True, "entry": proven.entry.describe(), "body": proven.body, "index": proven.leaf_index,
                  "size": head.size, "root": head.root.hex(), "signers": head.signers,
                  "continues": None if ended is None else {**ended._asdict(), "root": ended.root.hex()}})  # fmt: skip
        return
    out.print(yes_no(yes=True, text="proved"))
    rows = [*proven.entry.describe().items(), ("index in the log", proven.leaf_index), ("size of the log", head.size),
            ("signed by", ", ".join(head.signers))]  # fmt: skip
    if ended is not None:
        rows += [("continues", f"{ended.origin}, cut off at {ended.size}"), ("because", ended.reason)]
    out.print(table("Entry", "", "", rows=[(name, visible(str(value))) for name, value in rows]))


def _say_certificate(certified: Certified, *, as_json: bool) -> None:
    head = certified.answer.checkpoint
    if as_json:
        say_json({"ok": True, "claims": certified.claims, "erasure": certified.erasure.entry.describe(),
                  "answer": certified.answer.entry.describe(), "size": head.size, "root": head.root.hex(),
                  "signers": head.signers})  # fmt: skip
        return
    out.print(yes_no(yes=True, text="certified"))
    rows = [*certified.claims.items(), ("size of the log", head.size), ("signed by", ", ".join(head.signers))]
    out.print(table("Erasure", "", "", rows=[(name, visible(str(value))) for name, value in rows]))
