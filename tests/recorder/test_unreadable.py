"""Nothing in a partition stops the recorder: what aiokafka cannot read is read leniently.

Seen to fail: header keys decoded strictly; timestamps always taken from the producer; batches not decompressed; aborted
transactions not passed on; read uncommitted; the position taken from the last record; only the first batch of a page
read; a batch that was cut off kept; the broker's error ignored; the leader not looked up again; the position of the
other partitions taken after the poll that failed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.producer import message_accumulator
from aiokafka.producer import producer as producer_module
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.structs import ConsumerRecord, TopicPartition

from consent_ledger.recorder.consumer import ShardConsumer
from consent_ledger.recorder.unreadable import read_leniently

FAR_PAST_MS = 1_546_300_800_000


class RawKey(str):
    """A header key that goes over the wire as bytes that are no UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


@pytest.fixture
async def partition(kafka: str, topic_prefix: str) -> TopicPartition:
    topic = f"{topic_prefix}unreadable"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        settings = {"message.timestamp.type": "LogAppendTime"}
        await admin.create_topics([NewTopic(topic, 2, 1, topic_configs=settings)])
    finally:
        await admin.close()
    return TopicPartition(topic, 0)


@pytest.fixture
async def consumer(kafka: str, partition: TopicPartition) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka, isolation_level="read_committed", auto_offset_reset="none", fetch_max_wait_ms=50
    )
    await consumer.start()
    consumer.assign([partition])
    consumer.seek(partition, 0)
    yield consumer
    await consumer.stop()


@pytest.fixture
async def producer(kafka: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., AIOKafkaProducer]]:
    # Only the pure Python builder leaves the encoding of a header key to the key.
    for module in (producer_module, message_accumulator):
        monkeypatch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
    started: list[AIOKafkaProducer] = []

    async def start(**settings: object) -> AIOKafkaProducer:
        started.append(AIOKafkaProducer(bootstrap_servers=kafka, **settings))
        await started[-1].start()
        return started[-1]

    yield start
    for one in started:
        await one.stop()


async def put(producer: AIOKafkaProducer, partition: TopicPartition, value: bytes, header: str = "plain") -> int:
    sent = await producer.send_and_wait(
        partition.topic,
        value,
        partition=partition.partition,
        timestamp_ms=FAR_PAST_MS,
        headers=[(header, b"\x00"), ("n", None)],
    )
    offset: int = sent.offset
    return offset


async def read_up_to(
    consumer: AIOKafkaConsumer, partition: TopicPartition, end: int
) -> tuple[list[ConsumerRecord], int]:
    """Read from the beginning; a transaction's end shows a moment after the broker has answered for it."""
    records, position = await read_leniently(consumer, partition, 0)
    while position < end:
        more, position = await read_leniently(consumer, partition, position)
        records += more
    return records, position


async def test_a_header_key_that_is_not_utf8_stops_plain_reading_and_is_read_leniently(
    consumer: AIOKafkaConsumer, producer: Callable[..., AIOKafkaProducer], partition: TopicPartition
) -> None:
    sender = await producer(linger_ms=100)
    said = ((b"before", "plain"), (b"itself", RawKey("x")), (b"after", "plain"))
    await asyncio.gather(*(put(sender, partition, value, header) for value, header in said))
    with pytest.raises(UnicodeDecodeError):
        await consumer.getmany(partition, timeout_ms=5000)

    records, position = await read_leniently(consumer, partition, 0)

    assert [(record.offset, record.value) for record in records] == [(0, b"before"), (1, b"itself"), (2, b"after")]
    assert records[0].headers == (("plain", b"\x00"), ("n", None))
    assert records[1].headers == ((b"\xff\xfe", b"\x00"), ("n", None))
    assert position == 3
    assert await consumer.position(partition) == 0


async def test_plain_reading_goes_on_behind_the_unreadable_record(
    consumer: AIOKafkaConsumer, producer: Callable[..., AIOKafkaProducer], partition: TopicPartition
) -> None:
    sender = await producer()
    await put(sender, partition, b"itself", RawKey("x"))
    with pytest.raises(UnicodeDecodeError):
        await consumer.getmany(partition, timeout_ms=5000)
    _, position = await read_leniently(consumer, partition, 0)

    consumer.seek(partition, position)
    await put(sender, partition, b"after")
    plain = await consumer.getmany(partition, timeout_ms=5000)

    assert [record.value for record in plain[partition]] == [b"after"]


