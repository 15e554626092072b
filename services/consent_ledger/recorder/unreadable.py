"""Reads what aiokafka cannot: records whose header keys are not UTF-8."""

from collections.abc import Iterator
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka import errors as kafka_errors
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.util import decode_varint
from aiokafka.structs import ConsumerRecord, TopicPartition

# Everything private of aiokafka that this project leans on is leaned on here. The broker takes a header key of any
# bytes; aiokafka decodes it while it iterates a batch, so `getmany` raises UnicodeDecodeError for ever and not even the
# records before it come out. Its fetch request, decompression, CRC and transaction handling are all sound and are used
# as they are; only the parsing of one record is ours.
_LENGTH_AT = 8
_LENGTH_END = 12
_PAGE_BYTES = 64 * 1024
_NO_LEADER = (None, -1)


async def read_leniently(
    consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int
) -> tuple[list[ConsumerRecord], int]:
    """Fetch one page of a partition from `offset` on, and the position after it, without moving the consumer.

    A header key that is not UTF-8 stays bytes in `headers`; keys and values are bytes as they came. The consumer's
    isolation level holds: aborted records and transaction markers are skipped, so a page of nothing else gives no
    records and a later position. At the end of the partition the position is `offset`. A page is short, because only
    the neighbourhood of one unreadable record is wanted; at least one whole batch comes, however large it is.

    Raises `KafkaError` when the leader is not to be had, the offset is out of range or a batch is corrupt.
    """
    records = PartitionRecords(
        partition,
        *await _fetch(consumer, partition, offset),
        fetch_offset=offset,
        key_deserializer=None,
        value_deserializer=None,
        check_crcs=True,
        isolation_level=consumer._fetcher._isolation_level,  # noqa: SLF001
    )
    found = list(records)
    return found, records.next_fetch_offset


async def _fetch(
    consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int
) -> tuple["_Batches", list[tuple[int, int]]]:
    client, fetcher = consumer._client, consumer._fetcher  # noqa: SLF001
    leader = client.cluster.leader_for_partition(partition)
    if leader in _NO_LEADER:
        await client.force_metadata_update()
        leader = client.cluster.leader_for_partition(partition)
    if leader in _NO_LEADER:
        raise kafka_errors.LeaderNotAvailableError(partition)
    # The answer comes at once, even an empty one: one unreadable record must not keep the other partitions waiting.
    request = FetchRequest(
        0,
        1,
        _PAGE_BYTES,
        fetcher._isolation_level,  # noqa: SLF001
        [(partition.topic, [(partition.partition, offset, _PAGE_BYTES)])],
    )
    response = await client.send(leader, request)
    # The leader answers for the one partition asked: high water mark, stable offset, aborted transactions, batches.
    _, error, *_ignored, aborted, last = _flat(response)
    if error:
        client.force_metadata_update()
        raise kafka_errors.for_code(error)(partition)
    return _Batches(last), aborted


def _flat(response: Any) -> tuple[Any, ...]:
    """Return the one partition's columns; from version 11 on a preferred replica stands before the batches."""
    ((_topic, (columns,)),) = response.topics
    return (*columns[:-2], columns[-1]) if response.API_VERSION >= 11 else tuple(columns)  # noqa: PLR2004


class _Batches:
    """The whole batches of one fetched page; a last one that was cut off is left for the next page."""

    def __init__(self, page: bytes) -> None:
        self._batches = _split(page)
        self._next = next(self._batches, None)

    def has_next(self) -> bool:
        return self._next is not None

    def next_batch(self) -> "_LenientBatch":
        batch, self._next = self._next, next(self._batches, None)
        return _LenientBatch(batch)


def _split(page: bytes) -> Iterator[memoryview]:
    view, start = memoryview(page), 0
    while start + _LENGTH_END <= len(view):
        end = start + _LENGTH_END + int.from_bytes(view[start + _LENGTH_AT : start + _LENGTH_END], "big", signed=True)
        if end > len(view):
            return
        yield view[start:end]
        start = end


class _LenientBatch:
    """A batch of format 2 (Kafka 0.11 and newer) that does not insist on UTF-8 in header keys."""

    def __init__(self, raw: memoryview | None) -> None:
        # The pure Python class, because the compiled one keeps its buffer to itself.
        self._batch = _DefaultRecordBatchPy(raw)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> _DefaultRecordPy:
        """Return the marker of a control batch, which has no headers."""
        return next(self._batch)

    def __iter__(self) -> Iterator[_DefaultRecordPy]:
        batch = self._batch
        batch._maybe_uncompress()  # noqa: SLF001
        reader = _Reader(batch._buffer, batch._pos)  # noqa: SLF001
        for _ in range(batch._num_records):  # noqa: SLF001
            try:
                yield _read_record(batch, reader)
            except (ValueError, IndexError) as error:
                raise kafka_errors.CorruptRecordException(f"Found invalid record structure: {error!r}") from error


def _read_record(batch: _DefaultRecordBatchPy, reader: "_Reader") -> _DefaultRecordPy:
    length = reader.varint()
    end = reader.position + length
    reader.varint()  # attributes, which mean nothing yet
    since_first = reader.varint()
    log_append_time = batch.timestamp_type == batch.LOG_APPEND_TIME
    timestamp = batch.max_timestamp if log_append_time else batch.first_timestamp + since_first
    offset = batch.base_offset + reader.varint()
    key, value = reader.nullable(), reader.nullable()
    headers = [(_text(reader.nullable() or b""), reader.nullable()) for _ in range(reader.varint())]
    if reader.position != end:
        raise ValueError(f"record of {length} bytes ends {reader.position - end} bytes off")
    return _DefaultRecordPy(offset, timestamp, batch.timestamp_type, key, value, headers)


def _text(header_key: bytes) -> str | bytes:
    try:
        return header_key.decode()
    except UnicodeDecodeError:
        return header_key


class _Reader:
    """A place in a buffer of varints and of bytes that are led by their length (-1 for null)."""

    def __init__(self, buffer: bytearray, position: int) -> None:
        self._buffer = buffer
        self.position = position

    def varint(self) -> int:
        value, self.position = decode_varint(self._buffer, self.position)
        return int(value)

    def nullable(self) -> bytes | None:
        length = self.varint()
        if length < 0:
            return None
        start, self.position = self.position, self.position + length
        return bytes(self._buffer[start : self.position])
