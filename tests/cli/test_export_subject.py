"""What a person receives: JSON by its schema, and pages in four languages that say the same and let nothing through."""

import asyncio
import hashlib
import io
import json
import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
import jsonschema
import pytest
from pypdf import PdfReader

from cli.boutique import AT, WHY, decided, email, export, gave, load, publish, recorded, said
from cli.installed import Up, consent
from cli.people import somebody
from consent_ledger.domain import schemas
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import keys

HOSTILE = "<script>alert(1)</script> \u202egpj.exe \x1b[31m & \" ' {{ 7*7 }} {controller}"
OTHER = somebody()
Handed = Callable[[str], dict[str, bytes]]
NAMES = "Ελένη Иванова Žižek محمد 山田"


@pytest.fixture(scope="module", autouse=True)
def boutique(up: Up, tmp_path_factory: pytest.TempPathFactory) -> None:
    load(up, tmp_path_factory.mktemp("boutique"))


@pytest.fixture(scope="module")
def person(up: Up) -> str:
    """Somebody of whom hostile and foreign things are on record, and who shares a telephone with somebody else."""
    address = somebody()
    phone = {"type": "phone", "value": "+3212345678", "shared": True}
    publish(
        up,
        gave(email(address), phone, mechanism="button", note=HOSTILE, name=NAMES, long="x" * 3_000),
        gave(email(OTHER), phone),
        said("identifiers-linked", email(address), email(OTHER), source="web:atelier-2"),
        said("objection-raised", email(address), kind="direct-marketing", purposes=["catalogue"],
             entered_by="staff:jan.janssens", received_via="phone", source="staff:boutique"),
    )  # fmt: skip
    decided(up, address, "CONFIRMATION_EXPIRED")
    return address


def exported(up: Up, directory: Path, address: str, language: str = "nl", *more: str) -> dict[str, bytes]:
    options = ("--language", language, "-o", str(directory), "--as", "eva.maes", *more)
    answer = export(up, "subject", *options, address=address)
    assert answer.status == 0, answer.err
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture(scope="module")
def handed(up: Up, person: str, tmp_path_factory: pytest.TempPathFactory) -> Handed:
    """The person's files in a language, made once."""
    return cache(lambda language: exported(up, tmp_path_factory.mktemp(language), person, language))


def valid(name: str, raw: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(raw)
    jsonschema.validate(document, schemas.export_schema(name), cls=jsonschema.Draft202012Validator)
    return document


def words(pdf: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)


def test_access_and_portability_are_written_in_three_forms_for_the_owner_alone(
    up: Up, person: str, tmp_path: Path
) -> None:
    directory = tmp_path / "out"

    files = exported(up, directory, person)

    assert files.keys() == {f"{name}.{kind}" for name in ("access", "portability") for kind in ("json", "html", "pdf")}
    access, portability = (valid(name, files[f"{name}.json"]) for name in ("access", "portability"))
    assert [one["type"] for one in access["events"]] == ["consent-given", "identifiers-linked", "objection-raised"]
    assert [one["type"] for one in portability["provided"]] == ["consent-given"]
    assert access["events"][0]["said"]["extra"]["note"] == HOSTILE
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    again = exported(up, directory, person)
    assert [one["reason"] for one in valid("access", again["access.json"])["looks"]] == [WHY[1]]
    assert b"eva.maes" not in b"".join(again.values())


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("nl", ("Uw persoonsgegevens bij", "U maakte bezwaar", "2 november 2026", "telefoonnummer", "ja")),
        ("fr", ("Vos données à caractère personnel", "Vous vous êtes opposé", "2 novembre 2026", "Pourquoi", "non")),
        ("de", ("Ihre personenbezogenen Daten", "Sie haben widersprochen", "2. November 2026", "Warum", "nein")),
        ("en", ("Your personal data at", "You objected", "November 2, 2026", "telephone number", "no")),
    ],
)
def test_pages_are_in_the_language_of_the_person(handed: Handed, language: str, expected: tuple[str, ...]) -> None:
    files = handed(language)

    html, pdf = files["access.html"].decode(), words(files["access.pdf"])
    assert f'<html lang="{language}">' in html
    for part in expected:
        assert part in html
        # Lines are broken where they end.
        assert part in pdf.replace("\n", " ")
    # 10:00 UTC is eleven in Belgium.
    assert "11:00:00" in html
    assert "11:00:00" in pdf


def test_a_hostile_text_is_a_text_and_a_foreign_name_is_readable(handed: Handed) -> None:
    files = handed("en")

    for name in ("access", "portability"):
        html, pdf = files[f"{name}.html"].decode(), words(files[f"{name}.pdf"])
        assert "<script" not in html
        assert "&lt;script&gt;alert(1)" in html
        assert "{{ 7*7 }}" in html
        assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html
        for mark in ("\u202e", "\x1b"):
            assert mark not in html
            assert mark not in pdf
        assert "\\u202egpj" in html
        assert NAMES in html
        # Spaces and the order of the Arabic letters are the reader's business.
        assert all(part in pdf for part in ("Ελένη", "Иванова", "Žižek", "[U+5C71][U+7530]"))
        assert sum(letter in pdf for letter in "محمد") == len("محمد")
        assert pdf.count("x") >= 3_000
        assert "Boutique <i>" in pdf
        assert "&lt;i&gt;" in html


