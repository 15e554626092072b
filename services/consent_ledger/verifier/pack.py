"""Checks an evidence pack: that it is the very one which the log records, and that what it says is what the log proves.

A pack is a zip of files that are stored as they are: `manifest.json` names every other file with its SHA-256, and
`manifest.tlog-proof` proves an entry whose body holds the digest of the manifest. So nothing in it can be changed,
left out or added without the log's key.
"""

import base64
import binascii
import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from consent_ledger.verifier.entry import Entry
from consent_ledger.verifier.note import VerifierKey
from consent_ledger.verifier.proof import Proven, check_proof
from consent_ledger.verifier.tree import ProofError

MANIFEST: Final = "manifest.json"
SEAL: Final = "manifest.tlog-proof"
KEY: Final = "verifier-key"
FORMAT: Final = "urn:consent-ledger:pack:1"

_PROOFS: Final = "proofs/"
_PROOF: Final = ".tlog-proof"
_TEXTS: Final = "texts/"
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_MODE: Final = 0o600 << 16
_UNIX: Final = 3
_SALT_BYTES: Final = 32
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Packed(NamedTuple):
    """What a pack proves. `made`: the entry that records it; `key_is_own`: none was given, so its own was believed."""

    files: list[str]
    made: Proven
    proofs: dict[str, Proven]
    key: str
    key_is_own: bool


def write_pack(files: Mapping[str, bytes]) -> bytes:
    """Lay files out as a pack: the same files, the same bytes."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            about = zipfile.ZipInfo(name, _DATE)
            about.create_system, about.external_attr = _UNIX, _MODE
            archive.writestr(about, files[name])
    return written.getvalue()


def check_pack(
    pack: bytes, key: VerifierKey | None = None, witnesses: Iterable[VerifierKey] = (), quorum: int = 0
) -> Packed:
    """Check a pack, by the log's key, else by the one that lies in it. Raises `ProofError`, naming what was altered."""
    files = _unpacked(pack)
    for name in (MANIFEST, SEAL, KEY):
        if name not in files:
            raise ProofError(f"{name} is missing")
    trusted = key or VerifierKey.parse(files[KEY].decode(errors="replace"))
    known = list(witnesses)
    made = _checked(SEAL, files[SEAL], trusted, known, quorum)
    digest = "sha256:" + hashlib.sha256(files[MANIFEST]).hexdigest()
    if not isinstance(made.body, list) or made.body[-1].get("digest") != digest:
        raise ProofError(f"{MANIFEST} was altered: the log records another one")
    _files(files)
    proofs = {
        name.removeprefix(_PROOFS).removesuffix(_PROOF): _checked(name, content, trusted, known, quorum)
        for name, content in files.items()
        if name.startswith(_PROOFS)
    }
    for event_id, proven in proofs.items():
        if proven.entry.describe()["event_id"] != event_id:
            raise ProofError(f"{_PROOFS}{event_id}{_PROOF} proves another event")
    for name, content in files.items():
        if name.endswith(".json") and name != MANIFEST:
            _document(name, json.loads(content), proofs, files)
    return Packed(sorted(files), made, proofs, files[KEY].decode().strip(), key is None)


def _unpacked(pack: bytes) -> dict[str, bytes]:
    """Read all files of a pack; a zip that differs in any byte from one that was laid out anew is no pack."""
    try:
        with zipfile.ZipFile(io.BytesIO(pack)) as archive:
            infos = archive.infolist()
            if any(one.compress_type != zipfile.ZIP_STORED for one in infos):
                raise ProofError("this zip is no evidence pack: files in one are stored as they are")
            files = {one.filename: archive.read(one) for one in infos}
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, RuntimeError, EOFError) as error:
        raise ProofError(f"the pack is damaged: {error}") from None
    expected = write_pack(files)
    if expected != pack:
        at = next((place for place, pair in enumerate(zip(expected, pack, strict=False)) if pair[0] != pair[1]), -1)
        raise ProofError(f"the pack is damaged at byte {at if at >= 0 else min(len(expected), len(pack))}")
    return files


def _files(files: Mapping[str, bytes]) -> None:
    """Check that there are exactly the files of the manifest, as they were."""
    try:
        manifest = json.loads(files[MANIFEST])
        listed: dict[str, str] = dict(manifest["files"])
    except (ValueError, KeyError, TypeError):
        raise ProofError(f"{MANIFEST} cannot be read") from None
    if manifest.get("format") != FORMAT:
        raise ProofError(f"{MANIFEST} is of an unknown format")
    for name in sorted(listed.keys() | files.keys() - {MANIFEST, SEAL}):
        if name not in files:
            raise ProofError(f"{name} is missing")
        if name not in listed:
            raise ProofError(f"{name} was added")
        if hashlib.sha256(files[name]).hexdigest() != listed[name]:
            raise ProofError(f"{name} was altered")


def _checked(name: str, proof: bytes, key: VerifierKey, witnesses: list[VerifierKey], quorum: int) -> Proven:
    try:
        return check_proof(proof, key, witnesses, quorum)
    except ProofError as error:
        raise ProofError(f"{name}: {error}") from None


