"""Logs, metrics and the life of a service process. Nothing here may carry personal data."""

import asyncio
import gc
import logging
import signal
from collections.abc import Coroutine
from typing import Any

import uvloop
from prometheus_client import start_http_server
from pythonjsonlogger.json import JsonFormatter

from consent_ledger.runtime.settings import Settings


def configure_logging(level: str) -> None:
    """Log one JSON object per line to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Client libraries report every lost connection, again and again; the services handle and report it themselves.
    for noisy in ("aiokafka", "faststream"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)


def start_metrics(settings: Settings) -> None:
    """Serve this process's metrics on the internal port, if one is set."""
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr=settings.api_host)


def run(service: Coroutine[Any, Any, None]) -> None:
    """Run a service until it ends or the process is told to (SIGTERM, SIGINT); then it is cancelled in good order."""
    # What is here now stays; and of what comes, nearly everything goes with its batch, without a search for cycles.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    uvloop.run(_until_told(service))


async def _until_told(service: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(service)
    loop = asyncio.get_running_loop()
    told = False

    def tell() -> None:
        # Once: a second signal must not cut short the good order of the first.
        nonlocal told
        if not told:
            told = True
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, tell)
    try:
        await task
    except asyncio.CancelledError:
        logging.getLogger(__name__).info("stopped")
