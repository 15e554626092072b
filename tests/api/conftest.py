"""One installation with recorder and viewer for all tests of the API; every test has its own people."""

import itertools
from collections.abc import AsyncIterator, Callable

import pytest

import builders
from api.served import Api, served
from consent_ledger.runtime.local.ports import free_port
from running import Installation, installation

REGISTER = {
    **builders.REGISTER,
    "purposes": [
        *builders.REGISTER["purposes"],
        {
            "controller": "shop-be",
            "id": "invoice",
            "basis": "contract",
            "channels": ["email", "post"],
            "direct_marketing": False,
            "doc": {"recipients": ["Printer NV", "Bank NV"]},
        },
        {
            "controller": "garage-be",
            "id": "club",
            "basis": "consent",
            "channels": ["email"],
            "direct_marketing": True,
            "double_opt_in": True,
        },
        {
            "controller": "shop-be",
            "id": "week",
            "basis": "consent",
            "channels": ["email"],
            "direct_marketing": True,
            "consent_ttl": "P7D",
        },
        {
            "controller": "shop-nl",
            "id": "offers",
            "basis": "legitimate-interest",
            "channels": ["email"],
            "direct_marketing": True,
            "soft_opt_in": True,
        },
    ],
}
"""More of the first shop: a purpose without consent, one whose consent lasts a week; and offers of the second."""


@pytest.fixture(scope="package")
async def installed(
    kafka: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """An installation with its register loaded, whose recorder and viewer run."""
    async with (
        installation(kafka, postgres, template, tmp_path_factory.mktemp("api")) as made,
        made.at_work(REGISTER),
    ):
        yield made


@pytest.fixture(scope="package")
async def api(installed: Installation) -> AsyncIterator[Api]:
    """The API of that installation."""
    async with served(installed, barrier_ms=5000) as api:
        yield api


_numbers = itertools.count()


@pytest.fixture
def address() -> Callable[[], str]:
    """Make e-mail addresses that no other test has."""
    return lambda: f"person{next(_numbers)}@example.be"


@pytest.fixture
def unused_port() -> int:
    """A port on which nothing listens."""
    return free_port()
