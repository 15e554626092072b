"""Evidence packs: whole, the same bytes for the same contents, and none that was altered passes.

Seen to fail: the digest of the manifest not compared with the log's; a byte of the zip outside every file; a file that
is not what the manifest says, one added, or left out; an event told with another time than the log has, or that is not
proved; a subject who is not the one of the entry; personal fields under another commitment; a text under another hash.
"""

import base64
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.boutique import AT, TEXT, WHY, confirmed, decided, email, export, gave, load, publish, withdrew
from cli.installed import Up, consent
from cli.people import somebody
from consent_ledger.runtime.logkey import LogKey
from consent_ledger.verifier.note import VerifierKey
from consent_ledger.verifier.pack import MANIFEST, SEAL, check_pack, write_pack
from consent_ledger.verifier.proof import check_proof
from consent_ledger.verifier.tree import ProofError

Files = dict[str, bytes]

ANOTHER_KEY = LogKey("another.example/log", bytes(32)).public


@pytest.fixture(scope="module")
def person(up: Up, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Somebody who consented and withdrew, and the id of the consent."""
    directory = tmp_path_factory.mktemp("boutique")
    load(up, directory)
    address = somebody()
    given = gave(email(address))
    publish(up, given, confirmed(given))
    decided(up, address, "CONSENT")
    publish(up, withdrew(email(address)))
    decided(up, address, "CONSENT_WITHDRAWN")
    return address, given["id"]


@pytest.fixture(scope="module")
def pack(up: Up, person: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The evidence pack of that consent."""
    path = tmp_path_factory.mktemp("pack") / "pack.zip"
    made = export(up, "pack", person[1], "-o", str(path), "--as", "eva", "--json")
    assert made.status == 0, made.err
    return path.read_bytes()


@pytest.fixture(scope="module")
def key(up: Up) -> str:
    found: str = consent("keys", "log-public", "--json", data=up.data).data["verifier_key"]
    return found


def files_of(pack: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def verified(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Verify where nothing of the installation is known."""
    alone = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    command = [sys.executable, "-m", "consent_ledger.cli.main", "verify", str(path), "--json", *options]
    return subprocess.run(command, env=alone, capture_output=True, text=True, check=False, timeout=120, cwd=path.parent)


def test_a_pack_is_verified_offline_by_the_published_key_or_with_a_warning_by_its_own(
    pack: bytes, key: str, tmp_path: Path
) -> None:
    path = tmp_path / "pack.zip"
    path.write_bytes(pack)

    by_own = verified(path)
    by_key = consent("verify", str(path), "--key", key, "--json")
    by_another = consent("verify", str(path), "--key", ANOTHER_KEY, "--json")

    assert (by_own.returncode, by_key.status, by_another.status) == (0, 0, 1)
    assert (json.loads(by_own.stdout)["key_is_own"], by_key.data["key_is_own"]) == (True, False)
    assert by_key.data["proofs"] == 4
    files = files_of(pack)
    assert {"README.txt", "consent.json", "checkpoint", "verifier-key"} < files.keys()
    assert files[f"texts/{hashlib.sha256(TEXT.encode()).hexdigest()}.txt"] == TEXT.encode()
    assert files["verifier-key"].decode().strip() == key


def test_the_same_contents_are_the_same_bytes(pack: bytes) -> None:
    files = files_of(pack)

    assert write_pack(files) == pack
    assert write_pack(dict(reversed(files.items()))) == pack


def test_a_changed_byte_anywhere_is_found(pack: bytes, key: str) -> None:
    trusted = VerifierKey.parse(key)
    check_pack(pack, trusted)
    chance = random.Random(17)
    places = {*chance.sample(range(len(pack)), 300), 0, len(pack) - 1, len(pack) - 2}

    for place in places:
        altered = bytearray(pack)
        altered[place] ^= 1 << chance.randrange(8)
        with pytest.raises(ProofError):
            check_pack(bytes(altered), trusted)
    for cut in chance.sample(range(len(pack)), 20):
        with pytest.raises(ProofError):
            check_pack(pack[:cut], trusted)
    with pytest.raises(ProofError):
        check_pack(pack + b"\0", trusted)


def rehashed(files: Files) -> Files:
    """Let the manifest say what the files are now, as a forger would."""
    manifest = json.loads(files[MANIFEST])
    listed = {name: one for name, one in files.items() if name not in (MANIFEST, SEAL)}
    manifest["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in listed.items()}
    return {**files, MANIFEST: json.dumps(manifest).encode()}


def without(name: str) -> Callable[[Files], Files]:
    return lambda files: {one: content for one, content in files.items() if one != name}


@pytest.mark.parametrize(
    ("forge", "named"),
    [
        (lambda files: {**files, "consent.json": files["consent.json"].replace(b"P3Y", b"P9Y")}, "consent.json"),
        (lambda files: {**files, "README.txt": b"trust us"}, "README.txt"),
        (lambda files: {**files, "extra.txt": b"more"}, "extra.txt was added"),
        (without("README.txt"), "README.txt is missing"),
        (without("checkpoint"), "checkpoint is missing"),
        (without(SEAL), f"{SEAL} is missing"),
        (lambda files: rehashed({**files, "README.txt": b"trust us"}), MANIFEST),
        (lambda files: {**files, MANIFEST: files[MANIFEST] + b" "}, MANIFEST),
        (lambda files: {**files, SEAL: next(files[name] for name in files if name.startswith("proofs/"))}, MANIFEST),
    ],
)  # fmt: skip
def test_what_was_altered_is_named(pack: bytes, key: str, forge: Callable[[Files], Files], named: str) -> None:
    with pytest.raises(ProofError, match=named):
        check_pack(write_pack(forge(files_of(pack))), VerifierKey.parse(key))


def changed(pack: bytes, change: Callable[[dict[str, Any]], object]) -> Files:
    """Change the record of the consent, with the manifest as the log would have had to record it."""
    files = files_of(pack)
    record = json.loads(files["consent.json"])
    change(record)
    return rehashed({**files, "consent.json": json.dumps(record).encode()})


def _other_subject(record: dict[str, Any]) -> None:
    record["pii_principal_id"][0]["value"] = "mallory@example.be"


def _other_time(record: dict[str, Any]) -> None:
    record["event"][0]["event_time"] = "2026-11-01T10:00:00Z"


def _other_text(record: dict[str, Any]) -> None:
    record["notice"]["text"] = "something else"


def _other_text_and_hash(record: dict[str, Any]) -> None:
    text = "something else"
    record["notice"] |= {"text": text, "hash": "sha256:" + hashlib.sha256(text.encode()).hexdigest()}


def _other_version(record: dict[str, Any]) -> None:
    record["notice"]["version"] = 2


def _other_purpose(record: dict[str, Any]) -> None:
    record["pii_processing"][0]["purpose"] = "catalogue"


def _other_opening(record: dict[str, Any]) -> None:
    opening = bytearray(base64.b64decode(record["log"]["proofs"][0]["opening"]))
    opening[-3] ^= 1
    record["log"]["proofs"][0]["opening"] = base64.b64encode(opening).decode()


def _unproved(record: dict[str, Any]) -> None:
    record["event"].append({**record["event"][0], "event_id": "00000000-0000-0000-0000-000000000000"})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_other_subject, "somebody else"), (_other_time, "another time"), (_other_text, "hash that is named"),
        (_other_text_and_hash, "the log keeps another text"), (_other_version, "another text"),
        (_other_purpose, "other purposes"), (_other_opening, "personal fields"), (_unproved, "is not proved"),
        (lambda record: record.pop("event"), "form of an export"),
        (lambda record: record["event"].reverse(), "not the consent itself"),
    ],
)  # fmt: skip
def test_a_record_that_says_what_the_log_does_not_prove_is_refused_even_in_a_recorded_pack(
    pack: bytes, key: str, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], object], named: str
) -> None:
    files = changed(pack, change)

    def recorded_so(proof: bytes, *rest: Any) -> Any:
        proven = check_proof(proof, *rest)
        if proof != files[SEAL]:
            return proven
        digest = "sha256:" + hashlib.sha256(files[MANIFEST]).hexdigest()
        return proven._replace(body=[1, {"digest": digest}])

    monkeypatch.setattr("consent_ledger.verifier.pack.check_proof", recorded_so)
    with pytest.raises(ProofError, match=named):
        check_pack(write_pack(files), VerifierKey.parse(key))


def test_that_a_pack_was_made_is_in_the_read_log_with_its_digest(up: Up, person: tuple[str, str], pack: bytes) -> None:
    digest = "sha256:" + hashlib.sha256(files_of(pack)[MANIFEST]).hexdigest()

    reads = export(up, "reads", "--subject", "--as", "dpo", address=person[0])

    assert reads.status == 0, reads.err
    (made,) = [one for one in reads.data["reads"] if one["digest"] == digest]
    assert (made["actor"], made["reason"], made["controller"]) == ("eva", WHY[1], AT[1])


def test_a_person_has_a_pack_too(up: Up, person: tuple[str, str], key: str, tmp_path: Path) -> None:
    path = tmp_path / "person.zip"

    made = export(up, "pack", "--subject", "--language", "de", "-o", str(path), address=person[0])

    assert made.status == 0, made.err
    packed = check_pack(path.read_bytes(), VerifierKey.parse(key))
    assert {"access.json", "access.html", "access.pdf", "portability.json", "suppression.json"} < set(packed.files)
    access = json.loads(files_of(path.read_bytes())["access.json"])
    assert {one["id"] for one in access["events"]} <= packed.proofs.keys()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_pack_is_of_a_consent_or_of_a_person(up: Up, person: tuple[str, str]) -> None:
    assert export(up, "pack").status == 2
    assert export(up, "pack", person[1], "--subject").status == 2


def test_a_zip_of_something_else_is_no_pack(tmp_path: Path) -> None:
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "a" * 100)

    done = consent("verify", str(path))

    assert done.status == 1
    assert "no evidence pack" in done.err
