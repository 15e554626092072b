"""Connections in the recorder's role to a database of the test's own."""

from collections.abc import AsyncIterator

import pytest

from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.store import ledger


@pytest.fixture
async def recorder(database: str) -> AsyncIterator[Connection]:
    connection = await connect(database, "consent_recorder")
    yield connection
    connection.terminate()


@pytest.fixture
async def second(database: str) -> AsyncIterator[Connection]:
    """Another recorder's connection."""
    connection = await connect(database, "consent_recorder")
    yield connection
    connection.terminate()


@pytest.fixture(params=["few", "many"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries are added as if they were few, then as if they were many."""
    if request.param == "many":
        monkeypatch.setattr(ledger, "FEW", 0)
