"""Somebody who follows the suppressions topic: what the contract tells such a reader, without any rule of law."""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from running import Installation

SUPPRESSIONS: Final = "suppressions"
_NOTHING: Final = datetime(1, 1, 1, tzinfo=UTC)
# Which channels the record of an identifier answers for.
_CHANNELS: Final[Mapping[str, frozenset[str]]] = {
    "email": frozenset({"email", "internal", "media"}),
    "phone": frozenset({"phone", "sms", "internal", "media"}),
    "postal": frozenset({"post", "internal", "media"}),
    "device": frozenset({"device", "internal"}),
    "customer_no": frozenset({"internal", "media"}),
    "account_id": frozenset({"internal", "media"}),
}
_LIMIT: Final = timedelta(seconds=60)


class Told(NamedTuple):
    """What a reader makes of the topic. `reason` None: the reader's own no, for which the topic has no word."""

    allow: bool
    reason: str | None = None


NO: Final = Told(allow=False)


def hashed(key: bytes, kind: str, value: str) -> str:
    """Hash an address in its one form as the contract says."""
    return hmac.new(key, f"{kind}|{value}".encode(), "sha256").hexdigest()


class Reader:
    """Keeps the newest record of every key, and the watermark of every partition."""

    def __init__(self, partitions: int, keys: Mapping[str, bytes]) -> None:
        self.keys = keys
        self.records: dict[str, dict[str, Any]] = {}
        self.history: dict[str, list[dict[str, Any]]] = {}
        self._dates: dict[str, dict[int, dict[str, Any]]] = {}
        self._watermarks = dict.fromkeys(range(partitions), _NOTHING)

    def take(self, partition: int, key: str, value: bytes | None) -> None:
        """Take in one record."""
        assert value is not None, "the topic carries no tombstones"
        said = json.loads(value)
        if key == "!watermark":
            self._watermarks[partition] = datetime.fromisoformat(said["instant"])
            return
        if key.startswith("!dnc/"):
            self._dates.setdefault(key, {})[partition] = said
            return
        known = self.records.get(key)
        if known is None or said["version"] > known["version"]:
            self.records[key] = said
            self.history.setdefault(key, []).append(said)

    @property
    def watermark(self) -> datetime:
        """Everything that Kafka held at this instant has been read."""
        return min(self._watermarks.values())

    def key(self, controller: str, kind: str, value: str) -> str:
        """Name the record of an address in its one form."""
        return f"{controller}/{kind}/{hashed(self.keys.get(controller, b''), kind, value)}"

    def version(self, controller: str, kind: str, value: str) -> int:
        """Say which version of an address's record was read last; 0: none."""
        return int(self.records.get(self.key(controller, kind, value), {"version": 0})["version"])

    def answer(self, now: datetime, controller: str, kind: str, value: str, purpose: str, channel: str) -> Told:
        """Decide as README, "Following the topic", says."""
        common = self.records.get(f"!purposes/{controller}")
        if self.watermark < now - _LIMIT or common is None or channel not in _CHANNELS[kind]:
            return NO
        if hmac.new(self.keys[controller], b"check", "sha256").hexdigest() != common["check"]:
            return NO
        record = self.records.get(self.key(controller, kind, value), common)
        said = record["decisions"].get(purpose, {}).get(channel)
        if said is None or record["register"] < common["needs"].get(purpose, 0):
            return NO
        if said["allow"] and "valid_until" in said and datetime.fromisoformat(said["valid_until"]) <= now:
            return NO
        if said["allow"] and "needs_dnc" in said and not self._is_fresh(said["needs_dnc"], now):
            return Told(allow=False, reason="DNC_STALE")
        return Told(said["allow"], said["reason"])

    def _is_fresh(self, register: str, now: datetime) -> bool:
        """Tell whether a do-not-call register may be used, on whichever partition an address is."""
        dates = self._dates.get(f"!dnc/{register}", {})
        return len(dates) == len(self._watermarks) and all(
            now < datetime.fromisoformat(one["valid_until"]) for one in dates.values()
        )


@asynccontextmanager
async def following(home: Installation, keys: Mapping[str, bytes]) -> AsyncIterator[Reader]:
    """Follow the topic from its first record for as long as the block lasts."""
    reader = Reader(home.settings.partitions, keys)
    topic = f"{home.settings.topic_prefix}{SUPPRESSIONS}"
    consumer = AIOKafkaConsumer(**home.settings.kafka(), auto_offset_reset="earliest", enable_auto_commit=False)
    consumer.assign([TopicPartition(topic, partition) for partition in range(home.settings.partitions)])
    await consumer.start()

    async def follow() -> None:
        async for record in consumer:
            reader.take(record.partition, record.key.decode(), record.value)

    task = asyncio.create_task(follow())
    try:
        yield reader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await consumer.stop()
