"""A small HTTP server on the loopback address for stand-ins of other people's programs."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from consent_ledger.runtime.local.ports import LOOPBACK


class Request(NamedTuple):
    """What was asked; `query` holds every parameter with all its values."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Answer(NamedTuple):
    """What is answered, as JSON unless it is bytes."""

    status: int
    content: Any = None
    headers: tuple[tuple[str, str], ...] = ()


@contextmanager
def served(answer: Callable[[Request], Answer]) -> Iterator[str]:
    """Answer requests, one at a time, while the block lasts; gives the URL."""
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            address = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Request(
                self.command, address.path, parse_qs(address.query, keep_blank_values=True),
                {key.lower(): value for key, value in self.headers.items()}, body,
            )  # fmt: skip
            with turn:
                said = answer(request)
            content = said.content if isinstance(said.content, bytes) else json.dumps(said.content).encode()
            self.send_response(said.status)
            for name, value in (("Content-Type", "application/json"), *said.headers):
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
