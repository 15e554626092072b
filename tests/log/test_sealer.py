"""The sealer: every entry comes into the tree once, in a fixed order, under one root per size for ever.

Seen to fail: the order of positions turned round; checkpoints kept from the topic, or the topic not read at the start;
a sealer that was fenced going on; the whole limit given to the first shard; leaves taken up unchecked; another root, or
a stranger's checkpoint, taken for ours; a missing entry sealed over; a silent owner left alone; another name taken up.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from consent_ledger.domain import checkpoint
from consent_ledger.domain.checkpoint import Head
from consent_ledger.domain.merkle import TILE_WIDTH, Edge
from consent_ledger.runtime.postgres import connect
from consent_ledger.sealer.app import LogBehindError, _Writing
from consent_ledger.sealer.outside import newest
from consent_ledger.store import log as tables
from consent_ledger.store.log import LogDamagedError
from consent_ledger.verifier.note import VerifierKey, open_checkpoint
from log.sealing import ORIGIN, Log, logging
from running import serving, until


@pytest.fixture
async def log(kafka: str, postgres: str, template: str, tmp_path: Path) -> AsyncIterator[Log]:
    async with logging(kafka, postgres, template, tmp_path) as made:
        yield made


def root_of(leaves: list[bytes]) -> bytes:
    edge = Edge()
    edge.append(b"".join(leaves))
    return edge.root()


async def records(log: Log) -> list[bytes]:
    topic = TopicPartition(f"{log.settings.topic_prefix}checkpoints", 0)
    async with AIOKafkaConsumer(**log.settings.kafka(), auto_offset_reset="earliest") as consumer:
        consumer.assign([topic])
        end = (await consumer.end_offsets([topic]))[topic]
        found: list[bytes] = []
        while len(found) < end:
            batches = await consumer.getmany(timeout_ms=200)
            found += [record.value for batch in batches.values() for record in batch]
    return found


async def test_every_entry_comes_into_the_tree_in_the_order_of_shards_and_positions(log: Log) -> None:
    await log.append(3, shard=2)
    await log.append(2, shard=0)
    first = await log.seal()
    await log.append(300, shard=1)
    await log.append(1, shard=0)
    second = await log.seal()

    places = [(one.shard, one.position) for one in await tables.entries_of(log.made.superuser, 0, second.size)]

    assert first.heads == [2, 0, 3]
    assert second.heads == [3, 300, 3]
    assert places[:5] == [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2)]
    assert places[5:] == [(0, 2), *((1, pos) for pos in range(300))]
    assert first.root == root_of((await log.leaves())[:5])
    assert second.root == root_of(await log.leaves())


async def test_a_checkpoint_is_signed_by_the_key_that_anyone_can_ask_for(log: Log) -> None:
    await log.append(2)

    sealed = await log.seal()

    found = open_checkpoint(sealed.note, VerifierKey.parse((await log.key()).public))
    assert (found.origin, found.size, found.root) == (ORIGIN, 2, sealed.root)


async def test_a_checkpoint_is_published_on_the_topic_and_in_the_directory(log: Log) -> None:
    await log.append(2)
    one = await log.seal()
    await log.append(1)
    other = await log.seal()

    published = await records(log)

    assert [checkpoint.read(note).size for note in published] == [2, 2, 3]
    assert published[-1] == other.note == log.published()[0]
    topic = f"{log.settings.topic_prefix}checkpoints"
    assert await newest(log.settings.kafka(), topic, ORIGIN.encode()) == [other.note]
    assert await newest(log.settings.kafka(), topic, b"another") == []
    assert one.note in published


async def test_full_tiles_are_kept_and_partial_ones_made_of_what_is(log: Log) -> None:
    await log.append(TILE_WIDTH + 40)
    await log.seal()
    await log.append(TILE_WIDTH)
    sealed = await log.seal()
    leaves = await log.leaves()

    tiles = {
        place: await tables.tile(log.made.superuser, place, sealed.size) for place in ((0, 0), (0, 1), (0, 2), (1, 0))
    }

    assert tiles[0, 0] == b"".join(leaves[:256])
    assert tiles[0, 1] == b"".join(leaves[256:512])
    assert tiles[0, 2] == b"".join(leaves[512:])
    assert tiles[1, 0] == root_of(leaves[:256]) + root_of(leaves[256:512])
    assert await tables.tile(log.made.superuser, (0, 2), 512) is None
    assert await tables.tile(log.made.superuser, (0, 1), 300) == b"".join(leaves[256:300])


async def test_every_entry_is_found_in_the_tree(log: Log) -> None:
    for number in (1, 2, 3, 4):
        await log.append(number, shard=number % 3)
        await log.append(2, shard=1)
        await log.seal()
    await log.append(1, shard=2)
    in_order = await tables.entries_of(log.made.superuser, 0, (await log.last()).size)

    found = [await tables.index_of(log.made.superuser, one.shard, one.position) for one in in_order]

    assert found == list(range(len(in_order)))
    assert await tables.index_of(log.made.superuser, 2, in_order[-1].position + 9) is None
    assert await tables.index_of(log.made.superuser, 9, 0) is None
    assert await tables.index_of(log.made.superuser, 1, -1) is None


async def test_a_long_backlog_is_sealed_in_parts_of_which_every_shard_has_a_share(log: Log) -> None:
    await log.append(50, shard=0)
    await log.append(10, shard=1)

    await log.seal(seal_max=20)

    rows = await log.made.fetch("SELECT tree_size, heads FROM checkpoint ORDER BY tree_size")
    assert (rows[0]["tree_size"], rows[0]["heads"]) == (20, [10, 10])
    assert all(after["tree_size"] - before["tree_size"] <= 20 for before, after in pairwise(rows))


async def test_nothing_new_makes_no_checkpoint(log: Log) -> None:
    await log.append(1)
    await log.seal()

    async with serving(log.sealer().run()) as service:
        # The next owner publishes again what it found, and that is all it does.
        await until(lambda: _published_again(log, 2), service=service)

    assert len(await log.made.fetch("SELECT FROM checkpoint")) == 1


async def _published_again(log: Log, times: int) -> bool:
    return len(await records(log)) >= times


async def test_a_sealer_that_lost_the_log_adds_nothing(log: Log) -> None:
    await log.append(1)
    connection = await connect(log.settings.dsn, "consent_sealer")
    epoch = await tables.claim(connection, "one", log.sealer()._lease)
    assert epoch is not None
    await log.made.fetch("UPDATE seal_head SET epoch = epoch + 1")

    writing = _Writing(connection, epoch, log.sealer()._lease, await log.key(), Edge(), [])
    with pytest.raises(tables.FencedError):
        await writing.seal(await writing.news(10))
    connection.terminate()

    assert await log.made.fetch("SELECT FROM checkpoint") == []


async def test_two_sealers_never_own_the_log_together(log: Log) -> None:
    await log.append(5)

    async with serving(log.sealer().run()) as one, serving(log.sealer().run()) as other:
        await until(log._all_sealed, service=one)
        await log.append(5)
        await until(log._all_sealed, service=other)

    assert (await log.last()).root == root_of(await log.leaves())


async def test_a_silent_owner_is_ended_and_another_goes_on(log: Log) -> None:
    await log.append(1)
    # Nor does the server end it for us.
    stopped = await connect(log.settings.dsn, "consent_sealer", idle_in_transaction_session_timeout="0")
    assert await tables.claim(stopped, "stopped", log.sealer()._lease) is not None
    transaction = stopped.transaction()
    await transaction.start()
    await stopped.execute("SELECT FROM seal_head FOR UPDATE")
    await asyncio.sleep(0)

    sealed = await log.seal()

    assert sealed.size == 1
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await stopped.execute("SELECT 1")


async def refused(log: Log, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        async with asyncio.timeout(20):
            await log.sealer().run()


@pytest.mark.parametrize("directory", [True, False], ids=["directory", "topic"])
async def test_a_log_that_was_set_back_behind_what_is_published_is_not_continued(log: Log, directory: bool) -> None:  # noqa: FBT001
    await log.append(2)
    await log.seal()
    await log.append(2)
    await log.seal()
    await log.set_back()
    if not directory:
        (log.directory / "checkpoint").unlink()

    await refused(log, LogBehindError, "4 entries is published, and the database has one of 2")

    assert [row["tree_size"] for row in await log.made.fetch("SELECT tree_size FROM checkpoint")] == [2]


async def test_no_second_root_is_signed_for_a_published_size(log: Log) -> None:
    await log.append(2)
    await log.seal()
    key = await log.key()
    (log.directory / "checkpoint").write_bytes(key.sign(2, bytes(32)))

    await refused(log, LogBehindError, "another root was published for 2")


async def test_a_checkpoint_of_strangers_in_our_place_stops_the_sealer(log: Log) -> None:
    await log.append(2)
    await log.seal()
    text = checkpoint.text(Head(ORIGIN, 1, bytes(32)))
    stranger = checkpoint.signed(text, ORIGIN, bytes(32), bytes(64))
    (log.directory / "checkpoint").write_bytes(stranger)

    await refused(log, LogBehindError, "no checkpoint of log.example/consent")


async def test_a_log_is_not_continued_under_another_name(log: Log, tmp_path: Path) -> None:
    await log.append(1)
    await log.seal()

    with pytest.raises(LogBehindError, match="not one of elsewhere"):
        async with asyncio.timeout(20):
            await log.sealer(log_origin="elsewhere", log_directory=str(tmp_path / "empty")).run()


async def test_nothing_is_sealed_upon_leaves_that_were_changed(log: Log) -> None:
    await log.append(3)
    await log.seal()
    await log.made.fetch("SET session_replication_role = replica")
    await log.made.fetch("UPDATE checkpoint SET leaves = set_byte(leaves, 40, get_byte(leaves, 40) # 1)")

    await refused(log, LogDamagedError, "not what the newest checkpoint was made of")


async def test_nothing_is_sealed_over_a_missing_entry(log: Log) -> None:
    await log.append(3)
    await log.made.fetch("SET session_replication_role = replica")
    await log.made.fetch("DELETE FROM ledger WHERE pos = 1")

    await refused(log, LogDamagedError, "shard 1 has 2 entries from 0 to 3")

    assert await log.made.fetch("SELECT FROM checkpoint") == []


async def test_one_size_has_one_root(log: Log) -> None:
    await log.append(1)
    await log.seal()

    with pytest.raises(asyncpg.UniqueViolationError):
        await tables.add(log.made.superuser, [], bytes(32), 1, [0, 1], hashlib.sha256().digest(), b"note")


@pytest.mark.parametrize("table", ["checkpoint", "tile"])
@pytest.mark.parametrize(
    "change", ["UPDATE consent.{} SET root = root", "DELETE FROM consent.{}", "TRUNCATE consent.{}"]
)
async def test_nobody_changes_the_log(log: Log, table: str, change: str) -> None:
    for role, words in (("consent_sealer", "permission denied"), ("consent_operator", "permission denied")):
        connection = await connect(log.settings.dsn, role)  # type: ignore[arg-type]
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match=words):
            await connection.execute(change.format(table))
        connection.terminate()
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="is append-only"):
        await log.made.superuser.execute(change.format(table))
