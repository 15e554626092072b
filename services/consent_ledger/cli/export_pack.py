"""`consent export pack`: everything about one consent, or one person, in a zip that anyone can check offline."""

import hashlib
import json
import secrets
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer

from consent_ledger.cli import export_consent, export_subject, export_suppression, exporting, found
from consent_ledger.cli.export_subject import Language
from consent_ledger.cli.exporting import PATIENCE_SECONDS, Ledger, Patience, Wanted
from consent_ledger.cli.found import Data
from consent_ledger.cli.recorded import publish_recorded
from consent_ledger.cli.terminal import USAGE, AsJson, fail, out, run, say_json
from consent_ledger.domain.catalogue import VIEWED
from consent_ledger.domain.cloudevents import build, uuid7
from consent_ledger.domain.consent_record import Log
from consent_ledger.verifier.pack import FORMAT, KEY, MANIFEST, SEAL, write_pack

_SOURCE: Final = "desk"


def pack(
    *,
    controller: exporting.Controller,
    reason: exporting.Reason,
    event_id: Annotated[UUID | None, typer.Argument(metavar="[EVENT_ID]", help="The consent.")] = None,
    subject: Annotated[
        bool, typer.Option("--subject", help="A person instead; you are asked for the address.")
    ] = False,
    language: Language = "en",
    file: exporting.AddressFile = None,
    kind: exporting.Kind = None,
    viewer: exporting.As = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to; evidence-….zip by the id of its entry if left out.")
    ] = None,
    wait: Patience = PATIENCE_SECONDS,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Write an evidence pack: documents, the text shown, proofs, checkpoint, key. `consent verify PACK.zip` checks it.

    That it was made, for whom, why, and with which digest, is recorded as an entry, whose proof lies in the pack.
    """
    if (event_id is not None) == subject:
        fail("name a consent, or say --subject", USAGE)
    who = exporting.wanted(controller, reason, viewer, file, kind, event_id)
    made = run(_pack(data, who, language, wait))
    path = output or Path(f"evidence-{made[0]}.zip")
    exporting.write(path, made[1])
    if as_json:
        say_json({"file": str(path), "bytes": len(made[1]), "event_id": made[0]})
    else:
        out.print(str(path), soft_wrap=True)


async def _pack(data: Path, who: Wanted, language: str, patience: float) -> tuple[UUID, bytes]:
    async with exporting.ledger(data) as ledger:
        shown = await exporting.person(data, who, openings=True)
        if who.event_id is not None:
            files, log = await _of_consent(ledger, shown, str(who.event_id), patience)
        else:
            files, log = await _of_person(ledger, shown, language, patience)
        files |= {f"proofs/{one.event_id}.tlog-proof": one.proof.encode() for one in log.proofs}
        files["README.txt"] = resources.files("consent_ledger.cli.pages").joinpath("pack.txt").read_bytes()
        files["checkpoint"] = log.proofs[0].proof.partition("\n\n")[2].encode()
        files[KEY] = log.verifier_key.encode() + b"\n"
        manifest = _manifest(who.controller, files)
        event_id, seal = await _recorded(ledger, who, shown, manifest, patience)
        return event_id, write_pack({**files, MANIFEST: manifest, SEAL: seal})


async def _of_consent(
    ledger: Ledger, shown: dict[str, Any], event_id: str, patience: float
) -> tuple[dict[str, bytes], Log]:
    record = await export_consent.record(ledger, shown, event_id, patience)
    files = {"consent.json": exporting.pretty(record)}
    if record.notice.text is not None and record.notice.hash is not None:
        files[f"texts/{record.notice.hash.removeprefix('sha256:')}.txt"] = record.notice.text.encode()
    return files, record.log


async def _of_person(
    ledger: Ledger, shown: dict[str, Any], language: str, patience: float
) -> tuple[dict[str, bytes], Log]:
    log = await exporting.proved(ledger, shown["entries"], patience)
    suppression = await export_suppression.proof(ledger, shown)
    files = dict(await export_subject.documents(ledger, shown, language))
    return {**files, "suppression.json": exporting.pretty(suppression)}, log


def _manifest(controller: str, files: dict[str, bytes]) -> bytes:
    """Name every file by its digest. The nonce keeps anybody from guessing contents by the digest in the log."""
    said = {
        "format": FORMAT, "made_at": exporting.now(), "controller": controller, "nonce": secrets.token_hex(32),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }  # fmt: skip
    return json.dumps(said, indent=2, sort_keys=True).encode() + b"\n"


async def _recorded(
    ledger: Ledger, who: Wanted, shown: dict[str, Any], manifest: bytes, patience: float
) -> tuple[UUID, bytes]:
    """Record that the pack was made, and prove that entry."""
    now = datetime.now(UTC)
    event_id = uuid7(now)
    said = {
        "controllers": [who.controller], **_whose(who, shown), "entered_by": who.viewer, "reason": who.reason,
        "shown": len(shown["entries"]), "digest": "sha256:" + hashlib.sha256(manifest).hexdigest(),
    }  # fmt: skip
    value = build(VIEWED, _SOURCE, now, said, event_id)
    recorded = await publish_recorded(ledger.settings, ledger.connection, value, event_id)
    entry = {"event_id": event_id, "position": {"shard": recorded.shard, "position": recorded.position}}
    log = await exporting.proved(ledger, [entry], patience)
    return event_id, log.proofs[0].proof.encode()


def _whose(who: Wanted, shown: dict[str, Any]) -> dict[str, Any]:
    """Name the person by an identifier that can be read, else by the event that was asked for."""
    if who.subject is not None:
        return {"subject": [who.subject]}
    readable = [one for entry in shown["entries"] for one in entry["identifiers"]
                if entry["event_id"] == str(who.event_id) and one["value"] is not None]  # fmt: skip
    if readable:
        return {"subject": [{"type": readable[0]["type"], "value": readable[0]["value"]}]}
    return {"viewed": str(who.event_id)}
