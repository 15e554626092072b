"""Steps of requests to a shop with two branches abroad, and what becomes of them."""

import uuid
from typing import Any

from consent_ledger.domain import durations, register, requests
from consent_ledger.domain.requests import Request, Step
from consent_ledger.runtime.calendars import of_controllers

REGISTER = register.parse(
    {
        "controllers": {"shop": {"country": "BE"}, "branch": {"country": "NL"}, "far": {"country": "PT"}},
        "sources": {"desk": {"controllers": ["shop", "branch", "far"]}},
        "purposes": [
            {"controller": "shop", "id": "letters", "basis": "consent", "channels": ["post"],
             "doc": {"recipients": ["Printer NV", "Post NV"]}},
            {"controller": "shop", "id": "calls", "basis": "consent", "channels": ["phone"],
             "doc": {"recipients": ["Dialler BV"]}},
        ],
    }
)  # fmt: skip
ONE = uuid.UUID(int=1)


def at(day: str) -> str:
    return day if "T" in day else f"{day}T10:00:00Z"


def step(type: str, day: str, *, id: uuid.UUID | None = None, source: str = "desk", **body: Any) -> Step:
    reference = requests.REFERENCE.get(type)
    said = {"controllers": ["shop"], "source": source, **({reference: str(ONE)} if reference else {}), **body}
    instant = durations.instant(at(day))
    found = {name: value for name, value in said.items() if value is not None}
    return requests.step(
        REGISTER, event_id=id or uuid.uuid4(), type=type, occurred=instant, recorded=instant, body=found
    )


def received(day: str, article: str = "15", **body: Any) -> Step:
    return step("request-received", day, article=article, **body)


def fold(*steps: Step, now: str) -> list[Request]:
    return requests.fold(requests.by_request(steps), of_controllers(REGISTER), durations.instant(at(now)))


def only(*steps: Step, now: str) -> Request:
    (found,) = fold(*steps, now=now)
    return found
