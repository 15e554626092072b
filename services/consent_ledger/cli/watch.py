"""Watches the suppressions topic as a mail tool would, and says when an answer arrives."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.domain.suppression import suppression_key
from consent_ledger.runtime.settings import Settings
from consent_ledger.store.keys import ControllerKey


class Asked(NamedTuple):
    """An address and what it might be used for."""

    controller: str
    purpose: str
    channel: str
    type: str
    value: str


class _Answer(msgspec.Struct, frozen=True):
    allow: bool
    reason: str


class _Record(msgspec.Struct, frozen=True):
    version: int
    decisions: dict[str, dict[str, _Answer]]


_decode = msgspec.json.Decoder(_Record).decode


class Seen(NamedTuple):
    """An answer as it arrived; `at` by the machine's steady clock, in seconds."""

    allow: bool
    reason: str
    at: float


class Watcher:
    """Holds the newest record of each address that is asked about, and whoever waits for another."""

    def __init__(self, keys: dict[str, ControllerKey]) -> None:
        self._keys = keys
        self._records: dict[bytes, tuple[_Record, float]] = {}
        self._changed: dict[bytes, asyncio.Event] = {}
        self.records = 0
        self.fallen: Counter[bytes] = Counter()

    def take(self, key: bytes, value: bytes, now: float) -> None:
        """Take one record of an address."""
        record = _decode(value)
        before = self._records.get(key)
        self.records += 1
        if before is not None and record.version < before[0].version:
            self.fallen[key] += 1
            return
        self._records[key] = (record, now)
        if (changed := self._changed.get(key)) is not None:
            changed.set()

    def answer(self, asked: Asked) -> Seen | None:
        """Return what the topic says now; None where it has no record of the address."""
        held = self._records.get(self.key(asked))
        if held is None:
            return None
        answer = held[0].decisions.get(asked.purpose, {}).get(asked.channel)
        return None if answer is None else Seen(answer.allow, answer.reason, held[1])

    async def until(self, asked: Asked, *, allow: bool, timeout_seconds: float) -> Seen:
        """Return the answer once it is the wanted one. Raises `TimeoutError`."""
        changed = self._changed.setdefault(self.key(asked), asyncio.Event())
        async with asyncio.timeout(timeout_seconds):
            while (seen := self.answer(asked)) is None or seen.allow is not allow:
                changed.clear()
                await changed.wait()
        return seen

    def key(self, asked: Asked) -> bytes:
        """Return the key of an address on the topic."""
        hashed = address_hash(self._keys[asked.controller].key, asked.type, asked.value)
        return suppression_key(asked.controller, asked.type, hashed)


@asynccontextmanager
async def watching(settings: Settings, keys: dict[str, ControllerKey]) -> AsyncIterator[Watcher]:
    """Watch from the first record on; a broker that goes away and comes back is waited for."""
    watcher = Watcher(keys)
    consumer = AIOKafkaConsumer(**settings.kafka(), auto_offset_reset="earliest", enable_auto_commit=False)
    topic = f"{settings.topic_prefix}suppressions"
    consumer.assign([TopicPartition(topic, number) for number in range(settings.partitions)])
    await consumer.start()
    task = asyncio.create_task(_read(consumer, watcher))
    try:
        yield watcher
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await consumer.stop()


async def _read(consumer: AIOKafkaConsumer, watcher: Watcher) -> None:
    while True:
        try:
            batches: dict[Any, list[Any]] = await consumer.getmany(timeout_ms=1_000)
        except KafkaError:
            continue
        now = time.perf_counter()
        for record in (record for batch in batches.values() for record in batch):
            if record.value is not None and not record.key.startswith(b"!"):
                watcher.take(record.key, record.value, now)
