"""The commands on a running installation.

Seen to fail: a line with a fault passed over in silence; a register taken for an event; a row allowed for any reason
but an absent consent; `keys init` writing over a key file; a load that returns before the register is in force.
"""

import base64
import json
import time
from pathlib import Path

import pytest

from cli.installed import Answer, Up, consent
from cli.people import NEWSLETTER, gave, somebody, withdrew


def publish(up: Up, *lines: str) -> Answer:
    return consent("publish", "-", "--json", data=up.data, said_in="\n".join(lines))


def decided(up: Up, address: str, *, reason: str) -> Answer:
    """Ask until the ledger has what was published just now."""
    deadline = time.monotonic() + 30
    while (answer := consent("decide", *NEWSLETTER, address, "--json", data=up.data)).data["reason"] != reason:
        assert time.monotonic() < deadline, answer
    return answer


def test_a_published_consent_is_a_yes_and_its_withdrawal_a_no(up: Up) -> None:
    person = somebody()
    before = consent("decide", *NEWSLETTER, person, data=up.data)

    publish(up, gave(person))
    given = decided(up, person, reason="CONSENT")
    publish(up, withdrew(person, time="2026-11-03T10:00:00Z"))
    taken = decided(up, person, reason="CONSENT_WITHDRAWN")

    assert (before.status, given.status, taken.status) == (1, 0, 1)
    assert before.out.startswith("no")
    assert person not in given.out + taken.out + before.out


def test_a_line_that_is_no_event_is_named_and_the_rest_is_published(up: Up) -> None:
    person, other = somebody(), somebody()

    answer = publish(up, gave(person), "{", "", gave(other, evidence=7), withdrew(other, purposes=7))

    assert answer.status == 1
    assert (answer.data["published"], answer.data["not_published"], answer.data["malformed_refusals"]) == (2, 2, 1)
    assert [(line["line"], line["reason"]) for line in answer.data["lines"]] == [(2, "NOT_JSON"), (4, "BAD_FIELD")]
    assert [line["line"] for line in answer.data["refusals"]] == [5]
    decided(up, person, reason="CONSENT")
    decided(up, other, reason="OBJECTION_DM")


