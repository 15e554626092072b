"""What imports by a mapping share: reading the mapping, and saying what became of the rows."""

import json
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from consent_ledger.cli.outcomes import Report
from consent_ledger.cli.terminal import USAGE, fail

Mapping = TypeVar("Mapping")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row that was refused; nothing of its content."""

    row: int
    reason: str
    detail: str


class Summary(msgspec.Struct, kw_only=True):
    """What became of a list. `ready`: what would be published without --dry-run. `rows`: the first refused ones."""

    recorded: int = 0
    duplicate: int = 0
    refused: int = 0
    ready: int = 0
    reasons: dict[str, int] = msgspec.field(default_factory=dict)
    rows: list[Row] = msgspec.field(default_factory=list)


def read_mapping(file: Path, shape: type[Mapping]) -> Mapping:
    """Read a mapping in JSON or TOML; what is none ends the command."""
    try:
        raw = file.read_bytes()
        said: Any = tomllib.loads(raw.decode()) if file.suffix == ".toml" else json.loads(raw)
        return msgspec.convert(said, shape)
    except (ValueError, OSError, msgspec.ValidationError) as error:
        fail(f"{file} is no mapping: {error}", USAGE)


def summarised(told: Report, rows: list[Row]) -> Summary:
    """Sum up what became of a list; `rows` are the first refused ones."""
    return Summary(
        recorded=told.outcomes["recorded"], duplicate=told.outcomes["duplicate"], refused=told.outcomes["refused"],
        ready=told.outcomes["ready"], reasons=dict(told.reasons.most_common()), rows=rows,
    )  # fmt: skip
