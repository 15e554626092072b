"""`consent demo` tells the whole story and proves that nothing was lost."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_the_demo_holds_and_says_so_as_data(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "consent_ledger.cli.main", "demo", "--json"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}

    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=280)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    story = json.loads(ended.stdout)
    assert story["ok"] is True
    assert [kind["kind"] for kind in story["kinds"]] == [
        "consent-given", "consent-withdrawn", "objection-raised", "erasure-requested"]  # fmt: skip
    assert story["turn"]["http_before"] == "yes, CONSENT"
    assert story["turn"]["topic_after"] == "no, CONSENT_WITHDRAWN"
    assert [kill["what"] for kill in story["kills"]] == [
        "recorder", "viewer", "relay", "sealer", "api", "PostgreSQL", "Kafka"]  # fmt: skip

    assert story["questions"]["wrong"] == 0 < story["questions"]["asked"]
    assert all(check["ok"] for check in story["checks"])
    assert list(tmp_path.iterdir()) == []


def test_the_demo_does_not_write_into_a_directory_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()

    ended = subprocess.run(
        [sys.executable, "-m", "consent_ledger.cli.main", "demo", "--data", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ended.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_audit_s_demo_finds_what_was_falsified(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "consent_ledger.cli.main", "demo", "--audit", "--json"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}

    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=280)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    story = json.loads(ended.stdout)
    assert story["ok"] is True
    assert story["recorded"]["consent-given"] == 12
    assert [(edit["what"], edit["found"].partition(":")[0]) for edit in story["edits"]] == [
        ("a consent dated back by a year", "altered"),
        ("a refusal deleted", "removed"),
        ("an objection turned into a consent", "altered"),
    ]
    assert all(f"shard {edit['shard']}, position {edit['position']}" in edit["found"] for edit in story["edits"])
    assert story["proved"]["bytes"] < 4096
    assert story["whole_again"] is True
    erased = story["erased"]
    assert (erased["proof_holds"], erased["as_sealed"]) == (True, True)
    assert erased["before"][:3] == [1, 1, 1]
    assert erased["after"][:3] == [1, 0, 0]
    assert erased["answer"].startswith("no, ")
    assert list(tmp_path.iterdir()) == []