async def test_records_drained_from_another_partition_are_not_lost_with_the_unreadable_one(
    kafka: str, producer: Callable[..., AIOKafkaProducer], partition: TopicPartition
) -> None:
    other = TopicPartition(partition.topic, 1)
    sender = await producer()
    await put(sender, other, b"readable")
    await put(sender, partition, b"itself", RawKey("x"))

    async def both(_: ShardConsumer) -> list[TopicPartition]:
        return [other, partition]

    options = {"bootstrap_servers": kafka, "isolation_level": "read_committed", "auto_offset_reset": "none"}
    async with ShardConsumer(before_poll=both, **options) as consumer:
        consumer.assign([other, partition])
        consumer.seek(other, 0)
        consumer.seek(partition, 0)
        # Both lie ready, the readable one first, before anything is taken.
        fetched = consumer._fetcher._records
        await until(lambda: {other, partition} <= fetched.keys())
        fetched.move_to_end(partition)

        taken = await consumer.getmany(timeout_ms=5000)

    assert {at: [record.value for record in records] for at, records in taken.items()} == {
        other: [b"readable"],
        partition: [b"itself"],
    }


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


async def test_all_but_the_header_key_is_as_plain_reading_gives_it(
    consumer: AIOKafkaConsumer, producer: Callable[..., AIOKafkaProducer], partition: TopicPartition
) -> None:
    sender = await producer()
    await put(sender, partition, b'{"a": 1}')
    await sender.send_and_wait(partition.topic, None, key=b"\xff key", partition=0)

    lenient, _ = await read_leniently(consumer, partition, 0)

    plain: list[ConsumerRecord] = []
    while len(plain) < 2:
        plain += (await consumer.getmany(partition, timeout_ms=5000)).get(partition, [])
    assert lenient == plain
    assert lenient[0].timestamp > FAR_PAST_MS
    assert lenient[0].timestamp_type == 1


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_every_codec_is_read(
    codec: str, consumer: AIOKafkaConsumer, producer: Callable[..., AIOKafkaProducer], partition: TopicPartition
) -> None:
    sender = await producer(compression_type=codec, linger_ms=50)
    many = [await sender.send(partition.topic, b"x" * 200, partition=0, headers=[(RawKey("x"), b"")]) for _ in range(9)]
    for sent in many:
        await sent

    records, position = await read_leniently(consumer, partition, 4)

    assert [record.offset for record in records] == [4, 5, 6, 7, 8]
    assert {record.value for record in records} == {b"x" * 200}
    assert {record.headers for record in records} == {((b"\xff\xfe", b""),)}
    assert position == 9


async def test_aborted_records_and_markers_are_skipped(
    consumer: AIOKafkaConsumer, producer: Callable[..., AIOKafkaProducer], partition: TopicPartition
) -> None:
    sender = await producer(transactional_id=f"{partition.topic}-writer")
    await sender.begin_transaction()
    await put(sender, partition, b"aborted", RawKey("x"))
    await sender.abort_transaction()
    async with sender.transaction():
        await put(sender, partition, b"committed", RawKey("x"))

    records, position = await read_up_to(consumer, partition, 4)

    assert [(record.offset, record.value) for record in records] == [(2, b"committed")]
    assert position == 4


async def test_a_page_of_markers_alone_still_moves_the_position(
    consumer: AIOKafkaConsumer, producer: Callable[..., AIOKafkaProducer], partition: TopicPartition
) -> None:
    sender = await producer(transactional_id=f"{partition.topic}-writer")
    await sender.begin_transaction()
    await put(sender, partition, b"aborted", RawKey("x"))
    await sender.abort_transaction()

    assert await read_up_to(consumer, partition, 2) == ([], 2)
    assert await read_leniently(consumer, partition, 1) == ([], 2)
    assert await read_leniently(consumer, partition, 2) == ([], 2)


async def test_an_unfinished_transaction_is_not_read_past(
    consumer: AIOKafkaConsumer, producer: Callable[..., AIOKafkaProducer], partition: TopicPartition
) -> None:
    sender = await producer(transactional_id=f"{partition.topic}-writer")
    async with sender.transaction():
        await put(sender, partition, b"open", RawKey("x"))

        assert await read_leniently(consumer, partition, 0) == ([], 0)


async def test_a_large_batch_comes_whole_and_pages_join_without_a_gap(
    consumer: AIOKafkaConsumer, producer: Callable[..., AIOKafkaProducer], partition: TopicPartition
) -> None:
    sender = await producer(max_request_size=2**20, max_batch_size=2**20)
    sizes = [300_000, 40_000, 40_000, 40_000]
    for size in sizes:
        await put(sender, partition, b"x" * size, RawKey("x"))

    position, pages = 0, list[list[int]]()
    while position < len(sizes):
        records, position = await read_leniently(consumer, partition, position)
        pages.append([len(record.value) for record in records])

    assert [size for page in pages for size in page] == sizes
    assert pages[0] == [300_000]
    assert len(pages) > 2


async def test_an_offset_that_is_not_there_is_an_error(
    consumer: AIOKafkaConsumer, producer: Callable[..., AIOKafkaProducer], partition: TopicPartition
) -> None:
    # Before the first record is taken, the broker may not have heard yet that the partition is its own.
    await put(await producer(), partition, b"only")

    with pytest.raises(OffsetOutOfRangeError):
        await read_leniently(consumer, partition, 17)
