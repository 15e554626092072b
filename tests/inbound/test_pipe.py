"""A mail server's pipe: 0 once Kafka has what the mail says, else 75, and the mail server keeps the mail.

Seen to fail: 0 before Kafka has the event; another status than 75 without Kafka, without the database, without a key
file and with wrong settings; a mail that is not understood thrown away.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.installed import Answer, consent
from consent_ledger.domain.unsubscribe import TokenKey
from consent_ledger.inbound.intake import Intake
from consent_ledger.runtime.local.ports import free_port
from consent_ledger.runtime.settings import Settings
from inbound.entries import entries, ids
from inbound.mails import block, dsn, mail, token
from running import Installation

Pipe = Callable[..., Any]


@pytest.fixture
def pipe(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipe:
    """Bring a mail as a mail server does; further arguments are settings."""

    async def bring(raw: bytes, *options: str, **said: str) -> Answer:
        there = {
            "DATABASE_URL": settings.dsn, "KAFKA_BOOTSTRAP_SERVERS": str(settings.kafka_bootstrap_servers),
            "TOPIC_PREFIX": settings.topic_prefix, "KEY_FILE": str(settings.key_file),
            "INBOUND_MAILBOXES": '{"bounce@lists.example": ["garage-be"]}', "INBOUND_ASIDE": str(tmp_path / "aside"),
            **said,
        }  # fmt: skip
        for name, value in there.items():
            monkeypatch.setenv(f"CONSENT_{name}", value)
        return await asyncio.to_thread(consent, "inbound", "pipe", *options, said_in=raw)

    return bring


async def test_what_a_mail_says_is_on_kafka_when_the_pipe_ends(
    pipe: Pipe, ledger: Installation, intake: Intake, address: Callable[[], str]
) -> None:
    raw = dsn(block(address()))

    first, again = await pipe(raw), await pipe(raw)

    assert (first.status, again.status) == (0, 0)
    assert await entries(ledger, await ids(intake, raw)) == {"delivery-failed": 1}


async def test_the_envelope_may_hold_the_token(
    pipe: Pipe, ledger: Installation, key: TokenKey, address: Callable[[], str]
) -> None:
    person = address()
    before = await ledger.fetch("SELECT FROM ledger WHERE type = 'consent-withdrawn'")

    answer = await pipe(mail(to="x@y.example"), "--recipient", f"unsubscribe+{token(person, key=key)}@lists.example")

    await ledger.recorded_to_the_end()
    after = await ledger.fetch("SELECT FROM ledger WHERE type = 'consent-withdrawn'")
    assert answer.status == 0
    assert len(after) == len(before) + 1


async def test_a_mail_that_is_not_understood_is_kept_for_its_owner_to_see(pipe: Pipe, tmp_path: Path) -> None:
    raw = mail(to="info@lists.example", sender="secret@example.be")

    answers = [await pipe(raw), await pipe(raw)]

    (kept,) = (tmp_path / "aside").iterdir()
    assert [answer.status for answer in answers] == [0, 0]
    assert kept.read_bytes() == raw
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "NOT_UNDERSTOOD" in answers[0].err
    assert "secret@" not in answers[0].err


@pytest.mark.parametrize(
    "broken",
    [
        {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:{port}"},
        {"DATABASE_URL": "postgresql://nobody@127.0.0.1:{port}/none"},
        {"KEY_FILE": "/nowhere/keys.json"},
        {"INBOUND_MAILBOXES": "no json"},
        {"PARTITIONS": "many"},
    ],
)
async def test_whatever_is_away_or_wrong_the_mail_server_keeps_the_mail(pipe: Pipe, broken: dict[str, str]) -> None:
    said = {name: value.format(port=free_port()) for name, value in broken.items()}

    answer = await pipe(dsn(block("secret@example.be")), **said)

    assert answer.status == 75
    assert "secret@" not in answer.err


async def test_a_mail_that_can_neither_be_understood_nor_kept_stays_with_the_mail_server(
    pipe: Pipe, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    answer = await pipe(b"junk", INBOUND_ASIDE=str(tmp_path / "file" / "aside"))

    assert answer.status == 75
