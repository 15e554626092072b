"""A mailbox on a real IMAP server, and Kafka: no mail is lost between the two, and none counts twice.

Seen to fail: a mail moved before Kafka has its events; a random id, so that a second reading counts again; mail that
is not understood moved with the rest; an inbox that is read once only; a reader that ends when the server is away.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from imapclient.exceptions import LoginError
from pydantic import SecretStr

from cli.installed import Answer, consent
from consent_ledger.client import OutOfReachError
from consent_ledger.domain.unsubscribe import TokenKey
from consent_ledger.inbound import reader
from consent_ledger.inbound.intake import Intake
from consent_ledger.inbound.mailbox import Folders, Mailbox
from consent_ledger.runtime.local.ports import free_port
from consent_ledger.runtime.settings import Settings
from inbound.dovecot import PASSWORD, Dovecot
from inbound.entries import entries, ids
from inbound.mails import arf, block, dsn, mail, original, token
from running import Installation, serving, until

Address = Callable[[], str]
DONE, ASIDE = Folders().done, Folders().aside


@pytest.fixture
def box(settings: Settings, imap: Dovecot, user: str) -> Callable[[], Mailbox]:
    """The mailbox of this test's user."""
    there = {"imap_host": "127.0.0.1", "imap_port": imap.port, "imap_security": "none", "imap_user": user,
             "imap_password": SecretStr(PASSWORD)}  # fmt: skip
    return lambda: Mailbox(settings.model_copy(update=there), Folders())


@asynccontextmanager
async def opened(box: Callable[[], Mailbox]) -> AsyncIterator[Mailbox]:
    mailbox = await asyncio.to_thread(box().__enter__)
    try:
        yield mailbox
    finally:
        await asyncio.to_thread(mailbox.__exit__, None, None, None)


async def test_what_mails_say_is_recorded_and_each_goes_to_its_folder(
    ledger: Installation, intake: Intake, imap: Dovecot, user: str, box: Callable[[], Mailbox], key: TokenKey,
    address: Address,
) -> None:  # fmt: skip
    mails = [
        dsn(block(address()), about=original(sealed=token(address(), key=key))),
        arf("", original(sealed=token(address(), key=key)), about_type="message/rfc822"),
        mail(to="unsubscribe@lists.example", subject=token(address(), key=key)),
        mail(to="unsubscribe@lists.example", sender=address()),
        dsn(block(address(), action="delayed", status="4.4.1")),
        mail(to="info@lists.example", subject="hello"),
        b"\x00\xff nothing",
    ]
    imap.deliver(user, *mails)

    async with opened(box) as mailbox:
        counts = await reader.read_once(intake, mailbox)

    assert counts == {"mails": 7, "events": 4, "aside": 2}
    assert [imap.count(user, folder) for folder in ("INBOX", DONE, ASIDE)] == [0, 5, 2]
    assert await entries(ledger, await ids(intake, *mails)) == Counter(
        {"delivery-failed": 1, "complaint-received": 1, "consent-withdrawn": 1, "objection-raised": 1}
    )


