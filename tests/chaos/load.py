"""Publishes events of all sorts, and remembers of each what Kafka acknowledged: the place it was given."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from chaos.arena import Installation, until
from chaos.check import Form, Place, Sent

CONTROLLER = "north"
REGISTER: dict[str, Any] = {
    "controllers": {CONTROLLER: {"name": "North NV", "group": None, "country": "BE"}},
    "purposes": [
        {
            "controller": CONTROLLER,
            "id": "newsletter",
            "basis": "consent",
            "channels": ["email"],
            "direct_marketing": True,
            "description": "monthly letter on new products",
        }
    ],
    "sources": {"web:north": {"controllers": [CONTROLLER]}},
}
_PERSONS = 200
_PUBLISHERS = 3
_PAUSE_SECONDS = 0.01
_TRANSACTION_EVERY = 150


def event(type: str, data: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    """Make a CloudEvent that happens now."""
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "web:north",
        "type": type,
        "time": datetime.now(UTC).isoformat(),
        "data": data,
        **attributes,
    }


def consent(address: str, **attributes: Any) -> dict[str, Any]:
    """Make a consent that counts."""
    data = {
        "controllers": [CONTROLLER],
        "subject": [{"type": "email", "value": address}],
        "purposes": ["newsletter"],
        "channels": ["email"],
        "origin": "data-subject",
        "mechanism": "toggle",
        "evidence": {"text_id": "letter", "text_version": 1, "ref": "form"},
    }
    return event("consent-given", data, **attributes)


def withdrawal(address: str, **attributes: Any) -> dict[str, Any]:
    """Make a withdrawal."""
    data = {"controllers": [CONTROLLER], "subject": [{"type": "email", "value": address}], "purposes": ["newsletter"]}
    return event("consent-withdrawn", data, **attributes)


class Publisher:
    """Writes to one installation's topics."""

    def __init__(
        self,
        installation: Installation,
        producer: AIOKafkaProducer,
        committed: AIOKafkaConsumer,
        everything: AIOKafkaConsumer,
    ) -> None:
        self.sent: dict[Place, Sent] = {}
        self._installation = installation
        self._producer = producer
        self._committed, self._everything = committed, everything

    @classmethod
    @asynccontextmanager
    async def open(cls, installation: Installation) -> AsyncIterator[Self]:
        """Connect, for as long as the block lasts."""
        producer = AIOKafkaProducer(bootstrap_servers=installation.kafka, enable_idempotence=True)
        consumers = [
            AIOKafkaConsumer(bootstrap_servers=installation.kafka, isolation_level=level)
            for level in ("read_committed", "read_uncommitted")
        ]
        async with producer, consumers[0], consumers[1]:
            yield cls(installation, producer, *consumers)

    async def send(
        self, said: dict[str, Any] | bytes, form: Form = Form.EVENT, partition: int = 0, topic: str = "events"
    ) -> Place:
        """Publish one record and remember it once Kafka has it."""
        value = said if isinstance(said, bytes) else json.dumps(said).encode()
        answer = await self._producer.send_and_wait(self._installation.prefix + topic, value, partition=partition)
        place = Place(answer.topic, answer.partition, answer.offset)
        self.sent[place] = Sent(form, value)
        return place

    async def load_register(self, document: dict[str, Any]) -> None:
        """Publish a register."""
        await self.send(event("register-loaded", {"document": document}, source="operator"), topic="control")

    async def transaction(self, said: list[dict[str, Any]], partition: int, *, aborted: bool) -> None:
        """Publish records in one transaction, which leaves a marker in the partition, and commit or abort it."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._installation.kafka, transactional_id=f"{self._installation.prefix}{uuid.uuid4()}"
        )
        await producer.start()
        try:
            await producer.begin_transaction()
            for one in said:
                value = json.dumps(one).encode()
                answer = await producer.send_and_wait(self._installation.prefix + "events", value, partition=partition)
                place = Place(answer.topic, answer.partition, answer.offset)
                self.sent[place] = Sent(Form.ABORTED if aborted else Form.EVENT, value)
            await (producer.abort_transaction() if aborted else producer.commit_transaction())
        finally:
            await producer.stop()

    async def ends(self) -> dict[TopicPartition, int] | None:
        """Return where all that Kafka holds now ends; None while a transaction has no mark.

        A commit is decided when Kafka answers it, and marked a little later: till then readers see neither.
        """
        prefix, numbers = self._installation.prefix, range(self._installation.partitions)
        partitions = [
            TopicPartition(f"{prefix}control", 0),
            *(TopicPartition(f"{prefix}events", number) for number in numbers),
        ]
        everything: dict[TopicPartition, int] = await self._everything.end_offsets(partitions)
        committed: dict[TopicPartition, int] = await self._committed.end_offsets(partitions)
        return committed if all(committed[at] >= end for at, end in everything.items()) else None

    async def until_recorded(self) -> None:
        """Wait until the ledger has passed all that Kafka holds now, the marks of transactions too."""
        ends = await until(self.ends, "every transaction has its mark")

        async def recorded() -> bool:
            rows = await self._installation.fetch("SELECT topic, partition, next_offset FROM consent.shard_head")
            reached = {TopicPartition(row["topic"], row["partition"]): row["next_offset"] for row in rows}
            return all(reached.get(at, 0) >= end for at, end in ends.items())

        await until(recorded, "everything that Kafka holds is recorded")


class _Load:
    """Publishes most of it ordinary, some of it twice, malformed, in conflict, or never committed."""

    def __init__(self, publisher: Publisher, partitions: int, random: Random) -> None:
        self._publisher = publisher
        self._partitions = partitions
        self._random = random
        self._ordinary: list[tuple[dict[str, Any], int]] = []
        self._count = 0

    async def run(self, stopped: asyncio.Event) -> None:
        while not stopped.is_set():
            self._count += 1
            await self._publish_one()
            await asyncio.sleep(self._random.expovariate(1 / _PAUSE_SECONDS))

    async def _publish_one(self) -> None:
        random, send = self._random, self._publisher.send
        partition = random.randrange(self._partitions)
        address = f"person{random.randrange(_PERSONS)}@example.be"
        fate = random.random()
        if self._count % _TRANSACTION_EVERY == 0:
            said = [consent(address), withdrawal(address)]
            await self._publisher.transaction(said, partition, aborted=random.random() < 0.5)
        elif fate < 0.12 and self._ordinary:
            await send(random.choice(self._ordinary)[0], partition=partition)
        elif fate < 0.15 and self._ordinary:
            # Behind the event whose id it takes, on the same partition, so that it is clear which of them came first.
            first, partition = random.choice(self._ordinary)
            await send(random.choice((consent, withdrawal))(address, id=first["id"]), Form.REUSED_ID, partition)
        elif fate < 0.18:
            await send(withdrawal(address, time="yesterday"), Form.MALFORMED_REFUSAL, partition)
        elif fate < 0.20:
            await send(consent(address, time="yesterday"), Form.MALFORMED, partition)
        elif fate < 0.22:
            await send(random.randbytes(40), Form.MALFORMED, partition)
        else:
            ordinary = random.choice((consent, consent, withdrawal))(address)
            await send(ordinary, partition=partition)
            self._ordinary.append((ordinary, partition))


@asynccontextmanager
async def load(publisher: Publisher, partitions: int, random: Random) -> AsyncIterator[None]:
    """Publish at random as long as the block lasts; at its end everything has been acknowledged."""
    running, stopped = _Load(publisher, partitions, random), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_PUBLISHERS):
            tasks.create_task(running.run(stopped))
        try:
            yield
        finally:
            stopped.set()
