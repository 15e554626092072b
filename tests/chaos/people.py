"""A few hundred people of three controllers consent, refuse, are linked and say things twice, in no order of time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from chaos.check import Form
from chaos.gate import GROUPS, PURPOSES, Fact, Gate, Kind
from chaos.load import Publisher, event

REGISTER: dict[str, Any] = {
    "controllers": {
        "north": {"name": "North NV", "group": "poles", "country": "BE", "default_objection_scope": "group"},
        "south": {"name": "South BV", "group": "poles", "country": "NL", "default_objection_scope": "group"},
        "west": {"name": "West SA", "group": None, "country": "FR", "default_objection_scope": "entity"},
    },
    "purposes": [
        {
            "controller": controller,
            "id": purpose,
            "basis": "consent",
            "channels": ["email"],
            "direct_marketing": True,
            "description": f"monthly {purpose} on new products",
        }
        for controller, purposes in PURPOSES.items()
        for purpose in purposes
    ],
    "sources": {f"web:{controller}": {"controllers": [controller]} for controller in PURPOSES},
}
_PERSONS = 150
ADDRESSES = [f"{letter}{number}@example.be" for number in range(_PERSONS) for letter in "ab"]
_SPEAKERS = 3
_PAUSE_SECONDS = 0.015
_LATEST = timedelta(days=2)
_LATE = 0.2
_REPEATED = 0.1
_KINDS: dict[str, Kind] = {"consent-given": "consent", "identifiers-linked": "link"}


Spoken = tuple[dict[str, Any], Fact]


def consent(controller: str, purposes: Sequence[str], address: str, occurred_at: datetime | None = None) -> Spoken:
    """Let an address consent to purposes."""
    return made(
        "consent-given",
        controller,
        (address,),
        occurred_at,
        purposes=list(purposes),
        channels=["email"],
        origin="data-subject",
        mechanism="toggle",
        evidence={"text_id": "letter", "text_version": 1, "ref": "form"},
    )


def withdrawal(
    controller: str, address: str, purposes: Sequence[str] = (), occurred_at: datetime | None = None
) -> Spoken:
    """Let an address withdraw from purposes, or from all of them."""
    named = {"purposes": list(purposes)} if purposes else {}
    return made("consent-withdrawn", controller, (address,), occurred_at, **named)


def made(
    type: str, controller: str, addresses: Sequence[str], occurred_at: datetime | None = None, **data: Any
) -> Spoken:
    """Make an event of the controller's own source, now if nothing else is said, and what it means."""
    now = datetime.now(UTC)
    said = event(
        type,
        {
            "controllers": [controller],
            "subject": [{"type": "email", "value": address} for address in addresses],
            **data,
        },
        source=f"web:{controller}",
        time=(occurred_at or now).isoformat(),
    )
    fact = Fact(
        event_id=UUID(said["id"]),
        kind=_KINDS.get(type, "refusal"),
        source=f"web:{controller}",
        controllers=GROUPS[controller] if type == "objection-raised" else frozenset({controller}),
        addresses=tuple(addresses),
        purposes=frozenset(data["purposes"]) if "purposes" in data else None,
        occurred_at=occurred_at or now,
        sent_at=now,
    )
    return said, fact


def malformed(controller: str, address: str) -> Spoken:
    """Make a refusal without a readable time: it is taken for an objection to everything."""
    said, fact = withdrawal(controller, address)
    fact.occurred_at, fact.controllers = None, GROUPS[controller]
    return {**said, "time": "yesterday"}, fact


class Speaker:
    """Publishes events, and keeps the gate informed of what was said and what Kafka has acknowledged."""

    def __init__(self, publisher: Publisher, gate: Gate, random: Random, partitions: int) -> None:
        self._publisher = publisher
        self._gate = gate
        self._random = random
        self._partitions = partitions
        self._said: list[dict[str, Any]] = []

    async def say(self, said: dict[str, Any], fact: Fact) -> None:
        """Publish an event for the first time."""
        form = Form.EVENT if fact.occurred_at else Form.MALFORMED_REFUSAL
        self._gate.add(fact)
        await self._publisher.send(said, form, self._random.randrange(self._partitions))
        fact.acknowledged_at = datetime.now(UTC)
        if form is Form.EVENT:
            self._said.append(said)

    async def repeat(self) -> None:
        """Publish an event again, if there was one, maybe on another partition."""
        if self._said:
            again = self._random.choice(self._said)
            await self._publisher.send(again, partition=self._random.randrange(self._partitions))

    async def speak(self, stopped: asyncio.Event) -> None:
        """Say what people say, until told to stop."""
        while not stopped.is_set():
            await (self.repeat() if self._random.random() < _REPEATED else self.say(*self._anything()))
            await asyncio.sleep(self._random.expovariate(1 / _PAUSE_SECONDS))

    def _anything(self) -> Spoken:
        random, number = self._random, self._random.randrange(_PERSONS)
        controller = random.choice(list(PURPOSES))
        some = random.sample(PURPOSES[controller], random.randint(1, len(PURPOSES[controller])))
        pair = random.sample([f"{letter}{number}@example.be" for letter in "ab"], 2)
        then = datetime.now(UTC) - _LATEST * random.random() if random.random() < _LATE else None
        kinds: dict[Callable[[], Spoken], int] = {
            lambda: consent(controller, some, pair[0], then): 60,
            lambda: withdrawal(controller, pair[0], some, then): 8,
            lambda: withdrawal(controller, pair[0], (), then): 6,
            lambda: made("objection-raised", controller, pair[:1], then, kind="direct-marketing"): 7,
            lambda: made("erasure-requested", controller, pair[:1], then): 4,
            lambda: malformed(controller, pair[0]): 3,
            lambda: made("identifiers-linked", controller, pair, then): 12,
        }
        return random.choices(list(kinds), list(kinds.values()))[0]()


@asynccontextmanager
async def people(speaker: Speaker) -> AsyncIterator[None]:
    """Let people speak as long as the block lasts; at its end everything they said has been acknowledged."""
    stopped = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_SPEAKERS):
            tasks.create_task(speaker.speak(stopped))
        try:
            yield
        finally:
            stopped.set()
