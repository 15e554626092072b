"""Receipts of another consent tool become entries of the ledger, and every line is told what became of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.installed import Answer, Up, consent
from cli.people import NEWSLETTER, somebody

MAPPING: dict[str, Any] = {
    "controller": "dekra-be",
    "source": "web:dekra-be",
    "purposes": {"news": {"purpose": "newsletter-email", "channels": ["email"]}},
    "identifiers": {"email": "email"},
    "mechanism": "unticked-checkbox",
}

Import = Callable[..., Answer]


def receipt(address: str, said: Any, **more: Any) -> str:
    return json.dumps(
        {
            "id": f"id-{address}",
            "timestamp": "2026-11-02T10:00:00Z",
            "subject": {"email": address},
            "preferences": {"news": said},
            "legal_notices": [{"identifier": "newsletter-email-nl", "version": 1}],
            "proofs": [{"content": "{}", "form": "<form>"}],
            **more,
        }
    )


@pytest.fixture
def imported(up: Up, tmp_path: Path) -> Import:
    """Import receipts by the mapping above."""

    def run(*lines: str, options: tuple[str, ...] = (), tool: str = "iubenda") -> Answer:
        (tmp_path / "mapping.json").write_text(json.dumps(MAPPING))
        (tmp_path / "receipts.jsonl").write_text("\n".join(lines))
        return consent(
            "import", "receipts", str(tmp_path / "receipts.jsonl"), "--from", tool, "--mapping",
            str(tmp_path / "mapping.json"), "--report", str(tmp_path / "report.csv"), "--json", *options, data=up.data,
        )  # fmt: skip

    return run


def reason(up: Up, address: str) -> str:
    return str(consent("decide", *NEWSLETTER, address, "--json", data=up.data).data["reason"])


def test_every_choice_that_is_reported_as_recorded_is_in_force(up: Up, imported: Import, tmp_path: Path) -> None:
    yes, no, unproved = somebody(), somebody(), somebody()

    answer = imported(
        receipt(yes, said=True), receipt(no, said=True), receipt(no, said=False, timestamp="2026-11-03T10:00:00Z"),
        receipt(unproved, said=True, proofs=[]), "{", "",
    )  # fmt: skip

    assert [reason(up, one) for one in (yes, no, unproved)] == ["CONSENT", "CONSENT_WITHDRAWN", "CONSENT_ABSENT"]
    assert answer.status == 1
    assert (answer.data["recorded"], answer.data["refused"]) == (3, 2)
    assert [(one["row"], one["reason"]) for one in answer.data["rows"]] == [(4, "NO_EVIDENCE"), (5, "NOT_JSON")]
    written = (tmp_path / "report.csv").read_text() + answer.out + answer.err
    assert not any(one in written for one in (yes, no, unproved))


def test_the_same_receipts_again_change_nothing_and_a_dry_run_publishes_nothing(imported: Import) -> None:
    lines = [receipt(somebody(), said=said) for said in (True, False, True)]
    dry = imported(*lines, options=("--dry-run",))
    first = imported(*lines)

    again = imported(*lines)

    assert (dry.status, dry.data["ready"], dry.data["recorded"]) == (0, 3, 0)
    assert (first.status, first.data["recorded"]) == (0, 3)
    assert (again.status, again.data["recorded"], again.data["duplicate"]) == (0, 0, 3)


def test_a_tool_that_has_no_table_is_a_usage_error(imported: Import) -> None:
    assert imported(tool="paper").status == 2
