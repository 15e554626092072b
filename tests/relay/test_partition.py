"""What one partition holds is the view's, in order, whoever publishes and whenever he is stopped.

Each bad order is forced by taking the owner's steps by hand.

Seen to fail:
- the cursor read before the broker's fence, and moved before the commit; acknowledgements not waited for;
- a transactional id for each owner instead of one for the partition;
- the epoch not compared in the snapshot, nor with the cursor; the lease not looked at, or kept when a take-over failed;
- a watermark sent before the rows up to its horizon; the newest horizon taken at each look; the same stated twice;
- a record for every row of the outbox; only rows that have not changed since; rows of other partitions;
- the outbox not pruned, requests to send again not read or not forgotten;
- needs left out of the defaults; a row of an unknown controller sent under another's key;
- the planner left to its statistics.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced

from consent_ledger.domain.keyedhash import key_check
from consent_ledger.domain.suppression import purposes_key
from consent_ledger.relay import partition
from consent_ledger.relay.partition import Partition, take_over
from consent_ledger.relay.producer import FencedProducer
from consent_ledger.relay.records import Records, UnknownControllerError
from consent_ledger.store import relay as store
from consent_ledger.store.relay import SNAPSHOT_ROWS, FencedError, Snapshot
from relay.stage import NOON, Stage, addresses, own, versions, watermarks

pytestmark = pytest.mark.usefixtures("never_due")

TakeOver = Callable[..., Awaitable[Partition | None]]


@pytest.fixture
async def taking(stage: Stage) -> AsyncIterator[TakeOver]:
    """Take a partition over, each time as another relay with a connection of its own."""
    taken: list[Partition] = []
    connections = []

    async def take(q: int = 0) -> Partition | None:
        connection = await store.connect(stage.settings.dsn)
        connections.append(connection)
        owner = f"relay-{len(connections)}"
        found = await take_over(stage.settings, connection, Records(stage.keks), q=q, owner=owner)
        taken.extend([found] if found else [])
        return found

    yield take
    for found in taken:
        await found.producer.drop()
    for connection in connections:
        connection.terminate()


@pytest.fixture
async def owner(taking: TakeOver) -> Partition:
    return await taken_by(taking)


@asynccontextmanager
async def resting(owner: Partition) -> AsyncIterator[int]:
    """Let it rest until the block ends, or it is woken."""
    rest = asyncio.create_task(owner.rest())
    await asyncio.sleep(0)
    number = owner.resting()
    assert number is not None
    try:
        yield number
    finally:
        rest.cancel()
        await asyncio.wait({rest})


async def taken_by(taking: TakeOver) -> Partition:
    found = await taking()
    assert found is not None
    return found


async def test_a_row_appears_under_its_key_as_readers_expect_it(stage: Stage, owner: Partition) -> None:
    (number,) = stage.numbers_on(0, 1)
    version = await stage.put([number], own=own(allow=False, reason="OBJECTION_DM"))

    await owner.step()

    ((key, value),) = addresses(await stage.read(0))
    assert key == stage.key_of(number)
    assert value["controller"] == "shop-be"
    assert value["identifier"] == {"type": "email", "hash": stage.hash_of(number).hex(), "kid": stage.kid}
    assert value["position"] == {"shard": 3, "position": version}
    assert (value["version"], value["register"], value["recorded_at"]) == (version, 1, "2026-03-01T12:00:00.000Z")
    assert value["decisions"]["newsletter"]["email"] == {
        "allow": False,
        "reason": "OBJECTION_DM",
        "reasons": ["OBJECTION_DM"],
    }


async def test_only_the_rows_of_its_own_partition_appear(stage: Stage, owner: Partition) -> None:
    here, elsewhere = stage.numbers_on(0, 3), stage.numbers_on(1, 3)
    await stage.put([*here, *elsewhere])

    await owner.step()

    assert {key for key, _ in addresses(await stage.read(0))} == {stage.key_of(number) for number in here}
    assert addresses(await stage.read(1)) == []


async def test_changes_of_one_address_between_two_looks_become_one_record(stage: Stage, owner: Partition) -> None:
    (number,) = stage.numbers_on(0, 1)
    await stage.put([number])
    newest = await stage.put([number], own=own(allow=True, reason="CONSENT"))

    await owner.step()

    assert versions(await stage.read(0), stage.key_of(number)) == [newest]


async def test_a_row_that_changed_behind_the_limit_is_sent_as_it_is_now(stage: Stage, owner: Partition) -> None:
    first, *rest = stage.numbers_on(0, SNAPSHOT_ROWS)
    await stage.put([first, *rest])
    newest = await stage.put([first])

    more = await owner.step()
    await owner.step()

    assert more
    assert versions(await stage.read(0), stage.key_of(first)) == [newest, newest]


async def test_the_defaults_are_published_with_what_their_readers_need(stage: Stage, taking: TakeOver) -> None:
    q = await stage.put_purposes(needs=1)
    owner = await taking(q)
    assert owner is not None

    await owner.step()

    ((key, value),) = addresses(await stage.read(q))
    assert key == purposes_key("shop-be")
    assert (value["kid"], value["check"]) == (stage.kid, key_check(stage.hash_key))
    assert value["needs"] == {"newsletter": 1}
    assert value["decisions"]["newsletter"]["email"]["reason"] == "CONSENT_ABSENT"


async def test_a_controller_without_a_key_is_an_error(stage: Stage, owner: Partition) -> None:
    await stage.put(stage.numbers_on(0, 1))
    await stage.superuser.execute("UPDATE consent.view SET controller = 'nobody'")

    with pytest.raises(UnknownControllerError):
        await owner.step()

    assert await stage.read(0) == []


# -- the watermark


async def test_a_watermark_names_the_horizon_and_comes_behind_its_records(stage: Stage, owner: Partition) -> None:
    version = await stage.put(stage.numbers_on(0, SNAPSHOT_ROWS + 5))
    await stage.state_horizon()

    await owner.step()
    early = watermarks(await stage.read(0))
    await owner.step()

    records = await stage.read(0)
    assert early == []
    assert watermarks(records) == [{"instant": "2026-03-01T12:00:00.000Z", "seq": version, "epoch": owner.epoch}]
    assert records[-1].key == b"!watermark"
    assert len(addresses(records)) == SNAPSHOT_ROWS + 5


async def test_under_constant_load_the_horizon_first_met_is_stated_once_it_is_reached(
    stage: Stage, owner: Partition
) -> None:
    met = await stage.put(stage.numbers_on(0, SNAPSHOT_ROWS + 5))
    await stage.state_horizon()
    await owner.step()
    await stage.put(stage.numbers_on(0, 2 * SNAPSHOT_ROWS))
    await stage.state_horizon(NOON.replace(hour=13))

    more = await owner.step()

    assert more
    assert [mark["seq"] for mark in watermarks(await stage.read(0))] == [met]


async def test_a_horizon_that_stands_still_is_stated_once(
    stage: Stage, owner: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition, "_MARK_SECONDS", 0.0)
    await stage.state_horizon()

    await owner.step()
    await owner.step()

    assert len(watermarks(await stage.read(0))) == 1


# -- one owner at a time


async def test_nobody_takes_over_while_the_lease_lasts(stage: Stage, owner: Partition, taking: TakeOver) -> None:
    assert await taking() is None
    assert await stage.epoch(0) == owner.epoch


async def test_a_take_over_that_fails_leaves_the_partition_to_others(
    taking: TakeOver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_producer: FencedProducer) -> None:
        raise KafkaError

    with monkeypatch.context() as patched:
        patched.setattr(FencedProducer, "start", fail)
        with pytest.raises(KafkaError):
            await taking()

    assert await taking() is not None


async def test_what_a_predecessor_sends_after_the_take_over_is_refused(
    stage: Stage, owner: Partition, taking: TakeOver
) -> None:
    (number,) = stage.numbers_on(0, 1)
    await stage.put([number])
    await owner.step()
    await stage.let_leases_pass()
    successor = await taken_by(taking)
    newest = await stage.put([number])
    await successor.step()

    with pytest.raises(ProducerFenced):
        await owner.producer.send([(stage.key_of(number), b"late")])

    assert versions(await stage.read(0), stage.key_of(number))[1:] == [newest]
    assert b"late" not in {record.value for record in await stage.read(0)}


async def test_an_owner_whose_epoch_has_passed_sends_nothing_more(stage: Stage, owner: Partition) -> None:
    await stage.put(stage.numbers_on(0, 1))
    await stage.superuser.execute("UPDATE consent.relay_head SET epoch = epoch + 1")

    with pytest.raises(FencedError):
        await owner.step()

    assert await stage.read(0) == []


async def test_an_owner_whose_epoch_has_passed_moves_no_cursor(stage: Stage, owner: Partition) -> None:
    await stage.put(stage.numbers_on(0, 1))
    await owner.step()
    await stage.superuser.execute("UPDATE consent.relay_head SET epoch = epoch + 1")

    with pytest.raises(FencedError):
        await owner.settle()

    assert (await stage.cursor(0), await stage.unsent(0)) == (0, 1)


async def test_the_broker_refuses_the_predecessor_before_the_place_is_read(
    stage: Stage, owner: Partition, taking: TakeOver, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[type[BaseException]] = []
    read_cursor = store.cursor

    async def read_after_a_late_send(*args: object) -> int:
        try:
            await owner.producer.send([(b"late", b"late")])
        except KafkaError as error:
            refused.append(type(error))
        return await read_cursor(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "cursor", read_after_a_late_send)
    await stage.let_leases_pass()

    await taken_by(taking)

    assert refused == [ProducerFenced]


# -- the cursor


async def test_the_cursor_moves_behind_a_commit_and_forgets_what_is_published(stage: Stage, owner: Partition) -> None:
    numbers = stage.numbers_on(0, 3)
    version = await stage.put(numbers)
    await owner.step()
    before = (await stage.cursor(0), await stage.unsent(0), await stage.read(0, committed=True))

    await owner.settle()

    assert before == (0, 3, [])
    assert (await stage.cursor(0), await stage.unsent(0)) == (version, 0)
    assert len(addresses(await stage.read_after_commit(0))) == 3


async def test_the_cursor_stays_when_the_transaction_is_aborted_and_the_successor_sends_again(
    stage: Stage, owner: Partition, taking: TakeOver
) -> None:
    (number,) = stage.numbers_on(0, 1)
    version = await stage.put([number])
    await owner.step()
    await abort_from_outside(stage)

    with pytest.raises(KafkaError):
        await owner.settle()
    after = (await stage.cursor(0), await stage.unsent(0))
    await stage.let_leases_pass()
    successor = await taken_by(taking)
    await successor.step()
    await successor.settle()

    assert after == (0, 1)
    assert versions(await stage.read(0), stage.key_of(number)) == [version, version]
    assert versions(await stage.read_after_commit(0), stage.key_of(number)) == [version]


async def abort_from_outside(stage: Stage) -> None:
    """Begin a session under the owner's transactional id, which aborts its transaction."""
    intruder = AIOKafkaProducer(**stage.settings.kafka(), transactional_id=f"{stage.settings.topic_prefix}relay-0")
    await intruder.start()
    await intruder.stop()


