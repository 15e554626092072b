"""A controller that calls people, with a do-not-call register of its own, so that tests do not meet each other."""

import itertools
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from api.served import Api
from builders import event, given
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.domain.suppression import call_register_key, suppression_key
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.topics import partition_of
from consent_ledger.store import keys
from running import Installation, until

NOW = datetime.now(UTC).replace(microsecond=0)

_numbers = itertools.count(1)


def ago(**span: float) -> str:
    """An instant in the past, as publishers write it."""
    return (NOW - timedelta(**span)).isoformat()


def number() -> str:
    """A number that no other test has."""
    return f"+3247{next(_numbers):07}"


def phone(value: str) -> dict[str, Any]:
    return {"type": "phone", "value": value}


@dataclass(frozen=True)
class Line:
    """One do-not-call register and the controllers that must ask it."""

    api: Api
    register: str
    controllers: tuple[str, ...]

    @property
    def home(self) -> Installation:
        return self.api.installation

    @property
    def caller(self) -> str:
        return self.controllers[0]

    def snapshot(self, *listed: str | tuple[str, str], at: str, **more: Any) -> dict[str, Any]:
        """A full snapshot whose numbers, some with the instant of their registration, are in the event."""
        numbers = [
            {"value": one} if isinstance(one, str) else {"value": one[0], "registered_at": one[1]} for one in listed
        ]
        return event(
            "preference-register-imported", source="dncm-feed", time=at, register=self.register, numbers=numbers, **more
        )

    async def imported(self, *listed: str | tuple[str, str], at: str) -> None:
        await self.api.recorded(self.snapshot(*listed, at=at))

    def consented(self, value: str, *, at: str, **more: Any) -> dict[str, Any]:
        plain = {
            "controllers": [self.caller], "source": f"web:{self.caller}", "purposes": ["telesales"],
            "channels": ["phone"], "time": at,
        }  # fmt: skip
        return given(phone(value), **plain | more)

    def served(self, value: str, *, at: str) -> dict[str, Any]:
        """A customer whose number is on record, which neither allows nor forbids anything."""
        return event(
            "relationship-started", controllers=[self.caller], source=f"web:{self.caller}", subject=[phone(value)],
            time=at,
        )  # fmt: skip

    async def decide(self, value: str, *, purpose: str = "calls", **more: Any) -> dict[str, Any]:
        asked = {"controller": self.caller, "subject": [phone(value)], "purpose": purpose, "channel": "phone"}
        (answer,) = await self.api.decide(asked | more)
        return answer

    async def reason(self, value: str, *, purpose: str = "calls", **more: Any) -> str:
        reason: str = (await self.decide(value, purpose=purpose, **more))["reason"]
        return reason

    # -- the topic

    async def hash_of(self, value: str, controller: str | None = None) -> bytes:
        connection = await connect(self.home.settings.dsn, "consent_operator")
        try:
            found = await keys.controller_keys(connection, self.home.keks)
        finally:
            await connection.close()
        return address_hash(found[controller or self.caller].key, "phone", value)

    async def on_topic(self, value: str) -> dict[str, Any] | None:
        """The last record of a number, and with it the date of the register on the same partition."""
        key = suppression_key(self.caller, "phone", await self.hash_of(value))
        records = await self._read(partition_of(key, self.home.settings.partitions))
        found = [msgspec.json.decode(record.value) for record in records if record.key == key]
        return found[-1] if found else None

    async def dates(self, q: int = 0) -> list[dict[str, Any]]:
        """All that a partition says of the age of the register, in order."""
        key = call_register_key(self.register)
        return [msgspec.json.decode(record.value) for record in await self._read(q) if record.key == key]

    async def published(self) -> None:
        """Wait until what is recorded is in the view, and the view on the topic."""
        await until(self._nothing_unsent)

    async def _nothing_unsent(self) -> bool:
        behind = await self.home.fetch(
            "SELECT FROM shard_head h, view_head v WHERE v.applied[h.shard + 1] < h.next_pos"
        )
        news = await self.home.fetch("SELECT FROM dnc_snapshot WHERE state = 'active' AND NOT announced")
        unsent = await self.home.fetch("SELECT FROM outbox o JOIN relay_head h USING (q) WHERE o.seq > h.cursor")
        return not behind and not news and not unsent

    async def _read(self, q: int) -> list[Any]:
        partition = TopicPartition(f"{self.home.settings.topic_prefix}suppressions", q)
        found: list[Any] = []
        async with AIOKafkaConsumer(**self.home.settings.kafka(), enable_auto_commit=False) as consumer:
            consumer.assign([partition])
            consumer.seek(partition, 0)
            end = (await consumer.end_offsets([partition]))[partition]
            while await consumer.position(partition) < end:
                found += (await consumer.getmany(partition, timeout_ms=100)).get(partition, [])
        return found


async def new_line(api: Api, *, controllers: int = 1) -> Line:
    """Load a register of new controllers, and a do-not-call register that only they ask."""
    name = f"dnc-{uuid.uuid4().hex[:8]}"
    line = Line(api, name, tuple(f"caller-{uuid.uuid4().hex[:8]}" for _ in range(controllers)))
    await load(line, document(line.register, line.controllers))
    return line


async def load(line: Line, register: dict[str, Any]) -> None:
    place = await line.home.load_register(register)
    await line.home.recorded(place)


def document(register: str, controllers: Iterable[str], max_age: str = "P7D") -> dict[str, Any]:
    purposes: list[dict[str, Any]] = [
        {"id": "calls", "basis": "legitimate-interest", "direct_marketing": True, "dnc": [register]},
        {"id": "telesales", "basis": "consent", "direct_marketing": True, "dnc": [register]},
        {"id": "service", "basis": "contract"},
        {"id": "club", "basis": "consent", "direct_marketing": True, "dnc": [register], "inactivity_ttl": "P30D"},
        {"id": "ask", "basis": "legitimate-interest", "direct_marketing": True, "repermission_for": "club"},
    ]
    names = list(controllers)
    return {
        "controllers": {name: {"name": name, "country": "BE"} for name in names},
        "purposes": [{"controller": name, "channels": ["phone"], **one} for name in names for one in purposes],
        "sources": {f"web:{name}": {"controllers": [name]} for name in names},
        "dnc_registers": {register: {"max_age": max_age}},
    }


@asynccontextmanager
async def clock_at(api: Api, instant: datetime) -> AsyncIterator[None]:
    """Let the API and the viewer believe that it is another time."""
    api.clock.instant = api.installation.clock.instant = instant
    try:
        yield
    finally:
        api.clock.instant = api.installation.clock.instant = None
