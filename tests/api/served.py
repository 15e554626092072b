"""The HTTP service for tests: served by uvicorn in this process, and asked over a real connection."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import httpx

from consent_ledger.api.server import serve
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import api_keys
from running import Installation, SettableClock, serving

EVERYTHING = ("*",)
BATCH = "application/cloudevents-batch+json"
STRUCTURED = "application/cloudevents+json"


class Api:
    """A client of the service, and the installation behind it."""

    def __init__(self, client: httpx.AsyncClient, installation: Installation, clock: SettableClock) -> None:
        self.client = client
        self.installation = installation
        self.clock = clock

    async def key(
        self, *scopes: str, sources: Collection[str] = EVERYTHING, controllers: Collection[str] = EVERYTHING
    ) -> str:
        """Make a key that works."""
        return await make_key(self.installation, scopes, sources, controllers)

    async def publish(self, *events: Any, wait: int = 0, key: str | None = None) -> httpx.Response:
        """Publish a batch of events."""
        headers = {"Content-Type": BATCH} | ({"Prefer": f"wait={wait}"} if wait else {})
        return await self.client.post("/v1/events", json=list(events), headers=headers | bearer(key))

    async def recorded(self, *events: Any) -> list[dict[str, Any]]:
        """Publish events and return what the ledger made of each."""
        answer = await self.publish(*events, wait=20)
        assert answer.status_code == 200, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    async def ask(self, *questions: Any, key: str | None = None, **more: Any) -> httpx.Response:
        """Ask for decisions."""
        return await self.client.post("/v1/decisions", json={"questions": questions, **more}, headers=bearer(key))

    async def decide(self, *questions: Any) -> list[dict[str, Any]]:
        """Return the answers to questions."""
        answer = await self.ask(*questions)
        assert answer.status_code == 200, answer.text
        decisions: list[dict[str, Any]] = answer.json()["decisions"]
        return decisions


async def make_key(
    installation: Installation, scopes: Collection[str], sources: Collection[str], controllers: Collection[str]
) -> str:
    """Make a key as an operator does."""
    connection = await connect(installation.settings.dsn, "consent_operator")
    try:
        return await api_keys.create(connection, scopes=scopes, sources=sources, controllers=controllers)
    finally:
        await connection.close()


def bearer(key: str | None) -> dict[str, str]:
    """The header that shows a key; none, where the client has its own."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def question(value: str = "an@example.be", **fields: Any) -> dict[str, Any]:
    """A question about the newsletter of the first shop; a field that is None is left out."""
    plain = {
        "controller": "shop-be",
        "subject": [{"type": "email", "value": value}],
        "purpose": "newsletter",
        "channel": "email",
    }
    return {name: field for name, field in (plain | fields).items() if field is not None}


@asynccontextmanager
async def served(installation: Installation, **settings: Any) -> AsyncIterator[Api]:
    """Serve an installation's API, with a clock of its own and a client whose key may do everything."""
    clock = SettableClock()
    everything = await make_key(installation, api_keys.SCOPES, EVERYTHING, EVERYTHING)
    chosen = installation.settings.model_copy(update={"api_port": 0, **settings})
    async with (
        listening(chosen, installation.keks, clock) as url,
        httpx.AsyncClient(base_url=url, headers=bearer(everything), timeout=40) as client,
    ):
        yield Api(client, installation, clock)


@asynccontextmanager
async def listening(settings: Settings, keks: KeyEncryptionKeys, clock: SettableClock) -> AsyncIterator[str]:
    """Serve whatever there is behind the settings, and give the address."""
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with serving(serve(settings, keks, clock, port)) as service:
        both: set[asyncio.Future[Any]] = {service, port}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if service.done():
            service.result()
        yield f"http://127.0.0.1:{port.result()}"
