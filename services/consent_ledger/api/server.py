"""Runs the HTTP service on uvicorn with uvloop and httptools."""

import asyncio
import logging
import socket
from typing import Final

import uvicorn

from consent_ledger.api.app import create_app
from consent_ledger.runtime.clock import Clock
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.web import Server

log = logging.getLogger(__name__)

_BACKLOG: Final = 2048
_GRACE_SECONDS: Final = 5
_IDLE_SECONDS: Final = 75


async def serve(
    settings: Settings, keks: KeyEncryptionKeys, clock: Clock, listening: "asyncio.Future[int] | None" = None
) -> None:
    """Answer requests until cancelled, then finish those under way. `listening` is given the port once it is open.

    Raises OSError when the port is taken.
    """
    app = create_app(settings, keks, clock)
    # No access log: what a caller puts into a path or a query is not ours to keep.
    logging.getLogger("uvicorn.access").disabled = True
    config = uvicorn.Config(
        app, http="httptools", loop="uvloop", lifespan="on", access_log=False, log_config=None, server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS, timeout_keep_alive=_IDLE_SECONDS,
    )  # fmt: skip
    server = Server(config)
    family = socket.AF_INET6 if ":" in settings.api_host else socket.AF_INET
    with socket.create_server((settings.api_host, settings.api_port), family=family, backlog=_BACKLOG) as opened:
        port = opened.getsockname()[1]
        task = asyncio.create_task(server.serve(sockets=[opened]))
        log.info("api listening", extra={"host": settings.api_host, "port": port})
        if listening is not None:
            listening.set_result(port)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            server.should_exit = True
            await task
            raise
