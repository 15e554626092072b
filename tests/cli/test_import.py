"""A suppression list becomes entries of the ledger, and every row and line is told what became of it.

Seen to fail: rows that are counted before the ledger has them; a repeated list recorded again; a dry run that
publishes; a consent of a list that lifts an opt-out; refused rows that leave the exit status at 0; an address in a
report; a broken quote that swallows rows in silence.
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.installed import Answer, Up, consent
from cli.people import NEWSLETTER, gave, somebody, withdrew

MAPPING: dict[str, Any] = {
    "columns": {"address": "address", "reason": "reason", "date": "date"},
    "time_zone": "Europe/Brussels",
    "date_format": "%d/%m/%Y",
    "reasons": {
        "unsubscribed": {"event": "consent-withdrawn", "purposes": ["newsletter-email"]},
        "spam": {"event": "complaint-received"},
        "bounce": {"event": "delivery-failed"},
        "opted in": {
            "event": "consent-given", "purposes": ["newsletter-email"], "channels": ["email"],
            "mechanism": "unticked-checkbox",
            "evidence": {"text_id": "newsletter-email-nl", "text_version": 1, "ref": "old list"},
        },
    },
}  # fmt: skip

Import = Callable[..., Answer]


@pytest.fixture
def imported(up: Up, tmp_path: Path) -> Import:
    """Import rows as a list, by the mapping above or another."""

    def run(*rows: str, mapping: dict[str, Any] = MAPPING, options: tuple[str, ...] = (), text: str = "") -> Answer:
        (tmp_path / "mapping.json").write_text(json.dumps(mapping))
        (tmp_path / "list.csv").write_text(text or "\n".join(["address;reason;date", *rows]))
        return consent(
            "import", "suppressions", str(tmp_path / "list.csv"), "--mapping", str(tmp_path / "mapping.json"),
            "--controller", "dekra-be", "--source", "esp:dekra-be", "--report", str(tmp_path / "report.csv"), "--json",
            *options, data=up.data,
        )  # fmt: skip

    return run


def report(path: Path) -> list[dict[str, str]]:
    with (path / "report.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def reason(up: Up, address: str) -> str:
    return str(consent("decide", *NEWSLETTER, address, "--json", data=up.data).data["reason"])


def publish(up: Up, *lines: str) -> None:
    assert consent("publish", "-", data=up.data, said_in="\n".join(lines)).status == 0


def test_every_row_that_is_reported_as_recorded_is_in_force(up: Up, imported: Import, tmp_path: Path) -> None:
    left, angry, gone, unknown = (somebody() for _ in range(4))
    publish(up, *(gave(one, time="2025-01-01T10:00:00Z") for one in (left, angry, gone)))

    answer = imported(
        f"{left};unsubscribed;30/06/2025", f"{angry};Spam;30/06/2025", f"{gone};bounce;30/06/2025",
        f"{unknown};moved house;30/06/2025", ";spam;30/06/2025",
    )  # fmt: skip

    assert [reason(up, one) for one in (left, angry, gone)] == ["CONSENT_WITHDRAWN", "COMPLAINT", "HARD_BOUNCE"]
    assert answer.status == 1
    assert (answer.data["recorded"], answer.data["duplicate"], answer.data["refused"]) == (3, 0, 2)
    assert [(row["row"], row["outcome"], row["reason"]) for row in report(tmp_path)] == [
        ("2", "recorded", ""), ("3", "recorded", ""), ("4", "recorded", ""),
        ("5", "refused", "UNKNOWN_REASON"), ("6", "refused", "NO_ADDRESS"),
    ]  # fmt: skip
    assert [bool(row["event_id"]) for row in report(tmp_path)] == [True, True, True, False, False]
    written = (tmp_path / "report.csv").read_text() + answer.out + answer.err
    assert not any(one in written for one in (left, angry, gone, unknown))


def test_the_same_list_again_changes_nothing(imported: Import, tmp_path: Path) -> None:
    rows = [f"{somebody()};unsubscribed;30/06/2025" for _ in range(5)]
    first = imported(*rows)
    ids = [row["event_id"] for row in report(tmp_path)]

    again = imported(rows[0], *rows)

    assert (first.status, first.data["recorded"]) == (0, 5)
    assert (again.status, again.data["recorded"], again.data["duplicate"]) == (0, 0, 6)
    assert [row["event_id"] for row in report(tmp_path)] == [ids[0], *ids]


def test_a_dry_run_reads_everything_and_publishes_nothing(up: Up, imported: Import, tmp_path: Path) -> None:
    person = somebody()
    publish(up, gave(person, time="2025-01-01T10:00:00Z"))

    dry = imported(f"{person};unsubscribed;30/06/2025", f"{person};spam;soon", options=("--dry-run",))
    foreseen = report(tmp_path)
    wet = imported(f"{person};unsubscribed;30/06/2025")

    assert (dry.status, dry.data["ready"], dry.data["recorded"], dry.data["refused"]) == (1, 1, 0, 1)
    assert [row["outcome"] for row in foreseen] == ["ready", "refused"]
    assert wet.data["recorded"] == 1
    assert report(tmp_path)[0]["event_id"] == foreseen[0]["event_id"]


def test_no_row_of_a_list_lifts_an_opt_out(up: Up, imported: Import) -> None:
    out, fresh = somebody(), somebody()
    publish(up, gave(out, time="2025-01-01T10:00:00Z"), withdrew(out, time="2025-02-01T10:00:00Z"))

    answer = imported(f"{out};opted in;30/06/2025", f"{fresh};opted in;30/06/2025")

    assert (answer.status, answer.data["recorded"]) == (0, 2)
    assert reason(up, out) == "CONSENT_WITHDRAWN"
    assert reason(up, fresh) == "CONSENT"


def test_a_quote_that_is_never_closed_is_said_with_its_row(imported: Import, tmp_path: Path) -> None:
    rows = [f"{somebody()};unsubscribed;30/06/2025" for _ in range(3)]

    answer = imported(rows[0], f'"{rows[1]}', rows[2])

    assert answer.status == 2
    assert "is no CSV behind row 2" in answer.err
    assert [(row["row"], row["outcome"]) for row in report(tmp_path)] == [("2", "recorded")]


def test_a_mapping_that_means_nothing_here_stops_before_the_first_row(imported: Import) -> None:
    unknown = {**MAPPING, "reasons": {"spam": {"event": "complaint-received", "purposes": ["gardens"]}}}
    wrong_column = {**MAPPING, "columns": {**MAPPING["columns"], "date": "datum"}}
    lifting = {**MAPPING, "reasons": {"spam": {"event": "objection-withdrawn"}}}
    row = f"{somebody()};spam;30/06/2025"

    answers = [imported(row, mapping=one) for one in (unknown, wrong_column, lifting, {**MAPPING, "time_zone": "Mars"})]

    assert [one.status for one in answers] == [2, 2, 2, 2]
    assert "dekra-be has no purpose gardens" in answers[0].err
    assert "no column 'datum'" in answers[1].err
    assert "there is no time zone Mars" in answers[3].err


def test_a_mapping_may_be_written_in_toml(up: Up, tmp_path: Path) -> None:
    person = somebody()
    (tmp_path / "mapping.toml").write_text(
        'undated = "2025-06-30"\ntime_zone = "Europe/Brussels"\nencoding = "latin-1"\n'
        '[columns]\naddress = "courriel"\n[otherwise]\nevent = "objection-raised"\n'
    )
    (tmp_path / "list.csv").write_bytes(f"prénom,courriel\nZoé,{person}\n".encode("latin-1"))

    answer = consent(
        "import", "suppressions", str(tmp_path / "list.csv"), "--controller", "dekra-be", "--source", "esp:dekra-be",
        "--mapping", str(tmp_path / "mapping.toml"), data=up.data,
    )  # fmt: skip

    assert (answer.status, answer.out) == (0, "1 rows recorded, 0 were there before, 0 refused\n")
    assert reason(up, person) == "OBJECTION_DM"


def test_each_line_of_a_file_of_events_is_told_what_became_of_it(up: Up, tmp_path: Path) -> None:
    person = somebody()
    event = json.loads(gave(person))
    whole = json.dumps({"specversion": "1.0", "id": "0198c0de-0000-7000-8000-00000000abcd", **event})
    reused = json.dumps({**json.loads(whole), "time": "2026-11-03T10:00:00Z"})

    answer = consent(
        "publish", "-", "--outcomes", str(tmp_path / "report.csv"), "--json", data=up.data,
        said_in="\n".join([whole, whole, "{", "", reused, withdrew(person, purposes=7)]),
    )  # fmt: skip

    assert [(row["line"], row["outcome"], row["reason"]) for row in report(tmp_path)] == [
        ("1", "recorded", ""), ("2", "duplicate", ""), ("3", "refused", "NOT_JSON"), ("5", "refused", "ID_REUSED"),
        ("6", "recorded", "BAD_FIELD"),
    ]  # fmt: skip
    assert answer.data["outcomes"] == {"recorded": 2, "duplicate": 1, "refused": 2}
    assert answer.status == 1
    assert reason(up, person) == "OBJECTION_DM"
