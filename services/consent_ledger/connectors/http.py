"""Calls to a tool's HTTP interface: at the pace that it allows, with what it answers sorted by what can be done."""

import asyncio
import email.utils
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import httpx
import msgspec

from consent_ledger.connectors.outcome import AwayError, DeniedError, FailedError, GoneError, RefusedError

T = TypeVar("T")

ANSWER_MAX_BYTES: Final = 32 * 2**20
"""How long an answer may be, as it is sent; of a longer one no more is read."""
_SECONDS: Final = 30.0
_ERRORS: Final = 400
_SERVER_ERRORS: Final = 500
_PATIENCE: Final = frozenset({408, 425, 429, 502, 503, 504})
_DENIED: Final = frozenset({401, 403})
_GONE: Final = 410


class Api:
    """One tool. `rate`: calls a second at most. No address is ever put into a URL, where logs would keep it.

    `dry`: what would change something is not sent, and described in `would` instead. `timeout`: in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        auth: httpx.Auth | tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        rate: float = 10.0,
        dry: bool = False,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout: float = _SECONDS,
    ) -> None:
        self.dry = dry
        self.would: list[str] = []
        self._client = httpx.AsyncClient(
            base_url=url, auth=auth, headers=headers, timeout=timeout, transport=transport,
            event_hooks={"response": [_bound]},
        )  # fmt: skip
        self._between = 1 / rate
        self._next = 0.0

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()

    async def get(self, path: str, params: Mapping[str, Any] | None = None) -> httpx.Response:
        """Read something. Raises the errors of `outcome`."""
        return await self._call("GET", path, params=params)

    async def change(self, method: str, path: str, *, told: str, **content: Any) -> httpx.Response | None:
        """Change something, or say what would be changed: `told`. Raises the errors of `outcome`."""
        if self.dry:
            self.would.append(told)
            return None
        return await self._call(method, path, **content)

    async def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """Send something to a whole URL, dry or not. Raises the errors of `outcome`."""
        return await self._call("POST", url, content=content, headers=headers)

    async def _call(self, method: str, path: str, **content: Any) -> httpx.Response:
        await self._in_turn()
        try:
            answer = await self._client.request(method, path, **content)
        except httpx.HTTPError as error:
            raise AwayError(type(error).__name__) from error
        if answer.status_code >= _ERRORS:
            raise _sorted(answer)
        if not answer.is_success:
            raise RefusedError(f"status {answer.status_code}")
        return answer

    async def _in_turn(self) -> None:
        """Wait until a call is allowed."""
        loop = asyncio.get_running_loop()
        at = max(self._next, loop.time())
        self._next = at + self._between
        await asyncio.sleep(at - loop.time())


class _Bounded(httpx.AsyncByteStream):
    """An answer as it comes in, until it is too long."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        length = 0
        async for piece in self._stream:
            length += len(piece)
            if length > ANSWER_MAX_BYTES:
                raise FailedError("the answer is too long")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound(answer: httpx.Response) -> None:
    assert isinstance(answer.stream, httpx.AsyncByteStream)  # noqa: S101 - what an asynchronous client reads
    answer.stream = _Bounded(answer.stream)


def _sorted(answer: httpx.Response) -> AwayError | FailedError | RefusedError:
    said = f"status {answer.status_code}"
    if answer.status_code in _DENIED:
        return DeniedError(said)
    if answer.status_code in _PATIENCE:
        return AwayError(said, retry_after(answer))
    if answer.status_code == _GONE:
        return GoneError(said)
    return FailedError(said) if answer.status_code >= _SERVER_ERRORS else RefusedError(said)


def read(answer: httpx.Response, type_: type[T]) -> T:
    """Read what a tool answers. Raises `FailedError` for something else: another version, or another program."""
    try:
        return msgspec.json.decode(answer.content, type=type_)
    except msgspec.MsgspecError as error:
        # Its text may quote what was answered.
        raise FailedError(f"not an answer that is known: {type(error).__name__}") from None


def retry_after(answer: httpx.Response) -> float | None:
    """Return for how many seconds an answer asks for patience (RFC 9110 section 10.2.3); None if it does not."""
    said = answer.headers.get("Retry-After")
    if said is None:
        return None
    if said.isdecimal():
        return float(said)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
