"""The documents of the contract: `python -m consent_ledger.cli.contract DIR` writes OpenAPI, AsyncAPI, manifests.

With `--baseline` it writes what later versions are measured by: a deliberate act, at a release.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from consent_ledger.api.app import create_app
from consent_ledger.connectors.files.lists import Manifest
from consent_ledger.domain import schemas
from consent_ledger.runtime import asyncapi
from consent_ledger.runtime.asyncapi import written_out
from consent_ledger.runtime.clock import SystemClock
from consent_ledger.runtime.settings import Settings

BASELINE: Final = "baseline.json"
MANIFEST: Final = "lists/manifest.schema.json"


class _NoKeys:
    """Stands where the service has its keys: describing it opens nothing."""

    async def current(self) -> str:
        raise NotImplementedError

    async def key(self, name: str) -> bytes:
        raise NotImplementedError


def documents() -> dict[str, Any]:
    """Give the documents by the name of their file."""
    nowhere = Settings(database_url=SecretStr("postgresql://"), kafka_bootstrap_servers="localhost:9")
    return {
        "openapi.json": create_app(nowhere, _NoKeys(), SystemClock()).openapi(),
        "asyncapi.json": asyncapi.document(),
        MANIFEST: manifest(),
    }


def manifest() -> dict[str, Any]:
    """Describe what stands beside each file that a files connector hands out."""
    return {"$schema": schemas.DIALECT, "$id": "urn:consent-ledger:schema:list:manifest", **written_out(Manifest)}


def contract() -> dict[str, Any]:
    """Give the whole contract, by the name of the file: the documents and the schemas of all events."""
    events = {path: json.loads(text) for path, text in schemas.files() if path.startswith("events/")}
    return {**documents(), **events}


def files() -> dict[str, str]:
    """Give the text of the documents."""
    return {name: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for name, document in documents().items()}


def main(directory: Path, *, baseline: bool) -> None:
    """Write the documents, or the baseline; the directory `lists` must be there."""
    wanted = {BASELINE: json.dumps(contract(), ensure_ascii=False) + "\n"} if baseline else files()
    for name, text in wanted.items():
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), baseline="--baseline" in sys.argv[2:])
