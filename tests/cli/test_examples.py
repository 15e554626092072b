"""The examples run as they are shown, on a real installation."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from cli.installed import Up, consent
from cli.people import NEWSLETTER, gave, somebody, withdrew
from mortal import mortal

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
SECONDS = 60


def decided(up: Up, address: str, *, allow: bool) -> None:
    """Wait until the ledger says so."""
    deadline = time.monotonic() + SECONDS
    while (consent("decide", *NEWSLETTER, address, data=up.data).status == 0) is not allow:
        assert time.monotonic() < deadline


def publish(up: Up, *lines: str) -> None:
    assert consent("publish", "-", data=up.data, said_in="\n".join(lines)).status == 0


def test_the_mail_tool_sends_to_who_may_be_mailed_and_reports_what_bounces(up: Up, tmp_path: Path) -> None:
    consent("consumers", "add", "newsletter-tool", "--controller", "dekra-be", data=up.data)
    yes, no, unknown, bounces = somebody(), somebody(), somebody(), f"bounce-{somebody()}"
    publish(up, gave(yes), gave(no), gave(bounces), withdrew(no, time="2026-11-03T10:00:00Z"))
    for address in (yes, bounces):
        decided(up, address, allow=True)
    keys, addresses = tmp_path / "keys.json", tmp_path / "addresses.txt"
    keys.write_text(consent("keys", "export", "--consumer", "newsletter-tool", "--json", data=up.data).out)
    addresses.write_text(f"{yes}\n{no}\n{unknown}\n{bounces}")

    command = [
        sys.executable,
        str(EXAMPLES / "mail_tool.py"),
        "--kafka",
        up.said["kafka"],
        "--keys",
        str(keys),
        str(addresses),
    ]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=150)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert sorted(line.split() for line in ran.stdout.splitlines()) == sorted([
        ["bounced", bounces], ["sent", yes], ["refused", no, "CONSENT_WITHDRAWN"],
        ["refused", unknown, "CONSENT_ABSENT"],
    ])  # fmt: skip
    decided(up, bounces, allow=False)
    assert consent("consumers", "remove", "newsletter-tool", data=up.data).status == 0


@contextmanager
def form(up: Up, path: Path, api: str) -> Iterator[str]:
    """Serve the form, which delivers to an API; gives its address."""
    environment = {**os.environ, "CONSENT_API_KEY": up.said["api_key"]}
    command = [sys.executable, str(EXAMPLES / "form.py"), "--api", api, "--port", "0"]
    process = subprocess.Popen(mortal(command), cwd=path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def test_the_form_loses_nothing_that_it_was_told_while_the_service_is_away(up: Up, tmp_path: Path) -> None:
    person = somebody()
    publish(up, gave(person))
    decided(up, person, allow=True)

    with form(up, tmp_path, "http://127.0.0.1:1") as address:
        shown = httpx.get(address, params={"email": person})
        answers = [httpx.post(address, data={"email": said}).status_code for said in (person, "")]
    before = consent("decide", *NEWSLETTER, person, data=up.data).status
    with form(up, tmp_path, up.said["api"]):
        decided(up, person, allow=False)

    assert (shown.status_code, person in shown.text) == (200, False)
    assert answers == [200, 400]
    assert before == 0
    assert (
        json.loads(consent("decide", *NEWSLETTER, person, "--json", data=up.data).out)["reason"] == "CONSENT_WITHDRAWN"
    )
