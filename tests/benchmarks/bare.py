"""The bare loop: consume, decode, COPY with the offset, produce. Nothing that reads Kafka and answers does less."""

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import EVENTS
from consent_ledger.runtime.telemetry import run

OUTPUT: Final = "scratch"
"""The topic of the results, after the prefix."""
HEAD: Final = "bare.head"
SCHEMA: Final = """
CREATE SCHEMA bare;
CREATE TABLE bare.event (
    shard int, pos bigint, event_id uuid NOT NULL, type text NOT NULL, occurred_at timestamptz NOT NULL,
    body bytea NOT NULL, PRIMARY KEY (shard, pos)
);
CREATE TABLE bare.head (shard int PRIMARY KEY, next_offset bigint NOT NULL);
"""
_BATCH_MAX: Final = 500
_LONG_POLL_MS: Final = 200
_UNDER_WAY_MAX: Final = 5_000


class _Identifier(msgspec.Struct, frozen=True):
    type: str
    value: str


class _Data(msgspec.Struct, frozen=True):
    controllers: list[str]
    subject: list[_Identifier]
    purposes: list[str] | None = None
    channels: list[str] | None = None


class _Event(msgspec.Struct, frozen=True):
    id: UUID
    type: str
    source: str
    time: datetime
    data: _Data


_decode: Final = msgspec.json.Decoder(_Event).decode


def key_of(controller: str, type: str, value: str) -> bytes:
    """Make the key of a result: the bare loop hides nothing."""
    return f"{controller}/{type}/{value}".encode()


async def loop(settings: Settings) -> None:
    """Consume until cancelled, from the place that the database holds."""
    connection = await asyncpg.connect(settings.dsn)
    events, output = f"{settings.topic_prefix}{EVENTS}", f"{settings.topic_prefix}{OUTPUT}"
    consumer = AIOKafkaConsumer(**settings.kafka(), enable_auto_commit=False, auto_offset_reset="none")
    producer = AIOKafkaProducer(**settings.kafka(), enable_idempotence=True)
    under_way: deque[Any] = deque()
    try:
        places = await _places(connection, settings.partitions)
        consumer.assign([TopicPartition(events, shard) for shard in places])
        await consumer.start()
        await producer.start()
        for shard, offset in places.items():
            consumer.seek(TopicPartition(events, shard), offset)
        while True:
            found = await consumer.getmany(timeout_ms=_LONG_POLL_MS, max_records=_BATCH_MAX)
            if found:
                for key, value in await _record(connection, [record for some in found.values() for record in some]):
                    under_way.append(await producer.send(output, value, key))
            while len(under_way) > _UNDER_WAY_MAX:
                await under_way.popleft()
    finally:
        await consumer.stop()
        await producer.stop()
        await connection.close()


async def _places(connection: Connection, partitions: int) -> dict[int, int]:
    start = "INSERT INTO bare.head SELECT shard, 0 FROM generate_series(0, $1::int - 1) shard ON CONFLICT DO NOTHING"
    await connection.execute(start, partitions)
    return {row["shard"]: row["next_offset"] for row in await connection.fetch("SELECT * FROM bare.head")}


async def _record(connection: Connection, records: Sequence[ConsumerRecord]) -> list[tuple[bytes, bytes]]:
    """Commit a batch with its offsets and return keys and values of the results."""
    rows, results, ends = [], [], {}
    for record in records:
        event = _decode(record.value)
        rows.append((record.partition, record.offset, event.id, event.type, event.time, record.value))
        identifier = event.data.subject[0]
        results.append((key_of(event.data.controllers[0], identifier.type, identifier.value), record.value))
        ends[record.partition] = record.offset + 1
    move = """
        UPDATE bare.head h SET next_offset = n.next_offset
          FROM unnest($1::int[], $2::bigint[]) AS n (shard, next_offset) WHERE h.shard = n.shard
    """
    async with connection.transaction():
        await connection.copy_records_to_table("event", records=rows, schema_name="bare")
        await connection.execute(move, list(ends), list(ends.values()))
    return results


if __name__ == "__main__":
    run(loop(Settings()))
