"""What was not accepted stands on the rejected topic as it came, and nothing of it is lost.

Seen to fail:
- original headers left out, or overwritten by ours of the same name; raw header keys decoded; the entry not named;
- the size not looked at; the place kept before the sending, or not at all; published out of turn.
"""

from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord

from consent_ledger.relay.rejected import Rejected
from consent_ledger.runtime.keys import encrypt
from consent_ledger.store import keys
from consent_ledger.store import relay as store
from relay.stage import NOON, Stage
from running import serving, until

Header = tuple[str | bytes, bytes | None]


@pytest.fixture
async def producer(stage: Stage) -> AsyncIterator[AIOKafkaProducer]:
    client = AIOKafkaProducer(**stage.settings.kafka(), enable_idempotence=True)
    await client.start()
    yield client
    await client.stop()


async def quarantine(
    stage: Stage,
    offset: int,
    *,
    key: bytes | None = b"key",
    value: bytes | None = b"{not json",
    headers: Sequence[Header] = (),
    detail: str = "not JSON",
    pos: int | None = None,
) -> None:
    """Keep a record of the second partition of events as the recorder does."""
    service = await keys.service_keys(stage.relay, stage.keks)
    raw = msgspec.msgpack.encode((key, value, list(headers), 1_772_366_400_000))
    await stage.superuser.execute(
        """
        INSERT INTO consent.shard_head (shard, topic, partition, start_offset, next_offset)
        VALUES (2, $1, 1, 0, 0) ON CONFLICT DO NOTHING
        """,
        f"{stage.settings.topic_prefix}events",
    )
    await stage.superuser.execute(
        "INSERT INTO consent.quarantine VALUES (2, $1, 'MALFORMED', $2, NULL, $3, $4, $5)",
        offset,
        detail,
        pos,
        NOON,
        encrypt(service["quarantine"], raw, b"quarantine"),
    )


def headers_of(record: ConsumerRecord) -> dict[str, bytes | None]:
    return dict(record.headers)


async def test_a_record_is_published_as_it_came_with_its_reason_and_place(
    stage: Stage, producer: AIOKafkaProducer
) -> None:
    headers: list[Header] = [("ce_type", b"consent-given"), ("consent-reason", b"theirs"), ("nothing", None)]
    await quarantine(stage, 7, headers=headers)

    published = await Rejected(stage.settings, stage.keks).publish(stage.relay, producer)

    (record,) = await stage.read(1, topic="rejected")
    assert published == 1
    assert (record.key, record.value) == (b"key", b"{not json")
    assert list(record.headers) == [
        *headers,
        ("consent-reason", b"MALFORMED"),
        ("consent-detail", b"not JSON"),
        ("consent-topic", f"{stage.settings.topic_prefix}events".encode()),
        ("consent-partition", b"1"),
        ("consent-offset", b"7"),
    ]


async def test_a_malformed_refusal_names_its_entry(stage: Stage, producer: AIOKafkaProducer) -> None:
    await quarantine(stage, 7, pos=41)

    await Rejected(stage.settings, stage.keks).publish(stage.relay, producer)

    (record,) = await stage.read(1, topic="rejected")
    assert headers_of(record)["consent-entry"] == b"2/41"


async def test_header_keys_that_are_not_utf_8_are_kept_beside_their_values(
    stage: Stage, producer: AIOKafkaProducer
) -> None:
    await quarantine(stage, 7, headers=[("plain", b"1"), (b"\xff\xfe", b"2"), (b"\xc3(", None)])

    await Rejected(stage.settings, stage.keks).publish(stage.relay, producer)

    (record,) = await stage.read(1, topic="rejected")
    assert list(record.headers)[:5] == [
        ("plain", b"1"),
        ("consent-raw-header-1-key", b"\xff\xfe"),
        ("consent-raw-header-1", b"2"),
        ("consent-raw-header-2-key", b"\xc3("),
        ("consent-raw-header-2", None),
    ]


async def test_a_record_of_nothing_but_headers_is_published(stage: Stage, producer: AIOKafkaProducer) -> None:
    await quarantine(stage, 7, key=None, value=None, headers=[("plain", b"\xff")])

    await Rejected(stage.settings, stage.keks).publish(stage.relay, producer)

    (record,) = await stage.read(1, topic="rejected")
    assert (record.key, record.value, record.headers[0]) == (None, None, ("plain", b"\xff"))


async def test_a_detail_that_no_encoding_takes_is_escaped(stage: Stage, producer: AIOKafkaProducer) -> None:
    await quarantine(stage, 7, detail="é")

    await Rejected(stage.settings, stage.keks).publish(stage.relay, producer)

    (record,) = await stage.read(1, topic="rejected")
    assert headers_of(record)["consent-detail"] == "é".encode()


async def test_what_is_larger_than_the_topic_takes_does_not_hold_up_the_rest(
    stage: Stage, producer: AIOKafkaProducer
) -> None:
    await quarantine(stage, 7, value=bytes(3 << 20))
    await quarantine(stage, 8, value=b"x" * (1 << 20))

    await Rejected(stage.settings, stage.keks).publish(stage.relay, producer)

    large, small = await stage.read(1, topic="rejected")
    assert (large.value, headers_of(large)["consent-offset"]) == (None, b"7")
    assert headers_of(large)["consent-omitted"] == b"key, value, headers"
    assert len(small.value or b"") == 1 << 20


async def test_each_record_is_published_once_by_one_relay_and_again_when_the_place_was_not_kept(
    stage: Stage, producer: AIOKafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejected = Rejected(stage.settings, stage.keks)

    async def crash(*_args: object) -> None:
        raise ConnectionError

    await quarantine(stage, 7)
    with monkeypatch.context() as patched:
        patched.setattr(store, "published", crash)
        with pytest.raises(ConnectionError):
            await rejected.publish(stage.relay, producer)
    await rejected.publish(stage.relay, producer)
    await quarantine(stage, 9)
    await rejected.publish(stage.relay, producer)

    assert await rejected.publish(stage.relay, producer) == 0
    offsets = [headers_of(record)["consent-offset"] for record in await stage.read(1, topic="rejected")]
    assert offsets == [b"7", b"7", b"9"]


async def test_it_publishes_only_when_it_is_its_turn(stage: Stage) -> None:
    turns = iter([False, False, True])
    await quarantine(stage, 7)
    asked: list[int] = []

    def is_owner() -> bool:
        turn = next(turns, True)
        asked.append(turn)
        return turn

    async def is_published() -> bool:
        return len(await stage.read(1, topic="rejected")) == 1

    async with serving(Rejected(stage.settings, stage.keks).run(is_owner)) as service:
        await until(is_published, service=service)

    assert asked[:3] == [False, False, True]
