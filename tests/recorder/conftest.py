"""One installation per module, with a register in force; each module starts the recorders it needs."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from running import Installation, installation, serving


@pytest.fixture(scope="module")
async def bare(
    kafka: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """An installation whose topics nobody has read yet."""
    async with installation(kafka, postgres, template, tmp_path_factory.mktemp("home")) as home:
        yield home


@pytest.fixture(scope="module")
async def recorder(bare: Installation) -> AsyncIterator[asyncio.Task[None]]:
    """A recorder of all shards that runs as long as the module's tests."""
    async with serving(bare.recorder().run()) as running:
        yield running


@pytest.fixture(scope="module")
async def home(bare: Installation, recorder: asyncio.Task[None]) -> Installation:
    """The installation with a recorder that has loaded the register."""
    await bare.recorded(await bare.load_register(), service=recorder)
    return bare
