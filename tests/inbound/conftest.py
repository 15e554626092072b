"""One installation with a recorder, and one IMAP server, for all tests of mail; every test has its own people."""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from api.conftest import REGISTER
from consent_ledger.domain.unsubscribe import TokenKey
from consent_ledger.inbound.intake import Intake
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import unsubscribe
from inbound import dovecot
from inbound.dovecot import Dovecot
from running import Installation, installation, serving

MAILBOXES = {"bounce@lists.example": ["garage-be"]}


@pytest.fixture(scope="package")
def imap() -> Iterator[Dovecot]:
    """The server."""
    if dovecot.PROGRAM is None:
        pytest.skip("no dovecot on this machine: install deploy/test-packages.txt")
    with dovecot.running() as server:
        yield server


@pytest.fixture(scope="package")
async def ledger(
    kafka: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """An installation whose recorder runs."""
    async with (
        installation(kafka, postgres, template, tmp_path_factory.mktemp("inbound")) as made,
        serving(made.recorder().run()) as recorder,
    ):
        await made.recorded(await made.load_register(REGISTER), service=recorder)
        yield made


@pytest.fixture(scope="package")
async def key(ledger: Installation) -> TokenKey:
    """The key of the first shop's links."""
    connection = await connect(ledger.settings.dsn, "consent_operator")
    try:
        return await unsubscribe.newest_key(connection, ledger.keks, "shop-be")
    finally:
        await connection.close()


@pytest.fixture
def settings(ledger: Installation) -> Settings:
    """The installation's settings, with what one needs to read mail."""
    return ledger.settings.model_copy(update={"inbound_mailboxes": MAILBOXES})


@pytest.fixture
async def intake(settings: Settings, ledger: Installation) -> AsyncIterator[Intake]:
    """A way from mail to Kafka."""
    made = Intake(settings, ledger.keks)
    yield made
    await made.close()


_numbers = itertools.count()


@pytest.fixture
def user() -> str:
    """Name a user of the IMAP server that no other test has."""
    return f"reader{next(_numbers)}"


@pytest.fixture
def address() -> Callable[[], str]:
    """Make e-mail addresses that no other test has."""
    return lambda: f"mailed{next(_numbers)}@example.be"
