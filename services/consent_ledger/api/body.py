"""Request bodies within a limit, answers as JSON bytes: the parts of HTTP that every call shares."""

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from fastapi import Request, Response

from consent_ledger.api.problems import ProblemError

JSON: Final = "application/json"
WAIT_MAX_SECONDS: Final = 30
_WAIT: Final = re.compile(r"\bwait\s*=\s*\"?(\d{1,6})\b", re.IGNORECASE)

# A body that is too long is still taken off the line, up to here: to many a caller, a connection that is closed while
# it sends is an error without an answer.
_DRAINED_MAX_BYTES: Final = 64 * 1_048_576

_Body = TypeVar("_Body")

_encode = msgspec.json.Encoder().encode


async def read_body(request: Request, limit: int) -> bytes:
    """Return the whole body. Raises `ProblemError` 413 when it is longer than `limit` bytes."""
    declared = request.headers.get("content-length", "")
    expected = int(declared) if declared.isdecimal() else 0
    # A caller who asks first is told before sending anything.
    if expected > limit and (expected > _DRAINED_MAX_BYTES or "expect" in request.headers):
        raise _too_large(limit, headers={"Connection": "close"})
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        elif size > _DRAINED_MAX_BYTES:
            raise _too_large(limit, headers={"Connection": "close"})
    if size > limit:
        raise _too_large(limit)
    return b"".join(chunks)


def decode(body: bytes, shape: type[_Body]) -> _Body:
    """Read a body of a shape. Raises `ProblemError` 400, or 422 with the place of what is wrong, never its content."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        place = str(error).rpartition(" - at ")[2].strip("`") if " - at " in str(error) else "$"
        raise ProblemError(422, "invalid", f"not valid: {place}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProblemError(400, "not-json", "the body is not JSON") from None


def _too_large(limit: int, headers: Mapping[str, str] | None = None) -> ProblemError:
    return ProblemError(413, "too-large", f"the body is longer than {limit} bytes", headers=headers)


def preferred_wait(request: Request) -> int:
    """Return how many seconds the caller would like to wait (RFC 7240), 0 when nothing is said, at most 30."""
    found = _WAIT.search(", ".join(request.headers.getlist("prefer")))
    return min(int(found[1]), WAIT_MAX_SECONDS) if found else 0


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON. Instants are written as RFC 3339 in UTC."""
    return Response(_encode(content), status, dict(headers or {}), JSON)