def test_a_file_of_events_is_published_and_counted(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("".join(f"{gave(somebody())}\n" for _ in range(500)))

    answer = consent("publish", str(file), data=up.data)

    assert (answer.status, answer.out) == (0, "500 published\n")


def test_a_register_is_no_event_for_publishers(up: Up) -> None:
    line = json.dumps(
        {"type": "register-loaded", "source": "x", "time": "2026-11-02T10:00:00Z", "data": {"document": {}}}
    )

    answer = publish(up, line)

    assert (answer.status, answer.data["published"]) == (1, 0)
    assert answer.data["lines"][0]["reason"] == "CONTROL_EVENT"


def test_a_list_goes_in_and_the_allowed_rows_come_out_unchanged(up: Up, tmp_path: Path) -> None:
    yes, no = somebody(), somebody()
    publish(up, gave(yes))
    decided(up, yes, reason="CONSENT")
    source, allowed, refused = tmp_path / "in.csv", tmp_path / "allowed.csv", tmp_path / "refused.csv"
    rows = [
        f'1;"Pee;ters";{yes}\r\n',
        f"2;Claes;{no}\n",
        "3;Maes;\n",
        "4;Mertens;not an address\n",
        f"5;é;{yes.upper()}",
    ]
    source.write_bytes("".join(["nr;name;address\r\n", *rows]).encode("latin-1"))

    answer = consent(
        "decide", *NEWSLETTER, "--file", str(source), "--out", str(allowed), "--refused", str(refused), "--json",
        data=up.data,
    )  # fmt: skip

    assert answer.status == 0
    assert (answer.data["asked"], answer.data["allowed"], answer.data["refused"]) == (5, 2, 3)
    assert answer.data["reasons"] == {"CONSENT": 2, "NO_ADDRESS": 2, "CONSENT_ABSENT": 1}
    assert allowed.read_bytes().decode("latin-1") == "nr;name;address\r\n" + rows[0] + rows[4]
    assert refused.read_bytes().decode("latin-1") == "nr;name;address\r\n" + "".join(rows[1:4])


def test_a_list_that_cannot_be_asked_about_leaves_no_output(up: Up, tmp_path: Path) -> None:
    source, allowed = tmp_path / "in.csv", tmp_path / "allowed.csv"
    source.write_text(f"{somebody()}\n")
    nobody = ("--controller", "dekra-be", "--purpose", "x" * 300, "--channel", "email")

    answer = consent("decide", *nobody, "--file", str(source), "--out", str(allowed), data=up.data)

    assert answer.status == 2
    assert list(tmp_path.iterdir()) == [source]


def test_a_place_that_cannot_be_written_is_said(up: Up, tmp_path: Path) -> None:
    source, allowed = tmp_path / "in.csv", tmp_path / "nowhere" / "allowed.csv"
    source.write_text(f"{somebody()}\n")

    answer = consent("decide", *NEWSLETTER, "--file", str(source), "--out", str(allowed), data=up.data)

    assert answer.status == 2
    assert f"{allowed}.part: No such file or directory" in answer.err


@pytest.mark.parametrize("arguments", [(), ("a@example.be", "--file", "x", "--out", "y")])
def test_a_question_is_about_one_address_or_one_list(up: Up, arguments: tuple[str, ...]) -> None:
    assert consent("decide", *NEWSLETTER, *arguments, data=up.data).status == 2


def test_what_is_in_quarantine_is_listed_by_place_and_never_by_content(up: Up) -> None:
    person = somebody()
    publish(up, withdrew(person, purposes=7))
    decided(up, person, reason="OBJECTION_DM")

    listed = consent("quarantine", "list", "--reason", "BAD_FIELD", "--json", data=up.data)
    shown = consent("quarantine", "list", data=up.data)

    newest = listed.data[0]
    assert (newest["topic"], newest["reason"]) == ("consent.events", "BAD_FIELD")
    assert newest["position"] is not None
    assert "data.purposes" in newest["detail"]
    assert f"consent.events/{newest['partition']}@{newest['offset']}" in shown.out
    assert person not in listed.out + shown.out


def test_a_controller_key_is_exported_for_readers_of_the_topic(up: Up) -> None:
    answer = consent("keys", "export", "--controller", "dekra-be", "--json", data=up.data)

    assert list(answer.data) == ["controller", "kid", "alg", "key"]
    assert answer.data["alg"] == "HMAC-SHA-256"
    assert len(base64.b64decode(answer.data["key"])) == 32
    assert consent("keys", "export", "--controller", "nobody", data=up.data).status == 1


def test_an_api_key_works_within_its_bounds_until_it_is_revoked(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    made = consent("keys", "create", "--scope", "decide", "--controller", "vloet", "--json", data=up.data)
    monkeypatch.setenv("CONSENT_API_KEY", made.data["api_key"])
    vloet = ("--controller", "vloet", "--purpose", "newsletter", "--channel", "email")

    assert consent("decide", *vloet, somebody(), data=up.data).status == 1
    assert consent("decide", *NEWSLETTER, somebody(), data=up.data).status == 2

    key_id = made.data["api_key"].split("_")[1]
    assert consent("keys", "revoke", key_id, data=up.data).status == 0
    assert consent("keys", "revoke", key_id, data=up.data).status == 1
    listed = consent("keys", "list", "--json", data=up.data)
    assert [key["revoked_at"] is not None for key in listed.data if key["id"] == key_id] == [True]
    assert made.data["api_key"] not in listed.out


def test_a_scope_that_does_not_exist_is_refused(up: Up) -> None:
    assert consent("keys", "create", "--scope", "everything", data=up.data).status == 2


def test_a_key_file_is_never_written_over(up: Up) -> None:
    before = Path(up.said["key_file"]).read_bytes()

    assert consent("keys", "init", data=up.data).status == 2
    assert Path(up.said["key_file"]).read_bytes() == before


def register(controller: str, **purpose: object) -> dict[str, object]:
    fields = {"controller": controller, "id": "newsletter", "basis": "consent", "channels": ["email"],
              "direct_marketing": True, "description": "The monthly newsletter about gardens."}  # fmt: skip
    return {"controllers": {controller: {"name": "Garden NV", "country": "BE"}}, "purposes": [{**fields, **purpose}],
            "sources": {f"web:{controller}": {"controllers": [controller]}}, "dnc_registers": {}}  # fmt: skip


def test_a_register_is_in_force_when_its_load_returns(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "garden.json"
    file.write_text(json.dumps(register("garden")))

    loaded = consent("register", "load", str(file), "--json", data=up.data)

    assert loaded.status == 0
    shown = consent("register", "show", "--json", data=up.data)
    assert shown.data["version"] == loaded.data[0]["version"]
    assert "garden" in shown.data["register"]["controllers"]
    assert "dekra-be" in shown.data["register"]["controllers"]
    asked = ("--controller", "garden", "--purpose", "newsletter", "--channel", "email", "--json")
    assert consent("decide", *asked, somebody(), data=up.data).data["reason"] == "CONSENT_ABSENT"


def test_a_register_with_a_fault_is_refused_with_the_reason(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "garden.json"
    file.write_text(json.dumps(register("shed", basis="because")))
    before = consent("register", "show", "--json", data=up.data).data["version"]

    checked = consent("register", "check", str(file))
    loaded = consent("register", "load", str(file), data=up.data)

    assert (checked.status, loaded.status) == (1, 1)
    assert "basis" in checked.out
    assert "basis" in loaded.out
    assert consent("register", "show", "--json", data=up.data).data["version"] == before


def test_a_file_that_is_no_register_is_a_mistake_of_use(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "list.json"
    file.write_text("[]")

    assert consent("register", "load", str(file), data=up.data).status == 2


def test_doctor_adds_up_every_offset_and_finds_nothing_wrong(up: Up) -> None:
    person = somebody()
    publish(up, gave(person), withdrew(person, time="2026-11-03T10:00:00Z"), withdrew(somebody(), purposes=7))
    decided(up, person, reason="CONSENT_WITHDRAWN")

    answer = consent("doctor", "--json", data=up.data)

    found = answer.data
    assert answer.status == 0, found["problems"]
    assert [shard["shard"] for shard in found["shards"]] == list(range(9))
    assert all(shard["accounted"] for shard in found["shards"])
    parts = ("entries", "duplicates", "rejected", "holes")
    assert found["total"]["offsets"] == sum(found["total"][part] for part in parts) > 0
    assert len(found["relay"]) == 8
    database = next(setting for setting in found["settings"] if setting["name"] == "CONSENT_DATABASE_URL")
    assert (database["value"], database["description"] != "") == ("********", True)
    assert any("losing it loses" in warning for warning in found["warnings"])
    shown = consent("doctor", data=up.data)
    assert (shown.status, "Nothing is wrong." in shown.out) == (0, True)
    assert up.said["database"] not in shown.out + answer.out


def test_topics_and_topic_records_are_as_they_should_be(up: Up) -> None:
    assert consent("topics", "check", "--json", data=up.data).data == []
    assert consent("topics", "apply", data=up.data).status == 0
    answer = consent("reconcile", "--json", data=up.data)

    assert (answer.status, answer.data["agrees"]) == (0, True)
    assert answer.data["checked"] > 0


def test_without_an_installation_one_line_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONSENT_DATABASE_URL", "CONSENT_KAFKA_BOOTSTRAP_SERVERS", "CONSENT_API_URL"):
        monkeypatch.delenv(name, raising=False)

    answers = {
        command[0]: consent(*command, data=tmp_path)
        for command in (("migrate",), ("quarantine", "list"), ("reconcile",), ("decide", *NEWSLETTER, "a@example.be"))
    }

    assert {answer.status for answer in answers.values()} == {3}
    assert "CONSENT_DATABASE_URL is not set" in answers["migrate"].err
    assert "CONSENT_API_URL" in answers["decide"].err
    assert all(answer.err.count("\n") == 1 for answer in answers.values())


def test_a_server_that_is_away_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSENT_DATABASE_URL", "postgresql://127.0.0.1:1/nothing")
    monkeypatch.setenv("CONSENT_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")

    listed = consent("quarantine", "list", data=tmp_path)
    checked = consent("topics", "check", data=tmp_path)
    examined = consent("doctor", "--json", data=tmp_path)

    assert [answer.status for answer in (listed, checked, examined)] == [3, 3, 3]
    assert "the database does not answer" in listed.err
    assert "Kafka does not answer" in checked.err
    assert (examined.data["ok"], examined.data["reachable"]) == (False, False)
