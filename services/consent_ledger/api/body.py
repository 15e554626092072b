"""Request bodies within a limit, answers as JSON bytes: the parts of HTTP that every call shares."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from fastapi import Request, Response

from consent_ledger.api.problems import ProblemError

JSON: Final = "application/json"

_encode = msgspec.json.Encoder().encode


async def read_body(request: Request, limit: int) -> bytes:
    """Return the whole body. Raises `ProblemError` 413 as soon as it is longer than `limit` bytes."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limit: int) -> ProblemError:
    # What is left of the body is not read, so the connection cannot be used again.
    return ProblemError(413, "too-large", f"the body is longer than {limit} bytes", headers={"Connection": "close"})


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON. Instants are written as RFC 3339 in UTC."""
    return Response(_encode(content), status, dict(headers or {}), JSON)
