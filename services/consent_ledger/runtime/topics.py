"""The topics with all their settings: made where missing, mended where different, checked before a service starts."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from struct import pack, unpack
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import InvalidPartitionsError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

ACKS = "acks"

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_MIB = 1_048_576
_REPLICAS_WANTED = 3
_VISIBLE_WITHIN_SECONDS = 30.0

# `config_source` of a setting that the topic has of its own, in the answer to DescribeConfigs.
_OF_THE_TOPIC = 1

# Kafka deletes by the records' timestamps, which publishers choose; by the time of appending, nothing that is dated in
# the past goes before it is read. A limit on bytes set for all topics of the broker must not delete either.
_EVERY = {
    "message.timestamp.type": "LogAppendTime",
    "retention.bytes": "-1",
    "unclean.leader.election.enable": "false",
    "max.message.bytes": str(_MIB),
}
_DELETE = {**_EVERY, "cleanup.policy": "delete"}
_CONFIGS = {
    # A segment goes once its newest record is too old: `segment.ms` is how long a record may outlive the retention.
    "events": {**_DELETE, "retention.ms": str(7 * _DAY_MS), "segment.ms": str(6 * _HOUR_MS)},
    "control": {**_DELETE, "retention.ms": "-1"},
    # Holds every message of the events topic whole, with reason and place beside it.
    "rejected": {
        **_DELETE,
        "retention.ms": str(30 * _DAY_MS),
        "segment.ms": str(_DAY_MS),
        "max.message.bytes": str(2 * _MIB),
    },
    # No tombstones are written here; `delete.retention.ms` only keeps the marks of the relay's commits, one a second.
    "suppressions": {
        **_EVERY,
        "cleanup.policy": "compact",
        "compression.type": "zstd",
        "segment.ms": str(_HOUR_MS),
        "min.cleanable.dirty.ratio": "0.2",
        "max.compaction.lag.ms": str(_DAY_MS),
        "delete.retention.ms": str(_DAY_MS),
    },
    # For who follows people; who comes late reads the suppressions.
    "changes": {
        **_DELETE,
        "compression.type": "zstd",
        "retention.ms": str(7 * _DAY_MS),
        "segment.ms": str(6 * _HOUR_MS),
    },
    # The last word of each copy of a consumer on each partition; it says one every second.
    ACKS: {
        **_EVERY,
        "cleanup.policy": "compact",
        "segment.ms": str(_HOUR_MS),
        "min.cleanable.dirty.ratio": "0.2",
        "delete.retention.ms": str(_DAY_MS),
    },
    # One key per log, whose newest checkpoint is what counts.
    "checkpoints": {**_EVERY, "cleanup.policy": "compact", "segment.ms": str(_HOUR_MS)},
}
_OF_ONE_PARTITION = frozenset({"control", ACKS, "checkpoints"})
# Where these differ, an event can be lost, an instant misjudged, or a record be looked for on the wrong partition.
_VITAL = frozenset({"partitions", "cleanup.policy", "message.timestamp.type", "retention.ms", "retention.bytes"})


def kept_for(topic: str) -> timedelta:
    """Tell after what time at most a record of a topic that deletes by age is gone."""
    config = _CONFIGS[topic]
    return timedelta(milliseconds=int(config["retention.ms"]) + int(config["segment.ms"]))


class PartitionsError(Exception):
    """A topic has a number of partitions that cannot be changed to the wanted one without losing or moving records."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Topic:
    """A topic as it should be; `grows` says that partitions may be added while it holds records."""

    name: str
    partitions: int
    config: Mapping[str, str]
    grows: bool

    def settings(self, replicas: int) -> dict[str, str]:
        """Say every setting for a topic kept in so many copies: one of them may be away, if there are several."""
        return {**self.config, "min.insync.replicas": str(min(2, replicas))}


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A setting of a topic that is not as it should be; a missing topic has `partitions` found None."""

    topic: str
    setting: str
    found: str | None
    wanted: str

    @property
    def vital(self) -> bool:
        """Whether a service must refuse to start on it."""
        return self.setting in _VITAL

    def __str__(self) -> str:
        return f"{self.topic}: {self.setting} is {self.found or 'missing'}, wanted {self.wanted}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """A topic as it is: `config` in force, and `own` the part of it that is set on the topic itself."""

    partitions: int
    replicas: int
    config: Mapping[str, str]
    own: Mapping[str, str]


def declared(prefix: str, partitions: int) -> list[Topic]:
    """List the topics as they should be.

    The record of an address is looked for on its key's partition, and `control` is one order: they never grow.
    """
    return [
        Topic(
            name=prefix + name,
            partitions=1 if name in _OF_ONE_PARTITION else partitions,
            config=config,
            grows=name in {"events", "rejected"},
        )
        for name, config in _CONFIGS.items()
    ]


def partition_of(key: bytes, partitions: int) -> int:
    """Find the partition of a key as Java's default partitioner does: positive murmur2, modulo the partitions."""
    return partitions_of([key], partitions)[0]


