"""The read log: every way of showing a person leaves an entry, and the officer can list them."""

import json
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cli.boutique import AT, NEWSLETTER, WHY, decided, email, export, gave, load, publish, withdrew
from cli.installed import Up, consent
from cli.people import somebody
from consent_ledger.domain import schemas


@pytest.fixture(scope="module", autouse=True)
def boutique(up: Up, tmp_path_factory: pytest.TempPathFactory) -> None:
    load(up, tmp_path_factory.mktemp("boutique"))


def reads(up: Up, *options: str, said_in: str | None = None) -> list[dict[str, Any]]:
    answer = consent("export", "reads", *options, data=up.data, said_in=said_in)
    assert answer.status == 0, answer.err
    jsonschema.validate(answer.data, schemas.export_schema("reads"), cls=jsonschema.Draft202012Validator)
    found: list[dict[str, Any]] = answer.data["reads"]
    return found


def test_every_way_of_showing_a_person_is_in_the_read_log_under_who_looked(up: Up, tmp_path: Path) -> None:
    person, actor = somebody(), f"eva-{uuid.uuid4().hex[:8]}"
    given = gave(email(person))
    publish(up, given, withdrew(email(person)))
    decided(up, person, "CONSENT_WITHDRAWN")
    who = ("--as", actor)

    began = datetime.now(UTC)
    ways = {
        "history": consent("history", *AT, *WHY, *who, data=up.data, said_in=f"{person}\n"),
        "explain": consent("decide", *NEWSLETTER, person, "--explain", *WHY, *who, data=up.data),
        "consent": export(up, "consent", given["id"], *who),
        "subject": export(up, "subject", "--language", "en", "-o", str(tmp_path), *who, address=person),
        "suppression": export(up, "suppression", *who, address=person),
    }
    ended = datetime.now(UTC)

    assert {way: answer.status for way, answer in ways.items()} == {
        "history": 0, "explain": 1, "consent": 0, "subject": 0, "suppression": 0,
    }  # fmt: skip
    found = reads(up, "--actor", actor)
    assert len(found) == len(ways)
    assert {(one["actor"], one["reason"], one["controller"]) for one in found} == {(actor, WHY[1], "boutique")}
    assert len({one["subject"] for one in found}) == 1
    assert all(one["digest"].startswith("hmac-sha256:") for one in found)
    assert person not in json.dumps(found)
    within = ("--from", began.isoformat(), "--until", ended.isoformat())
    assert reads(up, "--actor", actor, *within) == found
    assert reads(up, "--actor", actor, "--until", began.isoformat()) == []
    assert reads(up, "--actor", actor, "--from", ended.isoformat()) == []
    assert reads(up, "--actor", actor, "--controller", "atelier-2") == []
    assert reads(up, "--actor", f"{actor}x") == []


def test_looks_at_one_person_are_listed_and_the_listing_is_a_look_too(up: Up) -> None:
    person, other = somebody(), somebody()
    publish(up, gave(email(person)), gave(email(other)))
    decided(up, other, "CONFIRMATION_EXPIRED")
    for one in (person, other):
        assert consent("history", *AT, *WHY, data=up.data, said_in=f"{one}\n").status == 0

    mine = reads(up, "--subject", *AT, *WHY, "--as", "dpo", said_in=f"{person}\n")

    assert [one["actor"] for one in mine][1:] == ["dpo"]
    assert len(mine) == 2


def listed(up: Up) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = consent("quarantine", "list", "--json", data=up.data).data
    return found


def test_a_look_at_a_record_in_quarantine_is_an_entry(up: Up) -> None:
    actor, broken = f"eva-{uuid.uuid4().hex[:8]}", withdrew(email(somebody()), purposes=7)
    publish(up, broken)
    deadline = time.monotonic() + 30
    while not (found := [one for one in listed(up) if one["event_id"] == broken["id"]]):
        assert time.monotonic() < deadline
    (record,) = found
    place = f"{record['topic']}/{record['partition']}@{record['offset']}"

    assert consent("quarantine", "show", place, "--reason", "what is it", "--as", actor, data=up.data).status == 0

    (look,) = reads(up, "--actor", actor)
    assert (look["record"], look["reason"], look["shown"]) == (place, "what is it", 1)
    assert (look["subject"], look["controller"]) == (None, None)


def test_what_is_asked_for_must_make_sense(up: Up) -> None:
    for options in (("--subject",), ("--subject", *AT), ("--from", "yesterday"), ("--file", "x")):
        assert consent("export", "reads", *options, data=up.data).status == 2
