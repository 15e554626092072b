"""What an explanation shows of a person, as looks to be recorded before it is given."""

import hmac
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UnsetType

from consent_ledger.api.answers import Asked, Item, Several
from consent_ledger.api.questions import Asked as Request
from consent_ledger.api.questions import normalised

_encode = msgspec.json.Encoder().encode


def looked_at(
    request: Request, asked: Sequence[Asked], keys: Mapping[str, bytes], given: Sequence[Item | Several], api_key: str
) -> list[dict[str, Any]]:
    """Give a look for each person asked about of whom explanations show any entry; none where they show none."""
    looks = []
    for question, one, answer in zip(request.questions, asked, given, strict=True):
        shown = _entries(answer)
        addresses = normalised(question)
        if shown and addresses and one.controller in keys:
            digest = hmac.digest(keys[one.controller], _encode(answer), "sha256").hex()
            looks.append(
                {
                    "controllers": [one.controller],
                    "subject": [{"type": addresses[0][0], "value": addresses[0][1]}],
                    "entered_by": request.viewer or f"api-key:{api_key}",
                    "reason": request.reason,
                    "api_key": api_key,
                    "shown": shown,
                    "digest": f"hmac-sha256:{digest}",
                }
            )
    return looks


def _entries(answer: Item | Several) -> int:
    """Count the entries that the explanations of an answer name."""
    explanations = [one.explanation for one in (answer.decisions if isinstance(answer, Several) else [answer])]
    return len(
        {
            (entry.shard, entry.position)
            for one in explanations
            if not isinstance(one, UnsetType)
            for entry in (*one.without_effect, *(entry for reason in one.reasons for entry in reason.entries))
        }
    )
