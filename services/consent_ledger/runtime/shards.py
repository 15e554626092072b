"""Which Kafka partition is which shard of the ledger, and how a setting names some of them."""

import re

from aiokafka import TopicPartition

CONTROL = "control"
EVENTS = "events"
CONTROL_SHARD = 0

_RANGE = re.compile(r"([0-9]{1,4})(?:\s*-\s*([0-9]{1,4}))?")


def partition_of_shard(prefix: str, shard: int) -> TopicPartition:
    """Shard 0 is the control topic; shard n is partition n - 1 of the events topic."""
    return (
        TopicPartition(f"{prefix}{CONTROL}", 0)
        if shard == CONTROL_SHARD
        else TopicPartition(f"{prefix}{EVENTS}", shard - 1)
    )


def parse_shards(text: str, partitions: int) -> list[int]:
    """Read the setting `shards`: `all`, or numbers and ranges such as `0,1,4-8`. Raises `ValueError`."""
    everything = range(partitions + 1)
    if text.strip() == "all":
        return list(everything)
    chosen: set[int] = set()
    for part in text.split(","):
        named = _RANGE.fullmatch(part.strip())
        numbers = range(int(named[1]), int(named[2] or named[1]) + 1) if named else range(0)
        if not numbers or numbers[-1] not in everything:
            raise ValueError(f"shards are numbered 0 to {partitions}, not {text!r}")
        chosen.update(numbers)
    return sorted(chosen)
