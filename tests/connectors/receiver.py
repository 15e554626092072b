"""A receiver of webhooks, written from the Standard Webhooks specification alone: strict, and with its own library.

A message without a good signature, of an unknown shape, or that says under a known id what it did not say before, is
refused, and the test fails by it.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import jsonschema
from standardwebhooks import Webhook

from connectors.webserver import Answer, Request
from consent_ledger.runtime import webhooks

_CALLS: dict[str, Any] = {name: one["post"] for name, one in webhooks.document().items()}


class Receiver:
    """`status` may answer otherwise for a message: by type, or None to take it."""

    def __init__(self, secret: str = "") -> None:
        self.secrets = [secret]
        self.said: dict[str, Any] = {}
        self.taken: list[Any] = []
        self.requests: list[Request] = []
        self.wrong: list[str] = []
        self.signatures = 0
        self.status: Callable[[Any], Answer | None] = lambda _: None
        self.prove: Callable[[Request, str], Any] = self._prove

    def __call__(self, request: Request) -> Answer:
        self.requests.append(request)
        try:
            message = self._verified(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test is told
            self.wrong.append(f"{type(error).__name__}: {error}")
            return Answer(400)
        if message["type"] == "endpoint.challenge":
            return Answer(200, self.prove(request, message["data"]["challenge"]))
        if (answer := self.status(message)) is not None:
            return answer
        self.taken.append(message)
        return Answer(204, b"")

    def _verified(self, request: Request) -> Any:
        assert (request.method, request.headers["content-type"]) == ("POST", "application/json")
        self.signatures = len(request.headers["webhook-signature"].split(" "))
        for parameter in _CALLS["suppression.changed"]["parameters"]:
            jsonschema.validate(request.headers[parameter["name"]], parameter["schema"])
        message = Webhook(self.secrets[-1]).verify(request.body, request.headers)
        body = _CALLS[message["type"]]["requestBody"]["content"]["application/json"]["schema"]
        jsonschema.validate(message, body)
        assert self.said.setdefault(request.headers["webhook-id"], request.body) == request.body
        return message

    def _prove(self, request: Request, text: str) -> Any:
        return {"signature": signed(self.secrets[-1], request, text)}

    def of(self, type_: str) -> list[Any]:
        """The data of messages of a type, in the order in which they were taken."""
        return [one["data"] for one in self.taken if one["type"] == type_]

    def text(self) -> str:
        """All that was ever received."""
        return json.dumps([[one.path, one.headers, one.body.decode()] for one in self.requests])


def signed(secret: str, request: Request, text: str) -> str:
    """Sign a text under the id and the timestamp of a request."""
    at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
    return Webhook(secret).sign(request.headers["webhook-id"], at, text)
