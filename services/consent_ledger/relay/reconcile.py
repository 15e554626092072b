"""Compares the suppressions topic with the view, and asks for what differs to be sent again.

It never sends anything itself: only the owner of a partition does, or versions could fall.
"""

import asyncio
import logging
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Annotated, Final

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from consent_ledger.domain.suppression import WATERMARK_KEY
from consent_ledger.relay.lane import SUPPRESSIONS
from consent_ledger.relay.records import Records
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import reconcile as store

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.05
_PAGE_MS: Final = 500
_PAGE_RECORDS: Final = 2000
DIGEST_BYTES: Final = 16


class BehindError(Exception):
    """The relay has not published what the view held when the comparison began; perhaps none is running."""


class _Versioned(msgspec.Struct):
    version: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


_decode = msgspec.json.Decoder(_Versioned).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How the topic differs from the view.

    `checked` rows of the view were compared and `moving` ones were not, because they changed meanwhile. `missing` ones
    have no record and `stale` ones another than they should; both are asked for again. `unexpected` keys have a record
    but no row, and `falling` records a lower version than an earlier one of their key: a person must look at these.
    """

    checked: int = 0
    moving: int = 0
    missing: int = 0
    stale: int = 0
    unexpected: int = 0
    falling: int = 0

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return not (self.missing or self.stale or self.unexpected or self.falling)

    def __add__(self, other: "Report") -> "Report":
        return Report(**{item.name: getattr(self, item.name) + getattr(other, item.name) for item in fields(self)})


async def reconcile(settings: Settings, keks: KeyEncryptionKeys, *, patience_seconds: float = 30.0) -> Report:
    """Compare partition by partition, holding about 200 bytes for each key of one partition.

    Raises `BehindError` when the relay does not catch up with the view in time.
    """
    records = Records(keks)
    report = Report()
    consumer = AIOKafkaConsumer(**settings.kafka(), enable_auto_commit=False, auto_offset_reset="none")
    try:
        await consumer.start()
        connection = await connect(settings.dsn, "consent_operator")
        try:
            for q in range(settings.partitions):
                partition = TopicPartition(f"{settings.topic_prefix}{SUPPRESSIONS}", q)
                found = await _reconcile(consumer, connection, records, partition, patience_seconds)
                log.info("partition compared", extra={"partition": q, "agrees": found.agrees})
                report += found
        finally:
            connection.terminate()
    finally:
        await consumer.stop()
    return report


async def _reconcile(
    consumer: AIOKafkaConsumer, connection: Connection, records: Records, partition: TopicPartition, patience: float
) -> Report:
    q = partition.partition
    # Up to this version everything will be on the topic when it is read; a row with a later one has changed since.
    head = await store.head(connection)
    await wait_until_published(connection, q, head, patience)
    log_ = await read(consumer, partition)
    checked = moving = missing = 0
    differing: list[bytes] = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        async for page in store.rows(connection, q):
            for row, (key, value) in zip(page, await records.make(connection, page), strict=True):
                last = log_.last.pop(digest(key), None)
                if row.seq > head:
                    moving += 1
                    continue
                checked += 1
                missing += last is None
                if last is None or last[:DIGEST_BYTES] != digest(value):
                    differing.append(row.hash)
    if differing:
        await store.request(connection, q, differing)
    return Report(
        checked=checked, moving=moving, missing=missing, stale=len(differing) - missing, unexpected=len(log_.last),
        falling=log_.falling,
    )  # fmt: skip


async def wait_until_published(connection: Connection, q: int, seq: int, patience: float) -> None:
    """Wait until everything up to a version is on the partition. Raises `BehindError`."""
    try:
        async with asyncio.timeout(patience):
            while not await store.is_published(connection, q, seq):
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise BehindError(f"partition {q} lacks versions up to {seq}") from None


@dataclass(slots=True)
class Log:
    """What a partition holds: by the digest of each key, the digest of its last value and its highest version."""

    last: dict[bytes, bytes]
    falling: int = 0
    highest: int = 0

    def take(self, record: ConsumerRecord) -> None:
        """Count one record in."""
        if record.key == WATERMARK_KEY:
            return
        key = digest(record.key or b"")
        version = _version(record.value)
        before = self.last.get(key)
        highest = int.from_bytes(before[DIGEST_BYTES:], "big") if before else 0
        self.falling += version < highest
        self.highest = max(self.highest, version)
        self.last[key] = digest(record.value or b"") + max(version, highest).to_bytes(8, "big")


async def read(consumer: AIOKafkaConsumer, partition: TopicPartition) -> Log:
    """Read a partition from its beginning to where it ends now, also what no transaction has committed."""
    log_ = Log({})
    consumer.assign([partition])
    end = (await consumer.end_offsets([partition]))[partition]
    consumer.seek(partition, (await consumer.beginning_offsets([partition]))[partition])
    while await consumer.position(partition) < end:
        pages = await consumer.getmany(partition, timeout_ms=_PAGE_MS, max_records=_PAGE_RECORDS)
        for record in pages.get(partition, ()):
            if record.offset < end:
                log_.take(record)
    return log_


def _version(value: bytes | None) -> int:
    """Return the version that a record states, 0 when it states none that this service can have written."""
    try:
        return _decode(value or b"").version
    except msgspec.MsgspecError:
        return 0


def digest(data: bytes) -> bytes:
    """Digest of a key or a value, by which it is known again."""
    return blake2b(data, digest_size=DIGEST_BYTES).digest()
