"""Kafka and PostgreSQL in containers, for a run of the tests where an engine is at hand."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from docker.errors import DockerException
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from consent_ledger.runtime.local.jars import KAFKA_VERSION
from consent_ledger.runtime.local.ports import free_port

KAFKA_IMAGE = f"apache/kafka:{KAFKA_VERSION}"
POSTGRES_IMAGE = "postgres:18.6"
_PASSWORD = "consent"
_POSTGRES_PORT = 5432


@contextmanager
def kafka() -> Iterator[str]:
    """Run a broker; gives its bootstrap servers. A broker tells its clients its port, so that is chosen before."""
    port = free_port()
    said = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }
    with _running(KAFKA_IMAGE, said, {port: port}, "Kafka Server started"):
        yield f"127.0.0.1:{port}"


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server; gives its superuser's URL. It starts twice: the first time it makes its data only."""
    port = free_port()
    ready = "database system is ready to accept connections"
    with _running(POSTGRES_IMAGE, {"POSTGRES_PASSWORD": _PASSWORD}, {_POSTGRES_PORT: port}, ready, times=2):
        yield f"postgresql://postgres:{_PASSWORD}@127.0.0.1:{port}/postgres"


@contextmanager
def _running(image: str, said: dict[str, str], ports: dict[int, int], ready: str, *, times: int = 1) -> Iterator[None]:
    try:
        container = DockerContainer(image).with_envs(**said)
        # On the loopback address only, which the library itself knows no word for.
        bound = {str(inside): ("127.0.0.1", outside) for inside, outside in ports.items()}
        container.ports.update(bound)  # type: ignore[arg-type]
        container.waiting_for(LogMessageWaitStrategy(ready, times=times))
        container.start()
    except DockerException as error:
        pytest.exit(f"CONSENT_TEST_SERVERS=containers needs a container engine: {type(error).__name__}", returncode=3)
    try:
        yield
    finally:
        container.stop()
