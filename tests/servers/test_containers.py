"""Servers in containers are a choice of whoever runs the tests, and no run goes on without the engine it asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("chosen", "status", "said"),
    [("containers", 3, "needs a container engine"), ("container", 4, "local, external or containers")],
)
def test_a_run_ends_at_once_and_says_what_is_missing(chosen: str, status: int, said: str) -> None:
    nowhere = {**os.environ, "CONSENT_TEST_SERVERS": chosen, "DOCKER_HOST": "tcp://127.0.0.1:1"}

    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS / "servers/test_fixtures.py")]
    done = subprocess.run(command, env=nowhere, cwd=TESTS.parent, capture_output=True, text=True, check=False)

    assert done.returncode == status
    assert said in done.stdout + done.stderr
    assert "passed" not in done.stdout