def test_nothing_of_other_people_is_in_any_of_the_files(up: Up, person: str, handed: Handed, tmp_path: Path) -> None:
    files = handed("fr")
    asked_by_phone = export(up, "subject", "--language", "nl", "-o", str(tmp_path / "no"), address="+3212345678")

    access = valid("access", files["access.json"])
    assert [one["value"] for one in access["identifiers"]] == [person]
    assert access["withheld"] == 1
    everything = b"".join(content for name, content in files.items() if not name.endswith("pdf"))
    for hidden in (b"jan.janssens", b"eva.maes", OTHER.encode()):
        assert hidden not in everything
    assert asked_by_phone.status == 1
    assert "several people use this identifier" in asked_by_phone.err
    assert not (tmp_path / "no").exists()


def test_nothing_is_written_of_nobody_and_nothing_without_a_reason(up: Up, tmp_path: Path) -> None:
    options = ("subject", "--language", "nl", "-o", str(tmp_path / "no"))

    unknown = export(up, *options, address=somebody())
    unreasoned = consent("export", *options, *AT, "--reason", " ", data=up.data, said_in="an@example.be\n")
    unread = export(up, "subject", "--language", "it", "-o", str(tmp_path / "no"), address="an@example.be")

    assert (unknown.status, unreasoned.status, unread.status) == (1, 2, 2)
    assert not (tmp_path / "no").exists()


def test_a_request_is_answered_once_identity_is_shown_and_its_digest_is_on_record(up: Up, tmp_path: Path) -> None:
    address, request = somebody(), "0199c3a0-5b00-7000-8000-" + hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]
    step = {"request_id": request, "article": "15", "source": "staff:boutique"}
    asked = said("identity-requested", **step, time="2026-11-20T11:00:00Z")
    publish(
        up, gave(email(address)), said("request-received", email(address), **step, time="2026-11-20T10:00:00Z"), asked
    )
    recorded(up, asked, tmp_path)
    answering = ("--request", request, "--source", "staff:boutique")

    options = ("subject", "--language", "nl", "-o", str(tmp_path / "out"))
    early = export(up, *options, *answering, address=address)
    shown = said("identity-confirmed", **step, time="2026-11-21T10:00:00Z")
    publish(up, shown)
    recorded(up, shown, tmp_path)
    files = exported(up, tmp_path / "out", address, "nl", *answering)

    assert early.status == 1
    assert "Art. 12(6)" in early.err
    listed = consent("requests", "show", request, "--json", data=up.data).data
    assert listed["requests"][0]["state"] == "answered"
    answers = "SELECT convert_from(body, 'UTF8') FROM ledger WHERE type = 'request-answered' AND request_of(body) = $1"
    ((body,),) = ask(up, answers, request)
    assert json.loads(body)[1]["digest"] == "sha256:" + hashlib.sha256(files["access.json"]).hexdigest()
    # Also the steps that name nobody are told to whoever made the request.
    assert sorted(one["type"] for one in valid("access", files["access.json"])["events"]) == [
        "consent-given", "identity-confirmed", "identity-requested", "request-received",
    ]  # fmt: skip


def test_of_an_erased_person_what_is_left_is_told_as_erased(up: Up, tmp_path: Path) -> None:
    address = somebody()
    given = gave(email(address))
    publish(up, given)
    recorded(up, given, tmp_path)
    forget_key(up, address)

    files = exported(up, tmp_path / "out", address, "nl")
    record = export(up, "consent", given["id"])

    access = valid("access", files["access.json"])
    assert [(one["personal"], one["identifiers"][0]["value"]) for one in access["events"]] == [("erased", None)]
    assert "gewist" in files["access.html"].decode()
    assert record.status == 0, record.err
    assert record.data["pii_principal_id"][0]["value"] is None
    assert len(record.data["pii_principal_id"][0]["hash"]) == 64
    assert record.data["log"]["proofs"][0]["opening"] is None
    jsonschema.validate(record.data, schemas.export_schema("consent"))


def ask(up: Up, query: str, *values: object) -> list[Any]:
    """Ask the database as its superuser."""

    async def fetch() -> list[Any]:
        connection = await asyncpg.connect(up.said["database"], server_settings={"search_path": "consent"})
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    return asyncio.run(fetch())


def forget_key(up: Up, address: str) -> None:
    """Destroy the key of a person, as an erasure does."""

    async def anchor() -> bytes:
        connection = await connect(up.said["database"], "consent_officer")
        try:
            key = (await keys.controller_keys(connection, KeyFile(Path(up.said["key_file"]))))["boutique"].key
            return address_hash(key, "email", address)
        finally:
            await connection.close()

    assert len(ask(up, "DELETE FROM person_key WHERE anchor = $1 RETURNING anchor", asyncio.run(anchor()))) == 1
