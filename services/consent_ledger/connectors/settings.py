"""The configuration file of connectors (TOML): how Kafka is reached, and each connector under its consumer's name."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import Meta

from consent_ledger.client.acknowledger import Acknowledger
from consent_ledger.client.local import MAX_STALENESS_SECONDS
from consent_ledger.connectors.runner import Connector
from consent_ledger.connectors.state import State
from consent_ledger.domain.errors import ConsentError

Name = Annotated[str, Meta(min_length=1)]
Positive = Annotated[float, Meta(gt=0)]
T = TypeVar("T")


class BadConfigurationError(ConsentError):
    """The file is no configuration; the text says what is wrong, and where, and shows no value."""


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of which every member is named."""


class View(Strict, frozen=True, kw_only=True):
    """The SDK's copy of the suppressions topic: `path` is a directory, shared with other tools on this machine.

    `keys`: file of `consent keys export`. `kafka`: arguments of any aiokafka client. `max_staleness`: in seconds.
    """

    path: Name
    keys: Name
    kafka: dict[str, Any]
    topic: Name = "consent.suppressions"
    max_staleness: Positive = MAX_STALENESS_SECONDS


class Process(Strict, frozen=True, kw_only=True):
    """What holds for all connectors of a file. `metrics_port`: on the loopback address; 0 for none."""

    kafka: dict[str, Any]
    prefix: Name = "consent."
    metrics_port: Annotated[int, Meta(ge=0, lt=1 << 16)] = 0
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


def read(path: Path, type_: type[T]) -> T:
    """Read and check a file. Raises `BadConfigurationError`, and OSError where it cannot be read."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=type_)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadConfigurationError(f"{path}: {error}") from None


def secret(file: str) -> str:
    """Read a secret from the file that holds it alone. Raises `BadConfigurationError`, which does not show it."""
    try:
        found = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfigurationError(f"{file} cannot be read: {type(error).__name__}") from None
    if not found:
        raise BadConfigurationError(f"{file} is empty")
    return found


class Comparing(Protocol):
    """Compares what a tool was given with what the ledger says, and has the rest done."""

    async def run(self) -> Mapping[str, int]:
        """Compare once, and count. Counts whose names begin with `to be` are differences."""


class Opened(NamedTuple):
    """A connector that is ready to run, who reports for it, and what it would have changed when run dry.

    `comparing`: compares both sides, where running the connector once is not enough for that.
    """

    connector: Connector
    acknowledger: Acknowledger | None
    would: list[str]
    comparing: Comparing | None = None


class Kind(Strict, frozen=True, kw_only=True):
    """A table that configures one connector. `state`: its directory."""

    state: Name

    def opened(self, name: str, process: Process, state: State, *, dry: bool) -> AbstractAsyncContextManager[Opened]:
        """Make the connector for as long as the block lasts. Raises `BadConfigurationError`, OSError."""
        raise NotImplementedError
