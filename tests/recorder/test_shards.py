"""Shard 0 is the control topic, and shard n the partition n - 1 of the events topic.

Seen to fail: shards counted from 0 for events; the last of a range left out; numbers beyond the last shard let
through.
"""

import pytest
from aiokafka import TopicPartition

from consent_ledger.runtime.shards import parse_shards, partition_of_shard


def test_a_shard_is_a_partition() -> None:
    assert partition_of_shard("consent.", 0) == TopicPartition("consent.control", 0)
    assert partition_of_shard("consent.", 1) == TopicPartition("consent.events", 0)
    assert partition_of_shard("consent.", 8) == TopicPartition("consent.events", 7)


@pytest.mark.parametrize(
    ("text", "shards"),
    [
        ("all", [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (" all ", [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("0", [0]),
        ("8", [8]),
        ("0,1,4-8", [0, 1, 4, 5, 6, 7, 8]),
        ("3, 1 - 2, 2", [1, 2, 3]),
    ],
)
def test_shards_are_named_by_numbers_and_ranges(text: str, shards: list[int]) -> None:
    assert parse_shards(text, 8) == shards


@pytest.mark.parametrize("text", ["", "9", "0-9", "-1", "two", "5-3", "1,,2", "1-2-3", "1,5-3", "7-9", "all,1"])
def test_what_names_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="shards are numbered 0 to 8"):
        parse_shards(text, 8)
