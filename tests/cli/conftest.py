"""One installation for all tests of commands, with the example companies' registers."""

from collections.abc import Iterator

import pytest

from cli.installed import Up, started


@pytest.fixture(scope="package")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """An installation that all tests of commands share, so each brings people and controllers of its own."""
    with started(tmp_path_factory.mktemp("up") / "data", "--demo-registers") as running:
        yield running
