"""Finds the installation that a command is about: by settings, else a `consent up` on the data directory."""

from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsError

from consent_ledger.cli.terminal import USAGE, fail
from consent_ledger.runtime.local.homes import Process
from consent_ledger.runtime.settings import Settings

DEFAULT_DATA: Final = Path(".consent")
CHECKPOINTS: Final = "checkpoints"
"""Where a data directory has the published log."""
Data = Annotated[
    Path, typer.Option("--data", envvar="CONSENT_DATA", help="Directory of a `consent up` on this machine.")
]
_STATE: Final = "up.json"


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A `consent up` as other commands find it. What it was told by its environment is not written down: None."""

    owner: Process
    kafka: str | None
    database: str | None
    api: str
    api_key: str
    topic_prefix: str
    partitions: int
    key_file: str


def write(data: Path, running: Running) -> None:
    """Let other commands of this user find the installation."""
    fresh = data / f"{_STATE}.new"
    fresh.touch(mode=0o600)
    fresh.write_bytes(msgspec.json.encode(running))
    fresh.replace(data / _STATE)


def forget(data: Path) -> None:
    """Undo `write`."""
    (data / _STATE).unlink(missing_ok=True)


def running(data: Path) -> Running | None:
    """Return the installation that runs on a data directory; None when none does."""
    try:
        found = msgspec.json.decode((data / _STATE).read_bytes(), type=Running)
    except (OSError, msgspec.MsgspecError):
        return None
    return found if found.owner.find() is not None else None


def environment() -> Settings:
    """Return the settings as the environment and `.env` have them. A wrong one ends the command."""
    try:
        return Settings()
    except ValidationError as error:
        # The value itself may be a secret.
        wrong = ", ".join(f"CONSENT_{str(item['loc'][0]).upper()} ({item['msg']})" for item in error.errors())
        fail(f"wrong settings: {wrong}", USAGE)
    except SettingsError as error:
        # It names the field, and the value only in its cause.
        fail(f"wrong settings: {error}", USAGE)


def settings(data: Path) -> Settings:
    """Return the settings in force for a command: those of the environment, completed by what runs on `data`."""
    said = environment()
    if said.database_url is not None and said.kafka_bootstrap_servers is not None:
        return said
    there = running(data)
    if there is None:
        return said
    completed = {
        "database_url": said.database_url or (SecretStr(there.database) if there.database else None),
        "kafka_bootstrap_servers": said.kafka_bootstrap_servers or there.kafka,
        "topic_prefix": there.topic_prefix,
        "partitions": there.partitions,
        "key_file": Path(there.key_file),
        "log_directory": said.log_directory or str(data / CHECKPOINTS),
    }
    return said.model_copy(update=completed)
