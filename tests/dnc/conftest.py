"""One installation with all services for all tests of do-not-call registers; every test has a register of its own."""

from collections.abc import AsyncIterator

import pytest

from api.served import Api, served
from dnc.line import Line, new_line
from running import installation, serving


@pytest.fixture(scope="module")
async def api(kafka: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    async with (
        installation(kafka, postgres, template, tmp_path_factory.mktemp("dnc"), lease_seconds=5) as made,
        serving(made.recorder().run()),
        serving(made.viewer().run()),
        serving(made.relay().run()),
        served(made, barrier_ms=5000) as api,
    ):
        yield api


@pytest.fixture
async def line(api: Api) -> Line:
    return await new_line(api)