async def test_a_mail_that_is_read_again_after_a_crash_counts_once(
    ledger: Installation, intake: Intake, imap: Dovecot, user: str, box: Callable[[], Mailbox], address: Address,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    raw = dsn(block(address()))
    imap.deliver(user, raw)

    def crash(*_: object, **__: object) -> None:
        raise OSError

    async with opened(box) as mailbox:
        with monkeypatch.context() as broken:
            broken.setattr(Mailbox, "put", crash)
            with pytest.raises(OSError, match=r"^$"):
                await reader.read_once(intake, mailbox)
        again = await reader.read_once(intake, mailbox)

    (event_id,) = await ids(intake, raw)
    assert again["events"] == 1
    assert await entries(ledger, [event_id]) == {"delivery-failed": 1}
    rows = await ledger.fetch("SELECT FROM duplicate WHERE event_id = $1", event_id)
    assert len(rows) == 1


async def test_a_mail_stays_in_the_inbox_while_kafka_is_away(
    settings: Settings, ledger: Installation, imap: Dovecot, user: str, box: Callable[[], Mailbox], address: Address
) -> None:
    imap.deliver(user, dsn(block(address())))
    cut_off = settings.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{free_port()}"})

    async with opened(box) as mailbox:
        with pytest.raises(OutOfReachError):
            await reader.read_once(Intake(cut_off, ledger.keks), mailbox)

    assert [imap.count(user, folder) for folder in ("INBOX", DONE, ASIDE)] == [1, 0, 0]


async def test_what_comes_in_later_is_read_too_and_a_server_that_was_away_is_asked_again(
    ledger: Installation, intake: Intake, imap: Dovecot, user: str, box: Callable[[], Mailbox], address: Address
) -> None:
    first, second = dsn(block(address())), arf(f"Original-Rcpt-To: {address()}\r\n")
    imap.deliver(user, first)
    tries = 0

    def open_mailbox() -> Mailbox:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ConnectionRefusedError
        return box()

    async def done(count: int) -> bool:
        return await asyncio.to_thread(imap.count, user, DONE) == count

    async with serving(reader.read_for_ever(intake, open_mailbox, (OSError,))) as reading:
        await until(lambda: done(1), service=reading)
        imap.deliver(user, second)
        await until(lambda: done(2), service=reading)

    assert await entries(ledger, await ids(intake, first, second)) == {"delivery-failed": 1, "complaint-received": 1}


async def test_a_wrong_password_is_no_reason_to_try_for_ever(
    settings: Settings, intake: Intake, imap: Dovecot, user: str
) -> None:
    there = {"imap_host": "127.0.0.1", "imap_port": imap.port, "imap_security": "none", "imap_user": user,
             "imap_password": SecretStr("wrong")}  # fmt: skip

    with pytest.raises(LoginError):
        await reader.read_for_ever(intake, lambda: Mailbox(settings.model_copy(update=there), Folders()), (OSError,))


def by_command(settings: Settings, monkeypatch: pytest.MonkeyPatch, **more: str) -> Answer:
    said = {
        "DATABASE_URL": settings.dsn, "KAFKA_BOOTSTRAP_SERVERS": str(settings.kafka_bootstrap_servers),
        "TOPIC_PREFIX": settings.topic_prefix, "KEY_FILE": str(settings.key_file), "IMAP_HOST": "127.0.0.1",
        "IMAP_SECURITY": "none", "IMAP_PASSWORD": PASSWORD, **more,
    }  # fmt: skip
    for name, value in said.items():
        monkeypatch.setenv(f"CONSENT_{name}", value)
    return consent("inbound", "mailbox", "--once", "--json")


async def test_the_command_reads_what_is_there_and_says_what_it_found(
    settings: Settings, imap: Dovecot, user: str, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    imap.deliver(user, mail(to="unsubscribe@lists.example", sender=address()), b"junk")
    there = {"IMAP_PORT": str(imap.port), "IMAP_USER": user}

    first = await asyncio.to_thread(by_command, settings, monkeypatch, **there)
    second = await asyncio.to_thread(by_command, settings, monkeypatch, **there)
    not_let_in = await asyncio.to_thread(by_command, settings, monkeypatch, **there, IMAP_PASSWORD="no")
    away = await asyncio.to_thread(by_command, settings, monkeypatch, **{**there, "IMAP_PORT": str(free_port())})

    assert (first.status, first.data) == (1, {"mails": 2, "events": 1, "aside": 1})
    assert (second.status, second.data) == (0, {"mails": 0, "events": 0, "aside": 0})
    assert (not_let_in.status, away.status) == (3, 3)
    assert "CONSENT_IMAP_PASSWORD" in not_let_in.err
    assert "CONSENT_IMAP_HOST" in away.err
