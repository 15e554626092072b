"""A view, its topics and a topic reader for tests of the relay."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.domain.suppression import (
    PURPOSES,
    WATERMARK_KEY,
    Answer,
    purposes_hash,
    purposes_key,
    suppression_key,
)
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.topics import partition_of
from consent_ledger.store import view
from consent_ledger.store.view import Changes, Row
from running import until

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONTROLLER = "shop-be"
VERSION = 1
NOTHING_OF_ITS_OWN = b"{}"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A migrated database with a register, and topics of two partitions."""

    settings: Settings
    keks: KeyFile
    hash_key: bytes
    kid: str
    viewer: Connection
    relay: Connection
    superuser: Connection

    def hash_of(self, number: int) -> bytes:
        return address_hash(self.hash_key, "email", f"person-{number}@example.be")

    def key_of(self, number: int) -> bytes:
        return suppression_key(CONTROLLER, "email", self.hash_of(number))

    def numbers_on(self, q: int, count: int) -> list[int]:
        """Choose addresses whose records belong on a partition."""
        found: list[int] = []
        number = 0
        while len(found) < count:
            if partition_of(self.key_of(number), self.settings.partitions) == q:
                found.append(number)
            number += 1
        return found

    async def put(self, numbers: Iterable[int], *, own: bytes = NOTHING_OF_ITS_OWN, at: datetime = NOON) -> int:
        """Change the rows of addresses as the viewer does and return the newest version."""
        async with self.viewer.transaction():
            head = await view.open_head(self.viewer, 0)
            changes = Changes()
            for number in numbers:
                head.seq += 1
                key, hash_ = self.key_of(number), self.hash_of(number)
                q = partition_of(key, self.settings.partitions)
                changes.rows.append(Row(hash_, CONTROLLER, "email", q, head.seq, VERSION, 3, head.seq, at, own))
            await view.put(self.viewer, head, changes, timedelta(seconds=10))
        return head.seq

    async def put_purposes(self, needs: int) -> int:
        """Announce what holds for an address with nothing on record, and return which partition it belongs on."""
        q = partition_of(purposes_key(CONTROLLER), self.settings.partitions)
        async with self.viewer.transaction():
            head = await view.open_head(self.viewer, 0)
            head.seq += 1
            await view.put_needs(self.viewer, {(CONTROLLER, "newsletter")}, needs)
            row = Row(
                purposes_hash(CONTROLLER), CONTROLLER, PURPOSES, q, head.seq, VERSION, 0, 0, NOON, NOTHING_OF_ITS_OWN
            )
            await view.put(self.viewer, head, Changes(rows=[row]), timedelta(seconds=10))
        return q

    async def state_horizon(self, instant: datetime = NOON) -> None:
        """Move the horizon to an instant and to the newest version."""
        assert await view.move_horizon(self.viewer, instant, {})

    async def cursor(self, q: int) -> int:
        place: int = await self.superuser.fetchval("SELECT cursor FROM consent.relay_head WHERE q = $1", q)
        return place

    async def unsent(self, q: int) -> int:
        count: int = await self.superuser.fetchval("SELECT count(*) FROM consent.outbox WHERE q = $1", q)
        return count

    async def let_leases_pass(self) -> None:
        await self.superuser.execute("UPDATE consent.relay_head SET lease_until = '-infinity'")

    async def epoch(self, q: int) -> int:
        epoch: int = await self.superuser.fetchval("SELECT epoch FROM consent.relay_head WHERE q = $1", q)
        return epoch

    async def read(self, q: int, *, topic: str = "suppressions", committed: bool = False) -> list[ConsumerRecord]:
        """Return all records that a partition holds now; `committed`: without those of an open transaction."""
        partition = TopicPartition(f"{self.settings.topic_prefix}{topic}", q)
        found: list[ConsumerRecord] = []
        async with self._consumer(committed=committed) as consumer:
            consumer.assign([partition])
            consumer.seek(partition, 0)
            end = (await consumer.end_offsets([partition]))[partition]
            while await consumer.position(partition) < end:
                found += (await consumer.getmany(partition, timeout_ms=100)).get(partition, [])
        return found

    async def read_after_commit(self, q: int) -> list[ConsumerRecord]:
        """Return all committed records, once there are no others.

        A commit is decided when Kafka answers it; readers of committed records see it a little later.
        """
        partition = TopicPartition(f"{self.settings.topic_prefix}suppressions", q)
        async with self._consumer(committed=True) as consumer, self._consumer(committed=False) as eager:

            async def is_marked() -> bool:
                ends = [(await each.end_offsets([partition]))[partition] for each in (consumer, eager)]
                return bool(ends[0] == ends[1])

            await until(is_marked)
        return await self.read(q, committed=True)

    def _consumer(self, *, committed: bool) -> AIOKafkaConsumer:
        isolation = "read_committed" if committed else "read_uncommitted"
        return AIOKafkaConsumer(**self.settings.kafka(), enable_auto_commit=False, isolation_level=isolation)


def own(*, allow: bool, reason: str) -> bytes:
    """Encode what a row keeps when its answer on the newsletter by email is not the default."""
    return msgspec.json.encode({"newsletter": {"email": Answer(allow=allow, reason=reason, reasons=(reason,))}})


def addresses(records: Sequence[ConsumerRecord]) -> list[tuple[bytes, dict[str, Any]]]:
    """Return key and decoded value of all records but the watermarks."""
    return [(record.key, msgspec.json.decode(record.value)) for record in records if record.key != WATERMARK_KEY]


def versions(records: Sequence[ConsumerRecord], key: bytes) -> list[int]:
    return [value["version"] for found, value in addresses(records) if found == key]


def watermarks(records: Sequence[ConsumerRecord]) -> list[dict[str, Any]]:
    return [msgspec.json.decode(record.value) for record in records if record.key == WATERMARK_KEY]
