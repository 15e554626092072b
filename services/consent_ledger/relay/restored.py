"""Brings topic and view together after the database was set back to an earlier instant, when the topic is ahead of it.

Readers keep the highest version of a key. So first of all the view's versions are raised above those of the topic, or
what is refused from now on would not reach them. What then still differs, once everything that Kafka holds is in the
view again, comes of entries that were lost: it is published anew only where that allows nothing that the topic refuses.
"""

from dataclasses import dataclass, field
from typing import Annotated, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from consent_ledger.relay.lane import SUPPRESSIONS
from consent_ledger.relay.reconcile import DIGEST_BYTES, digest, read, wait_until_published
from consent_ledger.relay.records import Records
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import reconcile as store

_AT_ONCE_MS: Final = 500


class _Decided(msgspec.Struct):
    decisions: dict[str, dict[str, dict[str, object]]] = {}
    version: Annotated[int, msgspec.Meta(ge=0)] = 0


_decode = msgspec.json.Decoder(_Decided).decode


@dataclass(kw_only=True)
class Comparison:
    """What differs between topic and view. Keys of the topic hold keyed hashes, and nothing that names a person.

    `lifted` rows are published anew. `withheld` keys are not: the view allows what the topic refuses. `unexpected` ones
    have a record and no row. `erased`: those of either by which the topic says that a person was erased, and the ledger
    does not: to be executed again.
    """

    lifted: int = 0
    withheld: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    erased: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether nothing is left for a person to look at."""
        return not (self.withheld or self.unexpected)


async def raise_versions(settings: Settings) -> tuple[int, int]:
    """Raise the view's versions above those of the topic; return the highest version of the topic and of the view then.

    Needs no service to run, and none to stand still.
    """
    highest = await highest_version(settings)
    connection = await connect(settings.dsn, "consent_viewer")
    try:
        return highest, await store.raise_to(connection, highest)
    finally:
        await connection.close()


async def highest_version(settings: Settings) -> int:
    """Return the highest version that stands on the topic."""
    highest = 0
    async with AIOKafkaConsumer(**settings.kafka(), enable_auto_commit=False, auto_offset_reset="none") as consumer:
        for partition in _partitions(settings):
            highest = max(highest, (await read(consumer, partition)).highest)
    return highest


async def compare(
    settings: Settings, keks: KeyEncryptionKeys, *, patience_seconds: float = 30.0, lift: bool = True
) -> Comparison:
    """Compare once everything is in the view and published; with `lift` publish anew what may be.

    Raises `BehindError` when the relay does not catch up with the view in time.
    """
    records, found = Records(keks), Comparison()
    async with AIOKafkaConsumer(**settings.kafka(), enable_auto_commit=False, auto_offset_reset="none") as consumer:
        connection = await connect(settings.dsn, "consent_operator")
        writer = await connect(settings.dsn, "consent_viewer")
        try:
            for partition in _partitions(settings):
                q = partition.partition
                head = await store.head(connection)
                await wait_until_published(connection, q, head, patience_seconds)
                there = await read(consumer, partition)
                differing: dict[bytes, tuple[bytes, bytes]] = {}
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    async for page in store.rows(connection, q):
                        for row, (key, value) in zip(page, await records.make(connection, page), strict=True):
                            last = there.last.pop(digest(key), b"")
                            if row.seq <= head and last[:DIGEST_BYTES] != digest(value):
                                differing[digest(key)] = row.hash, value
                said = await _values(consumer, partition, differing.keys() | there.last.keys())
                may = _sort(found, differing, said)
                if lift and may:
                    await store.lift(writer, may)
        finally:
            connection.terminate()
            writer.terminate()
    return found


def _sort(
    found: Comparison, differing: dict[bytes, tuple[bytes, bytes]], said: dict[bytes, tuple[bytes, bytes]]
) -> list[bytes]:
    """Note what differs, and return the hashes of the rows that may be published anew."""
    may = []
    for one, (hash_, ours) in differing.items():
        key, theirs = said.get(one, (b"", b"{}"))
        if key and (_allowed(ours) - _allowed(theirs)):
            found.withheld.append(key.decode())
        else:
            may.append(hash_)
            found.lifted += 1
        if key and _erased(theirs) and not _erased(ours):
            found.erased.append(key.decode())
    for one in said.keys() - differing.keys():
        key, theirs = said[one]
        found.unexpected.append(key.decode())
        if _erased(theirs):
            found.erased.append(key.decode())
    return may


def _allowed(value: bytes) -> set[tuple[str, str]]:
    decisions = _decode(value).decisions
    return {(what, how) for what, by in decisions.items() for how, answer in by.items() if answer.get("allow")}


def _erased(value: bytes) -> bool:
    decisions = _decode(value).decisions
    return any(answer.get("reason") == "ERASED" for by in decisions.values() for answer in by.values())


async def _values(
    consumer: AIOKafkaConsumer, partition: TopicPartition, wanted: set[bytes]
) -> dict[bytes, tuple[bytes, bytes]]:
    """Read the partition once more, for key and last value of those that differ."""
    found: dict[bytes, tuple[bytes, bytes]] = {}
    if not wanted:
        return found
    consumer.assign([partition])
    end = (await consumer.end_offsets([partition]))[partition]
    consumer.seek(partition, (await consumer.beginning_offsets([partition]))[partition])
    while await consumer.position(partition) < end:
        for record in (await consumer.getmany(partition, timeout_ms=_AT_ONCE_MS)).get(partition, ()):
            one = digest(record.key or b"")
            if one in wanted and record.value is not None:
                found[one] = record.key, record.value
    return found


def _partitions(settings: Settings) -> list[TopicPartition]:
    return [TopicPartition(f"{settings.topic_prefix}{SUPPRESSIONS}", q) for q in range(settings.partitions)]
