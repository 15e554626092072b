"""The HTTP service: its calls, and what surrounds every one of them."""

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI
from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consent_ledger import api
from consent_ledger.api import openapi, problems
from consent_ledger.api.access import Access
from consent_ledger.api.changes import Changes
from consent_ledger.api.confirmations import Confirmations
from consent_ledger.api.database import Database
from consent_ledger.api.decisions import Decisions
from consent_ledger.api.intake import Intake
from consent_ledger.api.log import Log
from consent_ledger.api.looks import Looks
from consent_ledger.api.lookup import Lookup
from consent_ledger.api.operation import Operation
from consent_ledger.api.publisher import Publisher
from consent_ledger.api.registers import Registers
from consent_ledger.api.requests import Requests
from consent_ledger.api.unsubscribe import Unsubscribe
from consent_ledger.runtime.clock import Clock
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import EVENTS

log = logging.getLogger(__name__)

REQUESTS: Final = Counter("consent_http_requests_total", "Requests answered", ["call", "status"])
SECONDS: Final = Histogram(
    "consent_http_seconds", "Time to answer", ["call"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30),
)  # fmt: skip


def create_app(settings: Settings, keks: KeyEncryptionKeys, clock: Clock) -> FastAPI:
    """Put the service together. It connects when it is first asked, so it starts, and says so, without its servers."""
    database = Database(settings.dsn)
    publisher = Publisher(settings.kafka(), f"{settings.topic_prefix}{EVENTS}")

    access = Access(database)
    requests = Requests(access, database, clock)
    looks = Looks(database, publisher, clock)
    decisions = Decisions(access, database, looks, keks, clock, settings)
    lookup = Lookup(access, looks, decisions, keks, clock, settings)
    confirmations = Confirmations(access, database, keks, clock, settings)
    unsubscribe = Unsubscribe(database, publisher, keks, clock, settings)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        counting = asyncio.create_task(requests.count())
        await unsubscribe.open()
        yield
        counting.cancel()
        await unsubscribe.close()
        await publisher.close()
        await lookup.close()
        await database.close()

    merkle = Log(access, database, cosigned=settings.witness_quorum > 0)
    operation = Operation(database, publisher, settings.max_staleness)
    app = FastAPI(title="Consent ledger", version="1", openapi_url="/openapi.json", docs_url=None, redoc_url=None,
                  lifespan=life)  # fmt: skip
    problems.install(app)
    app.add_middleware(Surround)
    calls: tuple[tuple[str, str, Any, dict[str, Any]], ...] = (
        ("POST", "/v1/events", Intake(access, database, publisher).post, openapi.EVENTS),
        ("POST", "/v1/decisions", decisions.post, openapi.DECISIONS),
        ("POST", "/v1/confirmations", confirmations.post, openapi.CONFIRMATIONS),
        ("POST", "/v1/changes", Changes(access, database, clock, settings).post, openapi.CHANGES),
        ("POST", "/v1/subjects/lookup", lookup.post, openapi.LOOKUP),
        ("GET", "/v1/register", Registers(access, database).get, openapi.REGISTER),
        ("GET", "/v1/requests", requests.get, openapi.REQUESTS),
        ("GET", "/u/{token}", unsubscribe.get, openapi.UNSUBSCRIBE_PAGE),
        ("POST", "/u/{token}", unsubscribe.post, openapi.UNSUBSCRIBE),
        ("GET", "/v1/entries/{shard}/{position}", merkle.entry, openapi.ENTRY),
        ("GET", "/v1/entries/{shard}/{position}/proof", merkle.proof, openapi.PROOF),
        ("GET", "/checkpoint", merkle.checkpoint, openapi.CHECKPOINT),
        ("GET", "/tile/{path:path}", merkle.tile, openapi.TILE),
        ("GET", "/healthz", operation.healthz, openapi.HEALTH),
        ("GET", "/readyz", operation.readyz, openapi.READY),
    )
    for method, path, call, described in calls:
        app.add_api_route(path, call, methods=[method], response_model=None, openapi_extra=described)
    app.add_api_route("/u/{token}", unsubscribe.get, methods=["HEAD"], response_model=None, include_in_schema=False)
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    return app


class Surround:
    """Counts requests, and turns what nobody expected into an answer and a log line that tell nothing.

    An exception's message may quote what it failed on, so only its type and where it came from are logged.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
            failed = {"error": type(error).__name__, "at": _origin(error)}
            log.error("request failed", extra=failed)  # noqa: TRY400 - a traceback quotes the message
            if not status:
                answer = problems.ProblemError(500, "internal", "the request could not be answered").response()
                await answer(scope, receive, note)
        finally:
            call = getattr(scope.get("route"), "path", "other")
            REQUESTS.labels(call, status).inc()
            SECONDS.labels(call).observe(time.perf_counter() - began)


def _origin(error: Exception) -> str:
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if api.__name__.split(".")[0] in frame.filename
    ]
    return " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
