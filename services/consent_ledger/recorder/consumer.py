"""A Kafka consumer that reads only what its recorder is ready for, and that no record can stop."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from consent_ledger.recorder.unreadable import read_leniently

_LONG_POLL_MS = 200


class ShardConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """Asks `before_poll` which partitions to read before each poll.

    The position of a consumer moves only here and in seeks of the same task, so when `before_poll` is called, all
    records handed out before have been dealt with.
    """

    def __init__(
        self, *topics: str, before_poll: Callable[["ShardConsumer"], Awaitable[list[TopicPartition]]], **options: Any
    ) -> None:
        super().__init__(*topics, **options)
        self._before_poll = before_poll
        # Where the records that were handed out end, by partition.
        self.handed_out: dict[TopicPartition, int] = {}
        # Partitions that no longer hold the offset that was to be read next.
        self.out_of_range: set[TopicPartition] = set()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go on reading at another offset."""
        self.handed_out.pop(partition, None)
        super().seek(partition, offset)

    async def getmany(
        self, *_partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """Return the next records of the partitions that are ready, none if there are none within the long poll."""
        ready = await self._before_poll(self)
        if not ready:
            await asyncio.sleep(_LONG_POLL_MS / 1000)
            return {}
        positions = {partition: await self.position(partition) for partition in ready}
        self.resume(*ready)
        try:
            records: dict[TopicPartition, list[ConsumerRecord]] = await super().getmany(
                *ready, timeout_ms=max(timeout_ms, _LONG_POLL_MS), max_records=max_records
            )
        except (KafkaError, UnicodeDecodeError) as error:
            # By then it has taken records of other partitions, which nobody will ever see, and moved their positions.
            for partition, position in positions.items():
                if partition in self.assignment():
                    super().seek(partition, position)
            if isinstance(error, OffsetOutOfRangeError):
                self.out_of_range.update(*error.args)
                return {}
            if isinstance(error, KafkaError):
                raise
            # A header key that is not UTF-8 makes aiokafka raise for ever, without saying for which partition.
            records = await self._get_leniently(positions)
        self.handed_out.update({partition: found[-1].offset + 1 for partition, found in records.items() if found})
        if records:
            # What would be fetched while these are dealt with comes first at the next poll, and alone: nothing more is
            # fetched until it is taken, so all that arrives behind it waits for one poll more.
            self.pause(*ready)
        return records

    async def _get_leniently(self, positions: dict[TopicPartition, int]) -> dict[TopicPartition, list[ConsumerRecord]]:
        pages = {partition: await read_leniently(self, partition, start) for partition, start in positions.items()}
        # Only now, because of a page that cannot be had nothing is handed out.
        pages = {partition: page for partition, page in pages.items() if partition in self.assignment()}
        for partition, (_, position) in pages.items():
            super().seek(partition, position)
        return {partition: records for partition, (records, _) in pages.items() if records}
