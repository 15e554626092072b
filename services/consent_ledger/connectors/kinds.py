"""The connectors that there are, and the file that configures them."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from consent_ledger.connectors.files.settings import FilesTable
from consent_ledger.connectors.listmonk import Listmonk
from consent_ledger.connectors.mautic import Mautic
from consent_ledger.connectors.settings import Process, read
from consent_ledger.connectors.webhook.settings import WebhookTable
from consent_ledger.domain.acks import NAME

AnyKind = Listmonk | Mautic | WebhookTable | FilesTable
"""A new kind is named here."""

Consumer = Annotated[str, Meta(pattern=rf"\A{NAME.pattern}\Z")]


class File(Process, frozen=True, kw_only=True):
    """The whole file: each connector under the name of its consumer, `[connector.NAME]`, with its `kind`."""

    connector: dict[Consumer, AnyKind]


def load(path: Path) -> File:
    """Read and check a file. Raises `BadConfigurationError`, and OSError where it cannot be read."""
    return read(path, File)
