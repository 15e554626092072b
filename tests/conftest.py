"""Real servers for the tests: one Kafka and one PostgreSQL per process, started when the first test asks for them.

With CONSENT_TEST_SERVERS=external those of CONSENT_KAFKA_BOOTSTRAP_SERVERS and CONSENT_DATABASE_URL, a superuser's, are
used instead; with CONSENT_TEST_SERVERS=containers those of a container engine.
"""

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import asyncpg
import hypothesis
import pytest

from consent_ledger.runtime.local import Kafka, Postgres

# A machine under load may take long over one example, or to make one up, which says nothing about the code.
_SLOW = (hypothesis.HealthCheck.too_slow,)
hypothesis.settings.register_profile("consent", deadline=None, print_blob=True, suppress_health_check=_SLOW)
hypothesis.settings.load_profile("consent")

# Every Kafka of a test, also one that a command starts, lives for minutes: see `brief` of `Kafka`.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")

SERVERS = os.environ.get("CONSENT_TEST_SERVERS", "local")
if SERVERS not in ("local", "external", "containers"):
    pytest.exit(f"CONSENT_TEST_SERVERS is local, external or containers, not {SERVERS}", returncode=4)
EXTERNAL = SERVERS == "external"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run the whole suite in two processes, each with servers of its own, where there is more than one processor.

    What is named on the command line, and all that shares external servers, runs in one.
    """
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return 2 if whole and not EXTERNAL and (os.cpu_count() or 1) > 1 else 0


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap servers of the run's Kafka."""
    if EXTERNAL:
        yield os.environ["CONSENT_KAFKA_BOOTSTRAP_SERVERS"]
        return
    if SERVERS == "containers":
        import containers  # noqa: PLC0415 - needs an engine, which most runs do not have.

        with containers.kafka() as address:
            yield address
        return
    with Kafka() as server:
        yield server.bootstrap_servers


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of the run's PostgreSQL for its superuser."""
    if EXTERNAL:
        yield os.environ["CONSENT_DATABASE_URL"]
        return
    if SERVERS == "containers":
        import containers  # noqa: PLC0415 - needs an engine, which most runs do not have.

        with containers.postgres() as address:
            yield address
        return
    # Its data are gone with the run, so none of its thousands of commits has to wait for a disk.
    with Postgres(settings={"fsync": "off"}) as server:
        yield server.url


@pytest.fixture(scope="session")
async def template(postgres: str) -> AsyncIterator[str]:
    """Name of a database that has been migrated and that nobody is connected to."""
    from consent_ledger.store.migrate import migrate  # noqa: PLC0415 - tests without a database do not need the store.

    name = _unique("template")
    await _execute(postgres, f"CREATE DATABASE {name}")
    await migrate(url_of(postgres, name))
    yield name
    await _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(postgres: str, template: str) -> AsyncIterator[str]:
    """URL of a fresh, migrated database of this test's own, for its superuser."""
    name = _unique("test")
    # A copy of files is the faster way where nothing waits for a disk.
    await _execute(postgres, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield url_of(postgres, name)
    await _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def superuser(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the test's database that may do everything."""
    connection = await asyncpg.connect(database)
    yield connection
    connection.terminate()


@pytest.fixture
def topic_prefix() -> str:
    """Begin the names of this test's topics, which no other test has."""
    return f"{_unique('test')}."


def url_of(server: str, database: str) -> str:
    """Return the URL of another database on the same server."""
    return urlsplit(server)._replace(path=f"/{database}").geturl()


def _unique(what: str) -> str:
    return f"consent_{what}_{uuid.uuid4().hex[:12]}"


async def _execute(url: str, statement: str) -> None:
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
