"""The gate's process: listens where the configuration says, and answers from the SDK's view."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, Protocol, cast

from prometheus_client import start_http_server

from consent_ledger.client import BadKeyError, LocalView, SuppressionView, load_keys
from consent_ledger.connectors.postfix.policy import PolicyProtocol
from consent_ledger.connectors.postfix.settings import BadConfigurationError, Configuration, Listen
from consent_ledger.connectors.postfix.table import TableProtocol
from consent_ledger.runtime import telemetry
from consent_ledger.runtime.local.ports import LOOPBACK

log = logging.getLogger(__name__)

# Far above what Postfix sends; what is longer is not from Postfix.
_MAX_REQUEST_BYTES: Final = 1 << 16
# Any local user may ask on a port, so may they here; the directory says who may not.
_SOCKET_MODE: Final = 0o666


class Answering(Protocol):
    """A protocol of requests that end with `end`, each answered at once. `failed`: the answer to what has no end."""

    end: bytes
    failed: bytes

    def answer(self, request: bytes) -> bytes:
        """Raises nothing."""


def run(configuration: Configuration) -> None:
    """Be the gate until told to stop (SIGTERM, SIGINT). Raises BadConfigurationError, OSError."""
    view = view_of(configuration)
    telemetry.configure_logging(configuration.log_level)
    if configuration.metrics_port:
        start_http_server(configuration.metrics_port, addr=LOOPBACK)
    telemetry.run(serve(configuration, view))


def view_of(configuration: Configuration) -> SuppressionView:
    """Make the view to ask, which follows the topic once it is started. Raises BadConfigurationError, OSError."""
    asked = configuration.view
    try:
        keys = load_keys(asked.keys)
    except BadKeyError as error:
        raise BadConfigurationError(f"{asked.keys}: {error}") from None
    return SuppressionView(asked.path, keys, asked.kafka, topic=asked.topic, max_staleness=asked.max_staleness)


async def serve(configuration: Configuration, view: SuppressionView) -> None:
    """Follow the topic and answer Postfix until cancelled; while the view is not complete, mail is deferred."""
    async with view, listening(configuration, view) as listens:
        log.info("the Postfix gate answers", extra={"listen": [str(listen) for listen in listens]})
        await asyncio.Event().wait()


@asynccontextmanager
async def listening(configuration: Configuration, view: LocalView) -> AsyncIterator[Sequence[Listen]]:
    """Answer from this view while the block lasts; gives where, with the ports that port 0 became."""
    protocols: list[tuple[str, Answering]] = [
        (table.listen, TableProtocol(view, table)) for table in configuration.table
    ]
    if configuration.policy is not None:
        protocols.insert(0, (configuration.policy.listen, PolicyProtocol(view, configuration.policy)))
    async with AsyncExitStack() as stack:
        yield [await _listen(stack, Listen.read(listen), protocol) for listen, protocol in protocols]


async def _listen(stack: AsyncExitStack, listen: Listen, protocol: Answering) -> Listen:
    connected: set[asyncio.Transport] = set()

    def connect() -> _Connection:
        return _Connection(protocol, connected)

    loop = asyncio.get_running_loop()
    if listen.path:
        server = await loop.create_unix_server(connect, listen.path)
        _let_all_connect(listen.path)
    else:
        server = await loop.create_server(connect, listen.host, listen.port)
        listen = Listen(host=listen.host, port=server.sockets[0].getsockname()[1])
    stack.push_async_callback(_close, server, connected)
    return listen


def _let_all_connect(path: str) -> None:
    Path(path).chmod(_SOCKET_MODE)


async def _close(server: asyncio.Server, connected: set[asyncio.Transport]) -> None:
    server.close()
    for transport in list(connected):
        transport.close()
    await server.wait_closed()


class _Connection(asyncio.Protocol):
    """One smtpd process, which asks one thing at a time over a connection that it keeps."""

    def __init__(self, protocol: Answering, connected: set[asyncio.Transport]) -> None:
        self._protocol = protocol
        self._connected = connected
        self._unread = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # By duck typing: uvloop's transports are of no class of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._connected.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - Postfix connects again by itself
        self._connected.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (place := self._unread.find(self._protocol.end)) >= 0:
            end = place + len(self._protocol.end)
            request = bytes(self._unread[:end])
            del self._unread[:end]
            self._transport.write(self._protocol.answer(request))
        if len(self._unread) > _MAX_REQUEST_BYTES:
            self._transport.write(self._protocol.failed)
            self._transport.close()
