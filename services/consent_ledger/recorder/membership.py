"""Which shards a recorder is to own: those of a setting, or those that Kafka's consumer group gives it.

The group decides only who tries. A shard is read once it is claimed in the database, at the database's place, and no
longer than Kafka leaves it here: in a rebalance a consumer hands out records from the group's own offset, before the
listener has finished, and those belong to nobody.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from faststream.kafka import TopicPartition as Assigned

from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import parse_shards, partition_of_shard

_SESSION_SECONDS: Final = (6.0, 30.0)
"""The shortest that brokers take by default (`group.min.session.timeout.ms`), and one that requests outlast."""
_BEAT_MS: Final = 1000
"""By a heartbeat a member learns that another has come."""


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]
    """Keeps `wanted`: partition → shard. `lost` hears of partitions the moment they are not this recorder's."""

    def __init__(self, settings: Settings, lost: Callable[[Iterable[TopicPartition]], None]) -> None:
        self._settings = settings
        self._lost = lost
        self._grouped = settings.assignment == "group"
        shards = parse_shards("all" if self._grouped else settings.shards, settings.partitions)
        self._shards = {partition_of_shard(settings.topic_prefix, shard): shard for shard in shards}
        self.wanted = {} if self._grouped else dict(self._shards)

    def subscription(self) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Give the topics to subscribe to, none for a static assignment, and what else FastStream has to be told."""
        if not self._grouped:
            return (), {"partitions": [Assigned(one.topic, one.partition) for one in self._shards]}
        shortest, longest = _SESSION_SECONDS
        session = int(min(max(shortest, self._settings.lease_seconds), longest) * 1000)
        return tuple({one.topic: None for one in self._shards}), {
            "group_id": f"{self._settings.topic_prefix}recorders", "listener": self, "session_timeout_ms": session,
            "heartbeat_interval_ms": _BEAT_MS,
        }  # fmt: skip

    @property
    def hurries(self) -> bool:
        """Whether a free shard is worth asking for all the time: nobody else will."""
        return self._grouped

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Let go of everything that may be somebody else's in a moment."""
        for partition in revoked:
            self.wanted.pop(partition, None)
        self._lost(revoked)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Note what to claim; nothing of it is read before."""
        self.wanted = {partition: self._shards[partition] for partition in assigned if partition in self._shards}
