"""A do-not-call list through the command, and what doctor says of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cli.installed import Up, consent

LISTED, FREE = "+32470998877", "+32470998878"
TELESALES = ("--controller", "contactexpert", "--purpose", "direct-marketing-phone", "--channel", "phone")


def test_a_list_is_imported_and_doctor_says_how_long_it_counts(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text(f"number\n{LISTED}\n0470 no number\n")
    drawn_up = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    before = consent("doctor", "--json", data=up.data)
    asked = [consent("decide", *TELESALES, LISTED, "--json", data=up.data).data["reasons"]]

    done = consent("import", "dnc", str(file), "--register", "be-dncm", "--snapshot-at", drawn_up, data=up.data)
    asked += [consent("decide", *TELESALES, one, "--json", data=up.data).data["reasons"] for one in (LISTED, FREE)]
    after = consent("doctor", "--json", data=up.data)

    assert done.status == 0, done
    assert "counts: 1 numbers for client-acme, client-beta, contactexpert; 1 lines unreadable" in done.out
    assert "line 3: " in done.err
    assert LISTED not in done.out + done.err
    assert [("DNC_LISTED" in reasons, "DNC_STALE" in reasons) for reasons in asked] == [
        (False, True), (True, False), (False, False),
    ]  # fmt: skip
    assert any("be-dncm was never imported" in warning for warning in before.data["warnings"])
    (state,) = after.data["dnc"]
    assert (state["register"], state["numbers"], state["not_for"]) == ("be-dncm", 1, [])
    assert 6 * 86_400 < state["stale_in_seconds"] < 7 * 86_400
    assert "be-dncm" in consent("doctor", data=up.data).out


def test_a_list_of_no_date_or_register_is_not_imported(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text(f"{LISTED}\n")

    for register, at in (
        ("be-dncm", "2026-11-20T06:00:00"),
        ("be-dncm", "2999-01-01T00:00:00Z"),
        ("nowhere", "2026-11-20T06:00:00Z"),
    ):
        answer = consent("import", "dnc", str(file), "--register", register, "--snapshot-at", at, data=up.data)
        assert answer.status == 2, answer
