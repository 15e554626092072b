"""`consent up` brings everything up, goes on where it ended, and leaves nothing behind.

Seen to fail: a new API key at each start; no new start of a service that died; a new key file for a database that was
written under another; guards that do not notice the end of their parent.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from cli.installed import END_SECONDS, Up, consent, started
from cli.people import NEWSLETTER, gave, somebody


def alive(family: list[psutil.Process]) -> list[psutil.Process]:
    _, left = psutil.wait_procs(family, timeout=END_SECONDS)
    return left


def answers(api: str) -> bool:
    try:
        return httpx.get(f"{api}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_it_prints_one_line_when_everything_is_ready(up: Up) -> None:
    ready = httpx.get(f"{up.said['api']}/readyz")

    assert list(up.said) == ["kafka", "database", "api", "api_key", "topic_prefix", "key_file"]
    assert Path(up.said["key_file"]).is_file()
    assert ready.status_code == 200
    assert ready.json()["ready"] is True


def test_a_second_one_on_the_same_data_is_refused_with_the_reason(up: Up) -> None:
    answer = consent("up", data=up.data)

    assert answer.status == 3
    assert f"is in use by process {up.process.pid}" in answer.err
    assert httpx.get(f"{up.said['api']}/readyz").status_code == 200


def test_a_killed_service_is_started_again(up: Up) -> None:
    api = next(child for child in up.family() if child.cmdline()[1:] == ["-m", "consent_ledger.api"])

    api.kill()

    psutil.wait_procs([api], timeout=5)
    deadline = time.monotonic() + 60
    while not answers(up.said["api"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_goes_on_where_it_ended_and_leaves_nothing_behind_however_it_ends(tmp_path: Path) -> None:
    data, person = tmp_path / "data", somebody()

    with started(data, "--demo-registers") as first:
        assert consent("publish", "-", data=data, said_in=gave(person)).status == 0
        family = first.family()
        began = time.monotonic()
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(END_SECONDS) == 0
        assert time.monotonic() - began < END_SECONDS
        assert alive(family) == []
    assert consent("decide", *NEWSLETTER, person, data=data).status == 3

    with started(data, "--demo-registers") as second:
        assert (second.said["api_key"], second.said["api"]) == (first.said["api_key"], first.said["api"])
        assert consent("decide", *NEWSLETTER, person, data=data).status == 0
        assert consent("register", "show", "--json", data=data).data["version"] == 5
        family = second.family()
        second.process.kill()
        second.process.wait()
        assert alive(family) == []


def test_a_key_file_that_is_gone_is_never_replaced(up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSENT_DATABASE_URL", up.said["database"])
    monkeypatch.setenv("CONSENT_KAFKA_BOOTSTRAP_SERVERS", up.said["kafka"])

    answer = consent("up", data=tmp_path / "data")

    assert answer.status == 3
    assert "is missing, and the database was written under it" in answer.err
    assert not (tmp_path / "data" / "consent-keys.json").exists()


def test_a_port_that_is_taken_is_said(up: Up, tmp_path: Path) -> None:
    taken = up.said["api"].rpartition(":")[2]

    command = [sys.executable, "-m", "consent_ledger.cli.main", "up", "--data", str(tmp_path / "data"), "--port", taken]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)

    assert ended.returncode == 3
    assert f"something else listens on port {taken}" in ended.stderr