# -- what documents say, against what is proved


def _document(name: str, document: Any, proofs: Mapping[str, Proven], files: Mapping[str, bytes]) -> None:
    """Check every event that a document tells of, and in a record of a consent its text and its subject."""
    try:
        for event in _events(document):
            _told(name, event, proofs)
        if document.get("format", "").startswith("urn:consent-ledger:export:consent:"):
            if document["event"][0]["event_id"] != document["record_id"]:
                raise ProofError(f"{name}: the first event is not the consent itself")
            _text(name, document["notice"], proofs, files)
            for proof in document["log"]["proofs"]:
                _proof(name, proof, proofs, files)
            _principal(name, document, proofs)
    except (LookupError, TypeError, ValueError, AttributeError, binascii.Error):
        raise ProofError(f"{name} does not have the form of an export") from None


def _events(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the events of a document under one set of names."""
    told = [*document.get("event", ()), *document.get("events", ()), *document.get("refusals", ())]
    return [
        {
            "id": one.get("event_id", one.get("id")),
            "type": one.get("event_type", one.get("type")),
            "occurred_at": one.get("event_time", one.get("received_at", one.get("occurred_at"))),
            "recorded_at": one["recorded_at"],
            "place": one["place"],
        }
        for one in told
    ]


def _told(name: str, event: Mapping[str, Any], proofs: Mapping[str, Proven]) -> None:
    proven = proofs.get(event["id"])
    if proven is None:
        raise ProofError(f"{name}: event {event['id']} is not proved")
    entry = proven.entry
    for what, said, proved in (
        ("type", event["type"], entry.type),
        ("time", _micros(event["occurred_at"]), entry.occurred_at),
        ("time of recording", _micros(event["recorded_at"]), entry.recorded_at),
        ("place", (event["place"]["shard"], event["place"]["position"]), (entry.shard, entry.position)),
    ):
        if said != proved:
            raise ProofError(f"{name}: event {event['id']} has another {what} in the log")


def _micros(instant: str) -> int:
    return (datetime.fromisoformat(instant) - _EPOCH) // timedelta(microseconds=1)


def _proof(name: str, proof: Mapping[str, Any], proofs: Mapping[str, Proven], files: Mapping[str, bytes]) -> None:
    event_id = proof["event_id"]
    if proof["proof"].encode() != files.get(f"{_PROOFS}{event_id}{_PROOF}"):
        raise ProofError(f"{name}: the proof of event {event_id} is not the one in {_PROOFS}")
    entry = proofs[event_id].entry
    if proof["leaf_hash"] != entry.leaf().hex():
        raise ProofError(f"{name}: the leaf hash of event {event_id} is wrong")
    if proof["opening"] is not None:
        _opened(name, entry, proof["opening"])


def _opened(name: str, entry: Entry, opening: str) -> Any:
    """Read the personal fields to which an entry commits."""
    raw = base64.b64decode(opening, validate=True)
    if hashlib.sha256(raw).digest() != entry.commitment:
        raise ProofError(f"{name}: the personal fields of event {entry.describe()['event_id']} were altered")
    return json.loads(raw[_SALT_BYTES:])


def _text(name: str, notice: Mapping[str, Any], proofs: Mapping[str, Proven], files: Mapping[str, bytes]) -> None:
    if notice["text"] is None:
        return
    digest = hashlib.sha256(notice["text"].encode()).hexdigest()
    if notice["hash"] != f"sha256:{digest}":
        raise ProofError(f"{name}: the text shown does not have the hash that is named")
    if proofs[notice["event_id"]].body[-1]["text_hash"] != notice["hash"]:
        raise ProofError(f"{name}: the log keeps another text")
    if files.get(f"{_TEXTS}{digest}.txt") != notice["text"].encode():
        raise ProofError(f"{name}: the text shown is not the one in {_TEXTS}")


def _principal(name: str, document: Mapping[str, Any], proofs: Mapping[str, Proven]) -> None:
    """Check what the record says of the consent itself against body and personal fields of its entry."""
    record_id = document["record_id"]
    body, notice = proofs[record_id].body, document["notice"]
    said = body[-1]
    evidence = said.get("evidence") or {}
    if (notice["id"], notice["version"]) != (evidence.get("text_id"), evidence.get("text_version")):
        raise ProofError(f"{name}: the consent names another text")
    if [one["purpose"] for one in document["pii_processing"]] != _names(said.get("purposes")):
        raise ProofError(f"{name}: the consent is to other purposes")
    opening = next(one["opening"] for one in document["log"]["proofs"] if one["event_id"] == record_id)
    if opening is None:
        return
    given = {(one["type"], one["value"]) for one in json.loads(base64.b64decode(opening)[_SALT_BYTES:])["subject"]}
    told = {(one["type"], one["value"]) for one in document["pii_principal_id"]}
    if told != given:
        raise ProofError(f"{name}: the consent was given by somebody else")


def _names(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
