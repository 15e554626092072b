"""Registers that a command is told about: in files, by version, or in force."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from consent_ledger.cli.terminal import USAGE, fail
from consent_ledger.domain.register_schedule import Ahead
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import overview, schedule
from consent_ledger.store.overview import RegisterVersion
from consent_ledger.store.schedule import Scheduled


class Current(NamedTuple):
    """The register in force, the versions up to it, and what is scheduled; version 0 is empty."""

    versions: list[RegisterVersion]
    document: dict[str, Any]
    scheduled: list[Scheduled]

    @property
    def version(self) -> int:
        """The number of the version in force."""
        return self.versions[-1].version if self.versions else 0

    def ahead(self) -> list[Ahead]:
        """What is scheduled, as far as another load must fit in."""
        return [Ahead(one.valid_from, one.document) for one in self.scheduled]


def read(files: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Read register documents, by the names of their files; what is none ends the command."""
    return {file.name: read_one(file) for file in files}


def read_one(file: Path) -> dict[str, Any]:
    """Read one register document; what is none ends the command."""
    try:
        document = json.loads(file.read_bytes())
    except (ValueError, OSError) as error:
        fail(f"{file} cannot be read as JSON: {error}", USAGE)
    if not isinstance(document, dict):
        fail(f"{file} is no register: a JSON object is needed", USAGE)
    return document


def instant(text: str | None) -> datetime | None:
    """Read an instant with its zone; anything else ends the command."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        fail(f"{text} is no instant with a zone, such as 2027-01-01T00:00:00+01:00", USAGE)
    return found


async def current(settings: Settings) -> Current:
    """Read the register in force."""
    connection = await connect(settings.dsn, "consent_operator")
    try:
        return await read_current(connection)
    finally:
        await connection.close()


async def read_current(connection: Connection) -> Current:
    """Read the register in force over a connection that is there."""
    versions = await overview.register_versions(connection)
    document = await overview.register_document(connection, versions[-1].version) if versions else {}
    return Current(versions, document, await schedule.pending(connection))