def partitions_of(keys: Sequence[bytes], partitions: int) -> list[int]:
    """Find the partitions of keys; for many of one length that takes a fraction of the time that each takes alone."""
    by_length: dict[int, list[int]] = {}
    for place, key in enumerate(keys):
        by_length.setdefault(len(key), []).append(place)
    found = [0] * len(keys)
    for length, places in by_length.items():
        for place, hashed in zip(places, _murmur2([keys[place] for place in places], length), strict=True):
            found[place] = (hashed & 0x7FFFFFFF) % partitions
    return found


def _murmur2(keys: Sequence[bytes], length: int) -> tuple[int, ...]:
    """Hash keys of one length, each in a lane of 64 bits: one multiplication of a long number serves all of them."""
    count, width, factor = len(keys), -(-length // 4), 0x5BD1E995
    padded = keys if length % 4 == 0 else [key.ljust(4 * width, b"\0") for key in keys]
    words = pack(f"<{width * count}Q", *unpack(f"<{width * count}I", b"".join(padded)))
    mixed = memoryview(_mixed(words, factor)).cast("Q")
    mask, state = _lanes(0xFFFFFFFF, count), _lanes(0x9747B28C ^ length, count)
    for number in range(length // 4):
        state = state * factor & mask ^ int.from_bytes(mixed[number::width].tobytes(), "little")
    if length % 4:
        tail = memoryview(words).cast("Q")[width - 1 :: width].tobytes()
        state = (state ^ int.from_bytes(tail, "little")) * factor & mask
    state = (state ^ state >> 13 & mask) * factor & mask
    return unpack(f"<{count}Q", (state ^ state >> 15 & mask).to_bytes(8 * count, "little"))


def _mixed(words: bytes, factor: int) -> bytes:
    """What each word is mixed to rests on the word alone."""
    mask = _lanes(0xFFFFFFFF, len(words) // 8)
    mixed = int.from_bytes(words, "little") * factor & mask
    return ((mixed ^ mixed >> 24 & mask) * factor & mask).to_bytes(len(words), "little")


def _lanes(value: int, count: int) -> int:
    return int.from_bytes(pack("<Q", value) * count, "little")


async def names(kafka: Mapping[str, Any]) -> set[str]:
    """Return the names of all topics that can be seen."""
    async with _admin(kafka) as admin:
        return set(await admin.list_topics())


async def check(kafka: Mapping[str, Any], *, prefix: str, partitions: int) -> list[Difference]:
    """Compare the topics with what they should be; `kafka` holds the arguments of any aiokafka client.

    Raises aiokafka's `KafkaError` when the brokers do not answer or do not let us look.
    """
    wanted = declared(prefix, partitions)
    async with _admin(kafka) as admin:
        return _compare(wanted, await _look(admin, wanted))


async def apply(kafka: Mapping[str, Any], *, prefix: str, partitions: int) -> list[Difference]:
    """Make what is missing, mend what differs, and return what was different.

    Settings that are not ours stay as they are. Returns once the brokers show the result. Raises `PartitionsError`,
    before anything is changed, for a number of partitions that cannot be mended, and `TimeoutError`.
    """
    wanted = declared(prefix, partitions)
    mended: list[Difference] = []
    async with _admin(kafka) as admin, asyncio.timeout(_VISIBLE_WITHIN_SECONDS):
        # Brokers learn of a change some milliseconds after the controller has confirmed it, so only a look that
        # shows no difference is the end; what is done twice on the way does no harm.
        while differences := _compare(wanted, found := await _look(admin, wanted)):
            _refuse_partitions(wanted, found)
            mended = mended or differences
            await _create(admin, [topic for topic in wanted if topic.name not in found])
            for topic in wanted:
                if topic.name in found and _compare([topic], found):
                    await _mend(admin, topic, found[topic.name])
            await asyncio.sleep(0.05)
    return mended


@asynccontextmanager
async def _admin(kafka: Mapping[str, Any]) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**kafka)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _look(admin: AIOKafkaAdminClient, wanted: Iterable[Topic]) -> dict[str, _Found]:
    # To ask for a topic by name would make it, on brokers that create topics by themselves: so ask for all.
    names = {topic.name for topic in wanted}
    present = {
        topic["topic"]: topic["partitions"] for topic in await admin.describe_topics() if topic["topic"] in names
    }
    found: dict[str, _Found] = {}
    if not present:
        return found
    for answer in await admin.describe_configs([_resource(name) for name in present]):
        for code, message, _, name, entries in answer.resources:
            # The broker that answers may not have heard yet of a topic that another one knows.
            if code == UnknownTopicOrPartitionError.errno:
                continue
            _raise_for(code, message)
            found[name] = _Found(
                partitions=len(present[name]),
                replicas=min(len(partition["replicas"]) for partition in present[name]),
                config={key: value for key, value, *_ in entries},
                own={key: value for key, value, _, source, *_ in entries if source == _OF_THE_TOPIC},
            )
    return found


def _compare(wanted: Iterable[Topic], found: Mapping[str, _Found]) -> list[Difference]:
    differences = []
    for topic in wanted:
        old = found.get(topic.name)
        pairs = [("partitions", str(old.partitions) if old else None, str(topic.partitions))]
        if old:
            pairs += [(key, old.config.get(key), value) for key, value in topic.settings(old.replicas).items()]
        differences += [
            Difference(topic=topic.name, setting=setting, found=is_now, wanted=should_be)
            for setting, is_now, should_be in pairs
            if is_now != should_be
        ]
    return differences


def _refuse_partitions(wanted: Iterable[Topic], found: Mapping[str, _Found]) -> None:
    for topic in wanted:
        have = found[topic.name].partitions if topic.name in found else topic.partitions
        if have > topic.partitions or (have < topic.partitions and not topic.grows):
            raise PartitionsError(f"{topic.name} has {have} partitions and cannot be given {topic.partitions}")


async def _create(admin: AIOKafkaAdminClient, topics: Iterable[Topic]) -> None:
    cluster = await admin.describe_cluster()
    replicas = min(_REPLICAS_WANTED, len(cluster["brokers"]))
    new = [NewTopic(topic.name, topic.partitions, replicas, topic_configs=topic.settings(replicas)) for topic in topics]
    if new:
        answer = await admin.create_topics(new)
        for _, code, message in answer.topic_errors:
            _raise_for(code, message, but=TopicAlreadyExistsError)


async def _mend(admin: AIOKafkaAdminClient, topic: Topic, old: _Found) -> None:
    if old.partitions != topic.partitions:
        with suppress(InvalidPartitionsError):
            await admin.create_partitions({topic.name: NewPartitions(topic.partitions)})
    # AlterConfigs takes away whatever it is not told again.
    told = {**old.own, **topic.settings(old.replicas)}
    for answer in await admin.alter_configs([_resource(topic.name, told)]):
        for code, message, *_ in answer.resources:
            _raise_for(code, message)


def _resource(name: str, config: dict[str, str] | None = None) -> ConfigResource:
    return ConfigResource(ConfigResourceType.TOPIC, name, config)


def _raise_for(code: int, message: str | None, *, but: type[Exception] | None = None) -> None:
    error = for_code(code)
    if code and error is not but:
        raise error(message)
