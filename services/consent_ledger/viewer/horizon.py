"""States up to which instant everything that Kafka held is in the view.

The order is what makes it true: first the instant, then the ends of all partitions, then the wait until the recorders
have passed them, then the positions they have reached, read once, then a snapshot in which the view has folded those.
A recorder or viewer that hangs stops the instant, and nothing else is needed to make every reader say no.
"""

import asyncio
import logging

from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import Gauge

from consent_ledger.runtime.clock import Clock
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import partition_of_shard
from consent_ledger.store import view

log = logging.getLogger(__name__)

HORIZON = Gauge("consent_horizon_timestamp_seconds", "Everything that Kafka held at this instant is in the view")

_EVERY_SECONDS = 0.25
_LOOK_SECONDS = 0.01
_RETRY_SECONDS = 1.0


class Horizon:
    """Moves the horizon, about four times a second."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._shards = {
            partition_of_shard(settings.topic_prefix, shard): shard for shard in range(settings.partitions + 1)
        }

    async def run(self) -> None:
        """Move the horizon until cancelled; while Kafka or Postgres is away it stands still."""
        while True:
            consumer = AIOKafkaConsumer(
                **self._settings.kafka(), isolation_level="read_committed", enable_auto_commit=False
            )
            connection: Connection | None = None
            try:
                consumer.assign(list(self._shards))
                await consumer.start()
                connection = await connect(self._settings.dsn, "consent_viewer", application_name="consent_horizon")
                while True:
                    await self._move(consumer, connection)
                    await asyncio.sleep(_EVERY_SECONDS)
            except Exception:
                log.exception("the horizon stands still")
                await asyncio.sleep(_RETRY_SECONDS)
            finally:
                await consumer.stop()
                if connection is not None:
                    connection.terminate()

    async def _move(self, consumer: AIOKafkaConsumer, connection: Connection) -> None:
        instant = self._clock.now(await view.database_now(connection))
        ends: dict[TopicPartition, int] = await consumer.end_offsets(list(self._shards))
        while True:
            recorded = await view.recorded(connection)
            if all(recorded.get(self._shards[at], (0, 0))[0] >= end for at, end in ends.items()):
                break
            await asyncio.sleep(_LOOK_SECONDS)
        # Read once: under load no snapshot ever shows the view level with the ledger.
        covering = {shard: next_pos for shard, (_, next_pos) in recorded.items()}
        while not await view.move_horizon(connection, instant, covering):
            await asyncio.sleep(_LOOK_SECONDS)
        HORIZON.set(instant.timestamp())
