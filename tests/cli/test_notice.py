"""Texts that subjects are shown: kept word for word, under one name for ever."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from cli.boutique import TEXT, load, notice, recorded, said
from cli.installed import Up, consent

NAME = "kept-text"
HASH = hashlib.sha256(TEXT.encode()).hexdigest()


@pytest.fixture(scope="module", autouse=True)
def boutique(up: Up, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("boutique")
    load(up, directory)
    assert notice(up, directory / "newsletter.txt", name=NAME).status == 0


def registered(up: Up) -> list[dict[str, Any]]:
    listed = consent("notice", "list", "--controller", "boutique", "--json", data=up.data).data
    return [one for one in listed if one["id"] == NAME]


def test_a_text_is_kept_byte_by_byte_under_its_hash(up: Up) -> None:
    listed = registered(up)
    shown = consent("notice", "show", HASH[:12], "--json", data=up.data).data
    printed = consent("notice", "show", f"sha256:{HASH}", data=up.data)

    (kept,) = listed
    assert kept["hash"] == f"sha256:{HASH}"
    assert shown["text"] == TEXT
    assert printed.out.encode() == TEXT.encode().replace(b"\r\n", b"\n") or printed.out.encode() == TEXT.encode()
    assert consent("notice", "show", "ffffffff", data=up.data).status == 1


def test_a_version_keeps_its_text_and_takes_no_other(up: Up, tmp_path: Path) -> None:
    same, other = tmp_path / "same.txt", tmp_path / "other.txt"
    same.write_bytes(TEXT.encode())
    other.write_bytes(TEXT.replace("altijd", "nooit").encode())

    again, changed, second = (
        notice(up, same, name=NAME), notice(up, other, name=NAME), notice(up, other, name=NAME, version=2),
    )  # fmt: skip
    french = notice(up, other, name=NAME, language="fr")

    assert (again.status, changed.status, second.status, french.status) == (0, 1, 0, 0)
    assert "a changed text is a new version" in changed.err
    listed = registered(up)
    assert len([one for one in listed if (one["version"], one["language"]) == (1, "nl")]) == 1
    assert {one["hash"] for one in listed if one["version"] == 2} == {second.data[0]["hash"]}


def test_what_is_no_text_or_nobodys_is_refused(up: Up, tmp_path: Path) -> None:
    text, binary, empty = tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "c.txt"
    text.write_text("yes")
    binary.write_bytes(b"\xff\xfe")
    empty.write_text(" \n")

    assert [notice(up, file).status for file in (binary, empty)] == [2, 2]
    assert notice(up, text, language="no language").status == 2
    assert notice(up, text, options=("--controller", "nobody")).status == 2


def test_the_ledger_itself_takes_no_text_under_a_false_hash_and_no_second_one_under_a_name(
    up: Up, tmp_path: Path
) -> None:
    (kept,) = [one for one in registered(up) if (one["version"], one["language"]) == (1, "nl")]
    fields: dict[str, Any] = {"text_id": NAME, "text_version": 1, "language": "nl", "text": "no"}
    digest = "sha256:" + hashlib.sha256(b"no").hexdigest()
    false = said("text-registered", **fields, text_hash="sha256:" + "0" * 64)
    same_name = {**said("text-registered", **fields, text_hash=digest), "id": kept["event_id"]}
    other_name = said("text-registered", **fields, text_hash=digest)
    stranger = said("text-registered", source="web:atelier-2", **fields | {"text_version": 9}, text_hash=digest)
    lines = "\n".join(json.dumps(one) for one in (same_name, other_name, stranger))

    refused = consent("publish", "-", data=up.data, said_in=json.dumps(false))
    assert consent("publish", "-", data=up.data, said_in=lines).status == 0

    assert refused.status == 1
    recorded(up, other_name, tmp_path)
    recorded(up, stranger, tmp_path)
    listed = registered(up)
    assert [one["hash"] for one in listed if (one["version"], one["language"]) == (1, "nl")] == [kept["hash"]]
    assert not [one for one in listed if one["version"] == 9]
