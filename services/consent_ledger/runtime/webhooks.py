"""What the OpenAPI document says of webhooks (OpenAPI 3.1): each message, its headers, and what to answer."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from consent_ledger.domain import published, webhook
from consent_ledger.domain.durations import rfc3339
from consent_ledger.domain.suppression import Answer
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

_AT: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
_HASH: Final = "5e" * 32
_NO: Final = {
    "newsletter-email": {
        "email": Answer(
            allow=False, reason="CONSENT_WITHDRAWN", reasons=("CONSENT_WITHDRAWN",), since=rfc3339(_AT)
        )
    }
}  # fmt: skip
_ABSENT: Final = {
    "newsletter-email": {"email": Answer(allow=False, reason="CONSENT_ABSENT", reasons=("CONSENT_ABSENT",))}
}
_EXAMPLES: Final[tuple[webhook.Message, ...]] = (
    webhook.SuppressionChanged(
        timestamp=_AT,
        data=published.AddressRecord(
            controller="dekra-be", identifier=published.Identifier(type="email", hash=_HASH, kid="4c1d0a5b9e2f7863"),
            position=published.Place(shard=3, position=41), version=1207, recorded_at=_AT, register=12, decisions=_NO,
        ),
    ),
    webhook.DefaultsChanged(
        timestamp=_AT,
        data=published.PurposesRecord(
            controller="dekra-be", kid="4c1d0a5b9e2f7863", check="c4" * 32, version=19, register=12,
            needs={"newsletter-email": 9}, decisions=_ABSENT,
        ),
    ),
    webhook.CallRegisterChanged(
        timestamp=_AT,
        data=webhook.OfPartition(
            register="be-dncm", version=88, snapshot_at=_AT, valid_until=_AT + timedelta(days=7), partition=5
        ),
    ),
    webhook.SuppressionsComplete(timestamp=_AT, data=webhook.Complete(instant=_AT)),
    webhook.PersonChanged(
        timestamp=_AT,
        data=published.ChangeRecord(
            controller="dekra-be", dossier=5031, merged_from=[], seq=7,
            entry=published.EntryTold(
                id=UUID("0198f3a2-7c40-7d10-9f6e-3b1a52c4d5e6"), shard=3, position=41, type="consent-withdrawn",
                source="form:dekra-be", occurred_at=_AT, recorded_at=_AT, purposes=["newsletter-email"],
                channels=["email"],
            ),
            addresses=[
                published.AddressTold(
                    type="email", hash=_HASH, kid="4c1d0a5b9e2f7863", version=1207, register=12, decisions=_NO
                )
            ],
        ),
    ),
    webhook.EndpointChallenge(timestamp=_AT, data=webhook.Challenge(challenge="kZ3mV0xq7Yt1c9RwB5uN2sLhD8fG4jPa")),
)  # fmt: skip
_PROOF: Final = webhook.ChallengeAnswer(signature="v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=")


def document() -> dict[str, Any]:
    """Describe each message by its type."""
    return {example.type: {"post": _call(example)} for example in _EXAMPLES}


def schema(message: type[Any]) -> dict[str, Any]:
    """Give the JSON Schema of a message. Its type always stands in it."""
    made = written_out(message)
    return {**made, "required": list(made["properties"])}


def _call(example: webhook.Message) -> dict[str, Any]:
    message = type(example)
    answers: dict[str, Any] = dict(_ANSWERS)
    if message is webhook.EndpointChallenge:
        answers["2XX"] = {
            "description": "the proof", "content": _content(written_out(webhook.ChallengeAnswer), _PROOF)
        }  # fmt: skip
    return {
        "summary": (message.__doc__ or "").partition("\n")[0],
        "parameters": [
            {
                "name": name, "in": "header", "required": True, "description": text,
                "schema": {"type": "string", "pattern": pattern},
            }
            for name, (text, pattern) in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": _content(schema(message), example)},
        "responses": answers,
    }  # fmt: skip


def _content(said: dict[str, Any], example: msgspec.Struct) -> dict[str, Any]:
    return {"application/json": {"schema": said, "example": json.loads(msgspec.json.encode(example))}}
