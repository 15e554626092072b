"""What the OpenAPI document says of webhooks (OpenAPI 3.1): each message, its headers, and what to answer."""

from typing import Any, Final

from consent_ledger.domain import webhook
from consent_ledger.runtime.asyncapi import written_out

_HEADERS: Final = {
    "webhook-id": ("the same each time a message is sent; a receiver keeps it to know it again", "^msg_[0-9a-f]{32}$"),
    "webhook-timestamp": ("when this attempt was made, in seconds since 1970; more than five minutes: no", "^[0-9]+$"),
    "webhook-signature": (
        "HMAC-SHA256 of `id.timestamp.body`, one for each secret that is good now: one that fits is enough",
        "^v1,[A-Za-z0-9+/]{43}=( v1,[A-Za-z0-9+/]{43}=)*$",
    ),
}
_ANSWERS: Final = {
    "2XX": {"description": "taken"},
    "410": {"description": "nothing more is sent, until the endpoint has proved itself again"},
    "429": {"description": "nothing is sent until `Retry-After` is over; 503 likewise"},
    "default": {"description": "sent again for a day, ever more seldom"},
}


def document() -> dict[str, Any]:
    """Describe each message by its type."""
    return {_type(message): {"post": _call(message)} for message in webhook.MESSAGES}


def schema(message: type[Any]) -> dict[str, Any]:
    """Give the JSON Schema of a message. Its type always stands in it."""
    made = written_out(message)
    return {**made, "required": list(made["properties"])}


def _type(message: type[Any]) -> str:
    name: str = message(timestamp=None, data=None).type
    return name


def _call(message: type[Any]) -> dict[str, Any]:
    answers: dict[str, Any] = dict(_ANSWERS)
    if message is webhook.EndpointChallenge:
        proof = written_out(webhook.ChallengeAnswer)
        answers["2XX"] = {"description": "the proof", "content": {"application/json": {"schema": proof}}}
    return {
        "summary": (message.__doc__ or "").partition("\n")[0],
        "parameters": [
            {
                "name": name, "in": "header", "required": True, "description": text,
                "schema": {"type": "string", "pattern": pattern},
            }
            for name, (text, pattern) in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema(message)}}},
        "responses": answers,
    }  # fmt: skip
