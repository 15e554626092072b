"""`consent prove`, `consent verify`, `consent keys log-public`: from an event to a check that needs nothing of ours.

Seen to fail: what is published not read; exit status 0 whatever is found; the quorum not counted; several things
verified at a time; an event that the ledger does not have, proved.
"""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from log.sealing import ORIGIN, Log, logging


@pytest.fixture
async def log(kafka: str, postgres: str, template: str, tmp_path: Path) -> AsyncIterator[Log]:
    async with logging(kafka, postgres, template, tmp_path) as made:
        yield made


def environment(log: Log) -> dict[str, str]:
    return {
        **os.environ,
        "CONSENT_DATABASE_URL": log.settings.dsn,
        "CONSENT_KAFKA_BOOTSTRAP_SERVERS": log.settings.kafka_bootstrap_servers or "",
        "CONSENT_TOPIC_PREFIX": log.settings.topic_prefix,
        "CONSENT_KEY_FILE": str(log.settings.key_file),
        "CONSENT_LOG_ORIGIN": ORIGIN,
        "CONSENT_LOG_DIRECTORY": str(log.settings.log_directory),
    }


def consent(variables: Mapping[str, str], *arguments: str, status: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "consent_ledger.cli.main", *arguments, "--json"],
        env=dict(variables), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    said: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    return said


async def test_an_event_is_proved_by_a_file_that_needs_nothing_of_ours(log: Log, tmp_path: Path) -> None:
    (event, _) = await log.append(2)
    sealed = await log.seal()
    known, alone = environment(log), {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    file = str(tmp_path / "one.tlog-proof")

    key = consent(known, "keys", "log-public")["verifier_key"]
    consent(known, "prove", str(event), "-o", file)
    proven = consent(alone, "verify", file, "--key", key)
    refused = consent(alone, "verify", file, "--key", key, "--quorum", "1", status=1)
    consent(known, "prove", str(uuid.uuid4()), "-o", file, status=1)

    assert proven["entry"]["event_id"] == str(event)
    assert (proven["index"], proven["size"], proven["root"]) == (0, 2, sealed.root.hex())
    assert "1 are asked for" in refused["error"]


async def test_the_ledger_is_checked_against_what_is_published(log: Log) -> None:
    await log.append(2)
    await log.seal()
    await log.append(2)
    await log.seal()
    known = environment(log)

    whole = consent(known, "verify", "--ledger")
    await log.made.fetch("SET session_replication_role = replica")
    await log.made.fetch("UPDATE ledger SET occurred_at = occurred_at - interval '1 day' WHERE pos = 1")
    edited = consent(known, "verify", "--ledger", status=1)
    await log.made.fetch("DELETE FROM ledger WHERE pos > 1")
    await log.made.fetch("UPDATE ledger SET occurred_at = occurred_at + interval '1 day' WHERE pos = 1")
    await log.made.fetch("DELETE FROM checkpoint WHERE tree_size = 4")
    cut = consent(known, "verify", "--ledger", status=1)

    assert (whole["ok"], whole["entries"]) == (True, 4)
    assert (edited["finding"]["what"], edited["finding"]["position"]) == ("altered", 1)
    assert (cut["finding"]["what"], cut["finding"]["leaf_index"]) == ("truncated", 2)


def test_one_thing_is_verified_at_a_time() -> None:
    consent(os.environ, "verify", status=2)
    consent(os.environ, "verify", "--ledger", "--url", "http://127.0.0.1:1", status=2)
