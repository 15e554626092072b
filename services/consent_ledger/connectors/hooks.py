"""What a tool calls when somebody leaves there, or mail comes back: a hint to look at that contact, and no more.

What is believed is what the tool's interface then says, by the rules of a sweep: so a call that only mirrors what the
connector has done itself tells nothing new, whatever it holds, and one that is lost is made up for by the next sweep.
It listens on the loopback address, behind something that speaks TLS.
"""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import uvicorn
from fastapi import FastAPI, Request, Response
from prometheus_client import Counter

from consent_ledger.connectors.settings import Name, Strict, secret
from consent_ledger.runtime.web import Server

log = logging.getLogger(__name__)

CALLS = Counter("consent_connector_hooks_total", "Calls of tools by what became of them", ["connector", "outcome"])

_BODY_MAX: Final = 1 << 20
_SKEW_SECONDS: Final = 300

Headers: TypeAlias = Mapping[str, str]
Signed: TypeAlias = Callable[[bytes, Headers, bytes], bool]
"""Tells by the secret, the headers (lower case) and the body whether a call is from the tool."""
Named: TypeAlias = Callable[[Any], Collection[str]]
"""Finds the contacts that a call is about; none: it does not say."""


class Calls(NamedTuple):
    """How the calls of a kind of tool are read."""

    signed: Signed
    named: Named


class Hooks(Strict, frozen=True, kw_only=True):
    """Where the tool's calls come in: `POST http://LISTEN/hooks/NAME`. `listen`: HOST:PORT on a loopback address."""

    listen: Name
    secret_file: Name

    def __post_init__(self) -> None:
        self.address()

    def address(self) -> tuple[str, int]:
        """Raises ValueError."""
        host, _, port = self.listen.rpartition(":")
        if not ipaddress.ip_address(host.strip("[]")).is_loopback:
            raise ValueError("listen is not on a loopback address")
        return host.strip("[]"), int(port)


def by_mautic(key: bytes, headers: Headers, body: bytes) -> bool:
    """Mautic signs with HMAC-SHA-256 in base64, header `Webhook-Signature`."""
    wanted = base64.b64encode(hmac.digest(key, body, hashlib.sha256))
    return hmac.compare_digest(wanted, headers.get("webhook-signature", "").encode())


def by_listmonk(key: bytes, headers: Headers, body: bytes) -> bool:
    """Listmonk signs time and body (HMAC), or sends `Authorization: Basic`, whose user is of no interest."""
    signature, sent_at = headers.get("x-listmonk-signature"), headers.get("x-listmonk-timestamp", "")
    if signature is not None:
        if not sent_at.isdecimal() or abs(time.time() - int(sent_at)) > _SKEW_SECONDS:
            return False
        wanted = "sha256=" + hmac.digest(key, f"{sent_at}.".encode() + body, hashlib.sha256).hex()
        return hmac.compare_digest(wanted.encode(), signature.encode())
    scheme, _, given = headers.get("authorization", "").partition(" ")
    try:
        _, _, password = base64.b64decode(given, validate=True).partition(b":")
    except ValueError:
        return False
    return scheme.lower() == "basic" and hmac.compare_digest(password, key)


def in_mautic(said: Any) -> Collection[str]:
    """Return the contacts of all events of a call."""
    found: dict[str, None] = {}
    for events in said.values():
        for event in events if isinstance(events, list) else [events]:
            found[str(int(event["contact"]["id"]))] = None
    return found


def in_listmonk(said: Any) -> Collection[str]:
    """Return the subscriber of an event, where it names one by number."""
    data = said.get("data")
    if not isinstance(data, dict):
        return ()
    whose = data.get("subscriber")
    number = whose.get("id") if isinstance(whose, dict) else data.get("subscriber_id")
    return () if number is None else (str(int(number)),)


MAUTIC: Final = Calls(by_mautic, in_mautic)
LISTMONK: Final = Calls(by_listmonk, in_listmonk)


def application(name: str, key: bytes, calls: Calls, look_at: Callable[[Collection[str]], None]) -> FastAPI:
    """Make the receiver of one connector's calls."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    async def take(request: Request) -> Response:
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > _BODY_MAX:
                return _answer(name, 413, "too large")
        if not calls.signed(key, request.headers, body):
            return _answer(name, 401, "not signed")
        try:
            look_at(calls.named(msgspec.json.decode(body)))
        except (msgspec.MsgspecError, AttributeError, KeyError, TypeError, ValueError):
            # It is the tool that calls, so something has changed: look at everybody.
            look_at(())
        return _answer(name, 204, "taken")

    app.add_api_route(f"/hooks/{name}", take, methods=["POST"], response_model=None)
    return app


def _answer(name: str, status: int, outcome: str) -> Response:
    CALLS.labels(name, outcome).inc()
    if outcome != "taken":
        log.warning("a call was not taken", extra={"connector": name, "outcome": outcome})
    return Response(status_code=status)


@asynccontextmanager
async def listening(app: FastAPI, hooks: Hooks) -> AsyncIterator[int]:
    """Answer calls while the block lasts; gives the port. Raises OSError when it is taken."""
    host, port = hooks.address()
    config = uvicorn.Config(app, lifespan="off", access_log=False, log_config=None, server_header=False)
    server = Server(config)
    with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as opened:
        task = asyncio.create_task(server.serve(sockets=[opened]))
        try:
            yield opened.getsockname()[1]
        finally:
            server.should_exit = True
            await task


def key_of(hooks: Hooks) -> bytes:
    """Read the secret. Raises `BadConfigurationError`."""
    return secret(hooks.secret_file).encode()
