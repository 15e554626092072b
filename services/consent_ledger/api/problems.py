"""Errors as they go out: problem details (RFC 9457) that tell the caller what to do and nothing about what exists."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1

_encode = msgspec.json.Encoder().encode


class ProblemError(Exception):
    """Ends a request with a problem document. `more` are further members, such as the index of a wrong question."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more

    def document(self) -> dict[str, Any]:
        """Return the members of the problem document."""
        title = HTTPStatus(self.status).phrase
        return {"type": urn(self.code), "title": title, "status": self.status, "detail": self.detail, **self.more}

    def response(self) -> Response:
        """Return the whole answer."""
        return Response(_encode(self.document()), self.status, self.headers, MEDIA_TYPE)


def urn(code: str) -> str:
    """Return the type under which a kind of problem is known for ever."""
    return f"urn:consent-ledger:problem:{code.lower().replace('_', '-')}"


def unauthorized() -> ProblemError:
    """No key, or none that works: which of the two is not said."""
    return ProblemError(401, "unauthorized", "a valid API key is needed", headers={"WWW-Authenticate": "Bearer"})


def forbidden() -> ProblemError:
    """The key does not reach that far: whether what was asked for exists is not said."""
    return ProblemError(403, "forbidden", "the API key does not allow this")


def unavailable(what: str) -> ProblemError:
    """Something the request needs is away for the moment; the same request may succeed later."""
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return ProblemError(503, "unavailable", f"{what} cannot be reached; try again later", headers=headers)


def install(app: FastAPI) -> None:
    """Make every error of the application a problem document, also those that the framework raises itself."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101 - registered for this class
    return error.response()


async def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    phrase = HTTPStatus(error.status_code).phrase
    code = re.sub(r"[^a-z]+", "-", phrase.lower())
    return ProblemError(error.status_code, code, phrase, headers=error.headers).response()


async def _on_validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    # Places only: the framework's own messages repeat what was sent.
    places = sorted({".".join(str(part) for part in item["loc"] if isinstance(part, str)) for item in error.errors()})
    return ProblemError(422, "invalid", f"not valid: {', '.join(places)}").response()
