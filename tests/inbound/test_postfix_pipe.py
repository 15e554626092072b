"""A real Postfix hands mail that comes back to `consent inbound pipe`: it is an event on Kafka, or stays in the queue.

Seen to fail: an exit status by which Postfix gives the mail up; the recipient of the envelope in lower case.
"""

import os
import shlex
import shutil
import smtplib
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from connectors import mailserver
from connectors.mailserver import Postfix
from consent_ledger.domain.unsubscribe import TokenKey
from consent_ledger.inbound.intake import Intake
from consent_ledger.runtime.local.ports import LOOPBACK, free_port
from consent_ledger.runtime.settings import Settings
from inbound.entries import entries, ids
from inbound.mails import arf, block, dsn, mail, original, token
from running import Installation, until

Address = Callable[[], str]
_SECONDS = 30
# A Python starts for each attempt.
_DELIVERY_SECONDS = 90
# linux/capability.h: revision 2 of the attribute, effective; CAP_DAC_READ_SEARCH.
_MAY_READ: Final = struct.pack("<5I", 0x02000000 | 1, 1 << 2, 0, 0, 0)
_SCRIPT: Final = """\
#!/bin/sh
. {home}/settings
exec {home}/python -m consent_ledger.cli.main inbound pipe --recipient "$1"
"""
_TRANSPORT: Final = """\
consent unix - n n - 2 pipe
  flags=q user=nobody argv={home}/pipe ${{original_recipient}}
"""


class Piped:
    """A Postfix that hands mail for lists.example to a script, as pipe(8) does: never as root.

    The script runs this very Python, which may lie where only root reads: so it is a copy that may read.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        settings = {
            "relay_domains": "lists.example", "transport_maps": "inline:{lists.example=consent}",
            "queue_run_delay": "1s", "minimal_backoff_time": "1s", "maximal_backoff_time": "1s",
        }  # fmt: skip
        self.postfix = Postfix({"smtpd": {}}, settings, _TRANSPORT.format(home=home))
        shutil.copy(Path(sys.executable).resolve(), home / "python")
        os.setxattr(home / "python", "security.capability", _MAY_READ)
        script = home / "pipe"
        script.write_text(_SCRIPT.format(home=home))
        script.chmod(0o755)

    def says(self, **settings: str) -> None:
        """Write the settings of the pipe anew, whole at once: an attempt may be reading them."""
        python = {"PYTHONHOME": sys.base_prefix, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        said = python | {f"CONSENT_{name}": value for name, value in settings.items()}
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in said.items()]
        written = self._home / "settings.new"
        written.write_text("".join(lines))
        written.replace(self._home / "settings")

    def send(self, to: str, raw: bytes) -> None:
        """Send a mail as another mail server sends a report: the envelope has no sender."""
        with smtplib.SMTP(LOOPBACK, self.postfix.port, local_hostname="mx.example", timeout=_SECONDS) as smtp:
            smtp.sendmail("", [to], raw)

    async def becomes(self, status: str, *recipients: str) -> None:
        """Wait until Postfix says that mail was sent or deferred."""

        async def all_said() -> bool:
            lines = [line for line in self.postfix.log.read_text().splitlines() if f"status={status}" in line]
            return all(any(f"to=<{one}>" in line for line in lines) for one in recipients)

        await until(all_said, timeout=_DELIVERY_SECONDS)


@pytest.fixture(scope="module")
def piped() -> Iterator[Piped]:
    """Postfix with such a transport."""
    if (reason := mailserver.missing()) is not None:
        pytest.skip(reason)
    home = Path(tempfile.mkdtemp(prefix="consent-pipe-"))
    home.chmod(0o755)
    try:
        made = Piped(home)
        with made.postfix:
            yield made
    finally:
        shutil.rmtree(home)


@pytest.fixture
def there(settings: Settings) -> dict[str, str]:
    """The settings by which the pipe reaches everything."""
    return {
        "DATABASE_URL": settings.dsn, "KAFKA_BOOTSTRAP_SERVERS": str(settings.kafka_bootstrap_servers),
        "TOPIC_PREFIX": settings.topic_prefix, "KEY_FILE": str(settings.key_file),
        "INBOUND_MAILBOXES": '{"bounce@lists.example": ["garage-be"]}',
    }  # fmt: skip


async def test_what_comes_back_by_smtp_is_an_event(
    piped: Piped, there: dict[str, str], ledger: Installation, intake: Intake, key: TokenKey, address: Address
) -> None:
    bounced, complained, left = address(), address(), token(address(), key=key)
    bounce = dsn(block(bounced))
    complaint = arf("", original(sealed=token(complained, key=key)), about_type="message/rfc822")
    before = await ledger.fetch("SELECT FROM ledger WHERE type = 'consent-withdrawn'")
    piped.says(**there)

    piped.send("bounce@lists.example", bounce)
    piped.send("complaints@lists.example", complaint)
    # Only the envelope says who wants no more.
    piped.send(f"unsubscribe+{left}@lists.example", mail(to="somebody@else.example"))
    await piped.becomes("sent", "bounce@lists.example", "complaints@lists.example", f"unsubscribe+{left}@lists.example")

    told = await entries(ledger, await ids(intake, bounce, complaint))
    after = await ledger.fetch("SELECT FROM ledger WHERE type = 'consent-withdrawn'")
    assert told == Counter({"delivery-failed": 1, "complaint-received": 1})
    assert len(after) == len(before) + 1
    assert piped.postfix.queued() == []


async def test_what_cannot_be_taken_stays_in_the_queue_and_comes_later(
    piped: Piped, there: dict[str, str], ledger: Installation, intake: Intake, address: Address
) -> None:
    raw = dsn(block(address()))
    piped.says(**{**there, "KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{free_port()}"})

    piped.send("later@lists.example", raw)
    await piped.becomes("deferred", "later@lists.example")
    waiting = piped.postfix.queued()
    piped.says(**there)
    await piped.becomes("sent", "later@lists.example")

    assert waiting == ["later@lists.example"]
    assert piped.postfix.queued() == []
    (event_id,) = await ids(intake, raw)
    assert await entries(ledger, [event_id]) == {"delivery-failed": 1}
