"""What stands of the log outside the database: checkpoints on a compacted topic, and all of it in a place that is set.

It is out of reach of who can change the database, so a log that was set back shows.
"""

import asyncio
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from consent_ledger.domain import checkpoint
from consent_ledger.runtime.logkey import LogKey
from consent_ledger.runtime.objects import Objects
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import log
from consent_ledger.store.log import Checkpoint

CHECKPOINT: Final = "checkpoint"
_READ_SECONDS: Final = 30.0
_SEND_SECONDS: Final = 8.0
_AT_ONCE_MS: Final = 200


class Topic:
    """Publishes checkpoints on the topic, under the log's origin as key."""

    def __init__(self, settings: Settings, origin: str) -> None:
        self._topic = topic_of(settings)
        self._key = origin.encode()
        self._producer = AIOKafkaProducer(**settings.kafka(), enable_idempotence=True, acks="all")

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    async def publish(self, note: bytes) -> None:
        """Send a checkpoint. Raises aiokafka's `KafkaError` or `TimeoutError`."""
        async with asyncio.timeout(_SEND_SECONDS):
            await self._producer.send_and_wait(self._topic, note, self._key, partition=0)


def topic_of(settings: Settings) -> str:
    """Name the topic of checkpoints."""
    return f"{settings.topic_prefix}checkpoints"


def folder_of(number: int) -> str:
    """Name the folder of a place in which an installation's log stands: the first has the place to itself."""
    return "" if number == 1 else f"{number}/"


async def published(settings: Settings, origin: str, number: int) -> list[bytes]:
    """Return the newest checkpoint of every place that has one of this log.

    Raises aiokafka's `KafkaError`, `TimeoutError` or `ObjectsError` when a place cannot be read: what is not known is
    not absent.
    """
    notes = await newest(settings.kafka(), topic_of(settings), origin.encode())
    if settings.log_directory is not None:
        notes += await asyncio.to_thread(in_place, settings.log_directory, number)
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


def in_place(place: str, number: int) -> list[bytes]:
    """Return the checkpoint that a place shows of a log, in a list that is empty if there is none. Blocks."""
    note = Objects(place).get(f"{folder_of(number)}{CHECKPOINT}")
    return [] if note is None else [note]


async def contradiction(connection: Connection, key: LogKey, note: bytes, last: Checkpoint | None) -> str | None:
    """Say why a published checkpoint is none that the database has made; None where it is one."""
    if not key.has_signed(note):
        return f"what is published is no checkpoint of {key.origin}"
    head = checkpoint.read(note)
    size = last.size if last else 0
    if head.size > size:
        return f"a checkpoint of {head.size} entries is published, and the database has one of {size}"
    ours = await log.at(connection, head.size)
    if ours is None or ours.root != head.root:
        return f"another root was published for {head.size} entries than the database has"
    return None
