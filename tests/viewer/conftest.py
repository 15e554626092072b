"""One installation with recorder and viewer for all tests of the viewer; every test has its own people."""

import itertools
from collections.abc import AsyncIterator, Callable

import pytest

from running import Installation, installation
from viewer.asking import REGISTER


@pytest.fixture(scope="module")
async def home(
    kafka: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """An installation whose recorder and viewer run, with a register in force."""
    async with (
        installation(kafka, postgres, template, tmp_path_factory.mktemp("viewer"), lease_seconds=1) as made,
        made.at_work(REGISTER),
    ):
        yield made


_numbers = itertools.count()


@pytest.fixture
def address() -> Callable[[], str]:
    """Make e-mail addresses that no other test has."""
    return lambda: f"viewed{next(_numbers)}@example.be"
