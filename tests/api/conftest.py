"""One installation with recorder and viewer for all tests of the API; every test has its own people."""

import itertools
from collections.abc import AsyncIterator, Callable

import pytest

from api.served import Api, served
from consent_ledger.viewer.app import Viewer
from running import Installation, installation, serving


@pytest.fixture(scope="session")
async def installed(
    kafka: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """An installation with its register loaded, whose recorder and viewer run."""
    async with installation(kafka, postgres, template, tmp_path_factory.mktemp("api"), lease_seconds=60.0) as made:
        async with (
            serving(made.recorder().run()) as recorder,
            serving(Viewer(made.settings, made.keks, made.clock).run()),
        ):
            await made.recorded(await made.load_register(), service=recorder)
            yield made


@pytest.fixture(scope="session")
async def api(installed: Installation) -> AsyncIterator[Api]:
    """The API of that installation."""
    async with served(installed, barrier_ms=5000) as api:
        yield api


_numbers = itertools.count()


@pytest.fixture
def address() -> Callable[[], str]:
    """Make e-mail addresses that no other test has."""
    return lambda: f"person{next(_numbers)}@example.be"
