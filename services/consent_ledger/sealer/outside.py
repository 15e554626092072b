"""Where checkpoints are published outside the database: a compacted topic, and a directory if one is set.

What stands there is out of reach of who can change the database, so a log that was set back shows.
"""

import asyncio
import os
from pathlib import Path
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from consent_ledger.domain import checkpoint

_FILE: Final = "checkpoint"
_READ_SECONDS: Final = 30.0
_SEND_SECONDS: Final = 8.0
_AT_ONCE_MS: Final = 200


class Outside:
    """Publishes checkpoints, and tells which one was published last."""

    def __init__(self, kafka: dict[str, Any], topic: str, origin: str, directory: Path | None) -> None:
        self._kafka = kafka
        self._topic = topic
        self._key = origin.encode()
        self._directory = directory
        self._producer = AIOKafkaProducer(**kafka, enable_idempotence=True, acks="all")

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    async def publish(self, note: bytes) -> None:
        """Put a checkpoint in every place, each of them whole or not at all."""
        async with asyncio.timeout(_SEND_SECONDS):
            await self._producer.send_and_wait(self._topic, note, self._key, partition=0)
        if self._directory is not None:
            await asyncio.to_thread(_write, self._directory, note)

    async def published(self) -> list[bytes]:
        """Return the newest checkpoint of every place that has one.

        Raises aiokafka's `KafkaError` or `TimeoutError` when Kafka cannot be read: what is not known is not absent.
        """
        notes = await newest(self._kafka, self._topic, self._key)
        if self._directory is not None:
            notes += await asyncio.to_thread(in_directory, self._directory)
        return notes


async def newest(kafka: dict[str, Any], topic: str, key: bytes) -> list[bytes]:
    """Return the largest checkpoint under a key of the topic, in a list that is empty if there is none."""
    found: list[bytes] = []
    async with asyncio.timeout(_READ_SECONDS), AIOKafkaConsumer(**kafka, auto_offset_reset="earliest") as consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            for records in (await consumer.getmany(timeout_ms=_AT_ONCE_MS)).values():
                found += [record.value for record in records if record.key == key and record.value is not None]
    return [max(found, key=_size)] if found else []


def _size(note: bytes) -> int:
    try:
        return checkpoint.read(note).size
    except ValueError:
        # What cannot be read must not pass unseen.
        return 1 << 63


def in_directory(directory: Path) -> list[bytes]:
    """Return the checkpoint of a directory, in a list that is empty if there is none."""
    path = directory / _FILE
    return [path.read_bytes()] if path.exists() else []


def _write(directory: Path, note: bytes) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    fresh = directory / f".{_FILE}.new"
    with fresh.open("wb") as file:
        file.write(note)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(directory / _FILE)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
