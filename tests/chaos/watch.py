"""Looks on while everything is being killed: what the ledger holds, what HTTP answers, what the topic says."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from random import Random
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from chaos.arena import Installation
from chaos.gate import PURPOSES, Fact, Gate

PAIRS = [(controller, purpose) for controller, purposes in PURPOSES.items() for purpose in purposes]
_LOOK_SECONDS = 0.02
_RECENT = 40
_AT_ONCE = 4


class Ledger:
    """Follows the ledger, entry by entry, and notes in the facts that they are there."""

    def __init__(self, installation: Installation, gate: Gate) -> None:
        self.seen: list[Fact] = []
        self._installation = installation
        self._gate = gate
        self._places: Counter[int] = Counter()
        self._looking = asyncio.Lock()

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Read what has come since the last time."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        rows = await self._installation.fetch(
            """
            SELECT l.shard, l.event_id, l.recorded_at
              FROM unnest($1::int[], $2::bigint[]) AS place (shard, pos)
              JOIN consent.ledger l ON l.shard = place.shard AND l.pos >= place.pos
             ORDER BY l.shard, l.pos
            """,
            shards := list(range(self._installation.partitions + 1)),
            [self._places[shard] for shard in shards],
        )
        for row in rows:
            self._places[row["shard"]] += 1
            fact = self._gate.facts.get(row["event_id"])
            if fact is not None:
                fact.recorded_at, fact.seen = row["recorded_at"], len(self.seen)
                self.seen.append(fact)


class Asker:
    """Asks over HTTP, above all about those who have just refused: no yes may contradict what was recorded before."""

    def __init__(self, url: str, key: str, gate: Gate, ledger: Ledger, random: Random) -> None:
        self.errors: list[str] = []
        self.answers: Counter[str] = Counter()
        self._client = httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=5)
        self._gate = gate
        self._ledger = ledger
        self._random = random

    async def run(self) -> None:
        while True:
            if addresses := self._choose():
                await self.question(addresses)
            await asyncio.sleep(_LOOK_SECONDS)

    async def question(self, addresses: list[str]) -> bool:
        """Ask, and check the answers against what was recorded before; False while nobody answers."""
        known = len(self._ledger.seen)
        decisions = await self.ask(addresses)
        self._check(decisions or {}, known)
        return decisions is not None

    async def ask(self, addresses: list[str]) -> dict[tuple[str, str, str], bool] | None:
        """Return the answers by controller, purpose and address; None while nobody answers."""
        asked = [(controller, purpose, address) for controller, purpose in PAIRS for address in addresses]
        questions = [
            {
                "controller": controller,
                "subject": [{"type": "email", "value": address}],
                "purpose": purpose,
                "channel": "email",
            }
            for controller, purpose, address in asked
        ]
        try:
            answer = await self._client.post("/v1/decisions", json={"questions": questions})
        except httpx.TransportError:
            return None
        if answer.status_code != httpx.codes.OK:
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
            return None
        decisions = answer.json()["decisions"]
        self.answers.update(decision["reason"] for decision in decisions)
        return {one: decision["allow"] for one, decision in zip(asked, decisions, strict=True)}

    async def close(self) -> None:
        await self._client.aclose()

    def _choose(self) -> list[str]:
        recent = [fact for fact in self._ledger.seen[-_RECENT:] if fact.kind == "refusal"]
        chosen = [self._random.choice(fact.addresses) for fact in recent[-_AT_ONCE:]]
        return chosen + [self._random.choice(fact.addresses) for fact in self._ledger.seen[-1:]]

    def _check(self, decisions: Mapping[tuple[str, str, str], bool], known: int) -> None:
        def was_recorded(fact: Fact) -> bool:
            return fact.seen is not None and fact.seen < known

        for (controller, purpose, address), allow in decisions.items():
            if allow and not self._gate.allows(
                controller, purpose, address, refusals=was_recorded, consents=lambda _: True
            ):
                self.errors.append(f"HTTP: yes for {controller}/{purpose} after a recorded refusal ({known} seen)")


class Topic:
    """Reads the suppressions topic as a reader does that does not wait for commits."""

    def __init__(self, installation: Installation, gate: Gate, keys: Mapping[str, tuple[str, str]]) -> None:
        self.errors: list[str] = []
        self.last: dict[str, dict[str, Any]] = {}
        self.instants: dict[int, datetime] = {}
        self._installation = installation
        self._gate = gate
        self.keys = keys
        self._partition: dict[str, int] = {}

    async def run(self) -> None:
        topic = f"{self._installation.prefix}suppressions"
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._installation.kafka, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        consumer.assign([TopicPartition(topic, number) for number in range(self._installation.partitions)])
        await consumer.start()
        try:
            while True:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        self._take(record)
        finally:
            await consumer.stop()

    def _take(self, record: ConsumerRecord) -> None:
        key = record.key.decode()
        value = json.loads(record.value)
        if key == "!watermark":
            self._mark(record.partition, datetime.fromisoformat(value["instant"]))
            return
        before = self.last.get(key)
        if before is not None and value["version"] < before["version"]:
            self.errors.append(f"topic: a version falls from {before['version']} to {value['version']}")
        if self._partition.setdefault(key, record.partition) != record.partition:
            self.errors.append("topic: a key is on two partitions")
        self.last[key] = value

    def _mark(self, partition: int, instant: datetime) -> None:
        """From here on, what Kafka held at the instant is on the partition."""
        if instant < self.instants.get(partition, instant):
            self.errors.append(f"topic: the instant of partition {partition} falls")
        self.instants[partition] = instant

        def was_held(fact: Fact) -> bool:
            return fact.acknowledged_at is not None and fact.acknowledged_at < instant

        for key, where in self._partition.items():
            if where == partition and key in self.keys:
                controller, address = self.keys[key]
                self.errors += [
                    f"topic: yes for {controller}/{purpose} behind the watermark of a refusal"
                    for purpose in allowed(self.last[key])
                    if not self._gate.allows(controller, purpose, address, refusals=was_held, consents=lambda _: True)
                ]


def allowed(record: Mapping[str, Any]) -> set[str]:
    """Name the purposes that a record, or what a row of the view keeps, allows by e-mail."""
    decisions = record.get("decisions", record)
    return {purpose for purpose, channels in decisions.items() if channels.get("email", {}).get("allow")}