async def test_after_a_crash_between_commit_and_cursor_the_tail_is_sent_again_in_order(
    stage: Stage, owner: Partition, taking: TakeOver, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, other = stage.numbers_on(0, 2)
    await stage.put([number, other])
    await stage.put([number])
    await owner.step()

    async def crash(*_args: object, **_named: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(store, "settle", crash)
        with pytest.raises(ConnectionError):
            await owner.settle()
    newest = await stage.put([number])
    await stage.let_leases_pass()
    successor = await taken_by(taking)
    await successor.step()
    await successor.settle()

    records = await stage.read_after_commit(0)
    assert versions(records, stage.key_of(number)) == [3, newest]
    assert versions(records, stage.key_of(other)) == [2, 2]
    assert await stage.unsent(0) == 0


async def test_what_kafka_did_not_take_is_not_held_to_be_sent(
    stage: Stage, owner: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.put(stage.numbers_on(0, 1))
    # Random, so that compression leaves it too large for the topic.
    too_large = random.Random(1).randbytes(3 << 20)

    async def make(*_args: object) -> list[tuple[bytes, bytes]]:
        return [(b"key", too_large)]

    monkeypatch.setattr(owner._records, "make", make)

    with pytest.raises(KafkaError):
        await owner.step()

    assert owner.sent == 0
    assert await stage.cursor(0) == 0


# -- resend


async def test_what_is_asked_for_again_is_sent_as_it_is_now_and_the_request_forgotten(
    stage: Stage, owner: Partition
) -> None:
    (number,) = stage.numbers_on(0, 1)
    version = await stage.put([number])
    await owner.step()
    await owner.settle()
    ask = "INSERT INTO consent.resend (q, hash) VALUES (0, $1)"
    await stage.superuser.execute(ask, stage.hash_of(number))
    await stage.superuser.execute(ask, b"nobody")

    await owner.step()

    assert versions(await stage.read_after_commit(0), stage.key_of(number)) == [version, version]
    assert await stage.superuser.fetchval("SELECT count(*) FROM consent.resend") == 0


async def test_a_rest_ends_when_rows_are_found_or_a_horizon_that_may_be_stated(stage: Stage, owner: Partition) -> None:
    async def look() -> Snapshot:
        return (await store.snapshots(stage.relay, [owner.place]))[0]

    await stage.state_horizon()
    await owner.step()
    (number,) = stage.numbers_on(0, 1)

    async with resting(owner) as rest:
        owner.wake(rest, await look())
        asleep = owner.resting()
        await stage.put([number])
        owner.wake(rest, await look())
        woken = owner.resting()
    await owner.step()

    assert (asleep, woken) == (rest, None)
    assert versions(await stage.read(0), stage.key_of(number)) == [1]


async def test_what_was_found_during_an_earlier_rest_is_not_sent(stage: Stage, owner: Partition) -> None:
    (number,) = stage.numbers_on(0, 1)
    await stage.put([number])
    async with resting(owner) as earlier:
        found = (await store.snapshots(stage.relay, [owner.place]))[0]
    newest = await stage.put([number])
    await owner.step()

    async with resting(owner):
        owner.wake(earlier, found)
        unmoved = owner.resting()
    owner.wake(earlier, found)
    await owner.step()

    assert unmoved is not None
    assert versions(await stage.read(0), stage.key_of(number)) == [newest]


async def test_a_rest_ends_for_an_owner_whose_epoch_has_passed(stage: Stage, owner: Partition) -> None:
    await stage.superuser.execute("UPDATE consent.relay_head SET epoch = epoch + 1")

    found = await store.snapshots(stage.relay, [owner.place])
    async with resting(owner) as rest:
        owner.wake(rest, found.get(0))
        woken = owner.resting()

    assert (found, woken) == ({}, None)
    with pytest.raises(FencedError):
        await owner.step()


async def test_a_look_at_several_partitions_gives_each_what_it_lacks(stage: Stage, taking: TakeOver) -> None:
    owners = [await taking(0), await taking(1)]
    numbers = [stage.numbers_on(0, 2), stage.numbers_on(1, 3)]
    await stage.put([*numbers[0], *numbers[1]])

    found = await store.snapshots(stage.relay, [owner.place for owner in owners if owner])

    for q in (0, 1):
        assert {row.hash for row in found[q].rows} == {stage.hash_of(number) for number in numbers[q]}


@pytest.mark.parametrize(
    "change", ["UPDATE consent.view_head SET seq = seq + 1", "UPDATE consent.horizon SET instant = now()"]
)
async def test_a_wait_ends_as_soon_as_view_or_horizon_have_changed(stage: Stage, owner: Partition, change: str) -> None:
    async def wait() -> None:
        seen = (await store.snapshots(stage.relay, [owner.place]))[0]
        ages = timedelta(seconds=8)
        await store.wait(
            stage.relay, seen.view_seq, seen.horizon.instant, pause=timedelta(milliseconds=1), patience=ages
        )

    waiting = asyncio.create_task(wait())
    asleep = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep')"
    while not await stage.superuser.fetchval(asleep, stage.relay.get_server_pid()):
        pass
    early = waiting.done()
    await stage.superuser.execute(change)

    await asyncio.wait_for(waiting, timeout=5)
    assert not early


async def test_what_is_unsent_is_found_by_index_whatever_the_statistics_say(stage: Stage) -> None:
    await stage.put(stage.numbers_on(0, SNAPSHOT_ROWS))
    connection = await store.connect(stage.settings.dsn)

    plan = await connection.fetch(f"EXPLAIN {store._SQL['snapshots']}", [0], [0], [0])
    connection.terminate()

    nodes = " ".join(line["QUERY PLAN"] for line in plan)
    assert not [node for node in ("Seq Scan", "Bitmap", "Hash", "Sort") if node in nodes]


def test_the_number_of_rows_in_a_snapshot_is_that_of_the_statement() -> None:
    assert store._SQL["snapshots"].count(f"LIMIT {SNAPSHOT_ROWS})") == 2
