"""What a partition holds is the view's, in order, whoever publishes and whenever he is stopped.

Each bad order is forced by taking the owner's steps by hand.

Seen to fail:
- a part of the partitions taken over; epochs counted for each of them; the second fence each owner's own, and those of
  single partitions left standing;
- the places of a commit taken at its end instead of its beginning; a commit that failed meanwhile overlooked;
- a watermark stated although one partition is behind; the wait blind to the view;
- the cursor read before the broker's fence, and moved before the commit; acknowledgements not waited for;
- a transactional id for each owner instead of one for the lane;
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
from datetime import timedelta

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced

from consent_ledger.domain.keyedhash import key_check
from consent_ledger.domain.suppression import purposes_key
from consent_ledger.relay import lane
from consent_ledger.relay.lane import Lane, take_over
from consent_ledger.relay.producer import FencedProducer, drop
from consent_ledger.relay.records import Records, UnknownControllerError
from consent_ledger.store import relay as store
from consent_ledger.store.relay import SNAPSHOT_ROWS, FencedError
from relay.stage import NOON, Stage, addresses, own, versions, watermarks

pytestmark = pytest.mark.usefixtures("never_due")

TakeOver = Callable[..., Awaitable[Lane | None]]


@pytest.fixture
async def taking(stage: Stage) -> AsyncIterator[TakeOver]:
    """Take a partition over, each time as another relay with a connection of its own."""
    taken: list[Lane] = []
    connections = []

    async def take(*qs: int) -> Lane | None:
        connection = await store.connect(stage.settings.dsn)
        connections.append(connection)
        owner = f"relay-{len(connections)}"
        found = await take_over(stage.settings, connection, Records(stage.keks), qs=qs or [0], owner=owner)
        taken.extend([found] if found else [])
        return found

    yield take
    for found in taken:
        await found.end()
    for connection in connections:
        connection.terminate()


@pytest.fixture
async def owner(taking: TakeOver) -> Lane:
    return await taken_by(taking)


async def taken_by(taking: TakeOver) -> Lane:
    found = await taking()
    assert found is not None
    return found


async def test_a_row_appears_under_its_key_as_readers_expect_it(stage: Stage, owner: Lane) -> None:
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


async def test_only_the_rows_of_its_own_partition_appear(stage: Stage, owner: Lane) -> None:
    here, elsewhere = stage.numbers_on(0, 3), stage.numbers_on(1, 3)
    await stage.put([*here, *elsewhere])

    await owner.step()

    assert {key for key, _ in addresses(await stage.read(0))} == {stage.key_of(number) for number in here}
    assert addresses(await stage.read(1)) == []


async def test_changes_of_one_address_between_two_looks_become_one_record(stage: Stage, owner: Lane) -> None:
    (number,) = stage.numbers_on(0, 1)
    await stage.put([number])
    newest = await stage.put([number], own=own(allow=True, reason="CONSENT"))

    await owner.step()

    assert versions(await stage.read(0), stage.key_of(number)) == [newest]


async def test_a_row_that_changed_behind_the_limit_is_sent_as_it_is_now(stage: Stage, owner: Lane) -> None:
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


async def test_a_controller_without_a_key_is_an_error(stage: Stage, owner: Lane) -> None:
    await stage.put(stage.numbers_on(0, 1))
    await stage.superuser.execute("UPDATE consent.view SET controller = 'nobody'")

    with pytest.raises(UnknownControllerError):
        await owner.step()

    assert await stage.read(0) == []


# -- the watermark


async def test_a_watermark_names_the_horizon_and_comes_behind_its_records(stage: Stage, owner: Lane) -> None:
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
    stage: Stage, owner: Lane
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
    stage: Stage, owner: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "_MARK_SECONDS", 0.0)
    await stage.state_horizon()

    await owner.step()
    await owner.step()

    assert len(watermarks(await stage.read(0))) == 1


# -- one owner at a time


async def test_nobody_takes_over_while_the_lease_lasts(stage: Stage, owner: Lane, taking: TakeOver) -> None:
    assert await taking() is None
    assert await stage.epoch(0) == owner.epoch


async def test_nobody_takes_over_a_part_of_what_has_an_owner(stage: Stage, owner: Lane, taking: TakeOver) -> None:
    assert await taking(0, 1) is None
    assert await stage.epoch(0) == owner.epoch
    assert await stage.epoch(1) == 0


async def test_partitions_taken_over_together_have_one_epoch_that_is_new_to_all(stage: Stage, taking: TakeOver) -> None:
    await stage.superuser.execute("UPDATE consent.relay_head SET epoch = 7 WHERE q = 1")

    found = await taking(0, 1)

    assert found is not None
    assert found.epoch == 8
    assert (await stage.epoch(0), await stage.epoch(1)) == (8, 8)


async def test_each_partition_gets_its_own_rows_and_the_watermark(stage: Stage, taking: TakeOver) -> None:
    numbers = {0: stage.numbers_on(0, 2), 1: stage.numbers_on(1, 3)}
    version = await stage.put([*numbers[0], *numbers[1]])
    await stage.state_horizon()
    both = await taking(0, 1)
    assert both is not None

    await both.step()
    await both.settle()

    for q, expected in numbers.items():
        records = await stage.read_after_commit(q)
        assert {key for key, _ in addresses(records)} == {stage.key_of(number) for number in expected}
        assert [mark["seq"] for mark in watermarks(records)] == [version]
        assert await stage.unsent(q) == 0


async def test_no_watermark_is_stated_anywhere_while_one_partition_is_behind(stage: Stage, taking: TakeOver) -> None:
    await stage.put([*stage.numbers_on(0, 1), *stage.numbers_on(1, SNAPSHOT_ROWS + 5)])
    await stage.state_horizon()
    both = await taking(0, 1)
    assert both is not None

    await both.step()
    early = watermarks(await stage.read(0)) + watermarks(await stage.read(1))
    await both.step()

    assert early == []
    assert len(watermarks(await stage.read(0))) == len(watermarks(await stage.read(1))) == 1


async def test_a_relay_that_had_a_fence_for_each_partition_is_shut_out_of_all(stage: Stage, taking: TakeOver) -> None:
    await store.add_partitions(stage.relay, 4)
    kafka, names = stage.settings.kafka(), [f"{stage.settings.topic_prefix}relay-{q}" for q in range(4)]
    old = [AIOKafkaProducer(**kafka, transactional_id=name) for name in names]
    for producer in old:
        await producer.start()
        await producer.begin_transaction()

    assert await taking(0, 1, 2, 3) is not None

    for producer in old:
        late = await producer.send(f"{stage.settings.topic_prefix}suppressions", b"late", partition=0)
        with pytest.raises(ProducerFenced):
            await late
        await drop(producer)


async def test_what_is_sent_during_a_commit_belongs_to_the_next_transaction(
    stage: Stage, owner: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, other = stage.numbers_on(0, 2)
    first = await stage.put([number])
    await owner.step()
    goes_on = asyncio.Event()
    commit = owner.producer._producer.commit_transaction

    async def commit_later() -> None:
        await goes_on.wait()
        await commit()

    monkeypatch.setattr(owner.producer._producer, "commit_transaction", commit_later)
    monkeypatch.setattr(owner, "_settle_at", 0.0)
    await owner.step()
    await stage.put([other])
    await owner.step()
    during = (await stage.cursor(0), versions(await stage.read(0), stage.key_of(other)))
    goes_on.set()
    settling = owner._settling
    assert settling is not None
    await settling
    settled = (await stage.cursor(0), await stage.unsent(0))
    await owner.settle()

    assert during == (0, [first + 1])
    assert settled == (first, 1)
    assert (await stage.cursor(0), await stage.unsent(0)) == (first + 1, 0)
    assert len(addresses(await stage.read_after_commit(0))) == 2


async def test_a_commit_that_fails_meanwhile_ends_the_ownership(
    stage: Stage, owner: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.put(stage.numbers_on(0, 1))
    await owner.step()
    await abort_from_outside(stage)
    monkeypatch.setattr(owner, "_settle_at", 0.0)
    await owner.step()
    settling = owner._settling
    assert settling is not None
    await asyncio.wait({settling})

    with pytest.raises(KafkaError):
        await owner.step()

    assert await stage.cursor(0) == 0


@pytest.mark.parametrize("turns", [0, 1])
async def test_the_predecessor_is_refused_whosever_turn_it_is(
    stage: Stage, owner: Lane, taking: TakeOver, turns: int
) -> None:
    for _ in range(turns):
        await stage.put(stage.numbers_on(0, 1))
        await owner.step()
        await owner.settle()
    await stage.let_leases_pass()
    await taken_by(taking)

    with pytest.raises(ProducerFenced):
        await owner.producer.send({0: [(b"late", b"late")]})


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
    stage: Stage, owner: Lane, taking: TakeOver
) -> None:
    (number,) = stage.numbers_on(0, 1)
    await stage.put([number])
    await owner.step()
    await stage.let_leases_pass()
    successor = await taken_by(taking)
    newest = await stage.put([number])
    await successor.step()

    with pytest.raises(ProducerFenced):
        await owner.producer.send({0: [(stage.key_of(number), b"late")]})

    assert versions(await stage.read(0), stage.key_of(number))[1:] == [newest]
    assert b"late" not in {record.value for record in await stage.read(0)}


async def test_an_owner_whose_epoch_has_passed_sends_nothing_more(stage: Stage, owner: Lane) -> None:
    await stage.put(stage.numbers_on(0, 1))
    await stage.superuser.execute("UPDATE consent.relay_head SET epoch = epoch + 1")

    with pytest.raises(FencedError):
        await owner.step()

    assert await stage.read(0) == []


async def test_an_owner_whose_epoch_has_passed_moves_no_cursor(stage: Stage, owner: Lane) -> None:
    await stage.put(stage.numbers_on(0, 1))
    await owner.step()
    await stage.superuser.execute("UPDATE consent.relay_head SET epoch = epoch + 1")

    with pytest.raises(FencedError):
        await owner.settle()

    assert (await stage.cursor(0), await stage.unsent(0)) == (0, 1)


async def test_the_broker_refuses_the_predecessor_before_the_place_is_read(
    stage: Stage, owner: Lane, taking: TakeOver, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[type[BaseException]] = []
    read_cursors = store.cursors

    async def read_after_a_late_send(*args: object) -> dict[int, int]:
        try:
            await owner.producer.send({0: [(b"late", b"late")]})
        except KafkaError as error:
            refused.append(type(error))
        return await read_cursors(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "cursors", read_after_a_late_send)
    await stage.let_leases_pass()

    await taken_by(taking)

    assert refused == [ProducerFenced]


# -- the cursor


async def test_the_cursor_moves_behind_a_commit_and_forgets_what_is_published(stage: Stage, owner: Lane) -> None:
    numbers = stage.numbers_on(0, 3)
    version = await stage.put(numbers)
    await owner.step()
    before = (await stage.cursor(0), await stage.unsent(0), await stage.read(0, committed=True))

    await owner.settle()

    assert before == (0, 3, [])
    assert (await stage.cursor(0), await stage.unsent(0)) == (version, 0)
    assert len(addresses(await stage.read_after_commit(0))) == 3


async def test_the_cursor_stays_when_the_transaction_is_aborted_and_the_successor_sends_again(
    stage: Stage, owner: Lane, taking: TakeOver
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
    stage: Stage, owner: Lane, taking: TakeOver, monkeypatch: pytest.MonkeyPatch
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
    stage: Stage, owner: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.put(stage.numbers_on(0, 1))
    # Random, so that compression leaves it too large for the topic.
    too_large = random.Random(1).randbytes(3 << 20)

    async def make(*_args: object) -> list[tuple[bytes, bytes]]:
        return [(b"key", too_large)]

    monkeypatch.setattr(owner._records, "make", make)

    with pytest.raises(KafkaError):
        await owner.step()

    assert owner.sent == {0: 0}
    assert await stage.cursor(0) == 0


# -- resend


async def test_what_is_asked_for_again_is_sent_as_it_is_now_and_the_request_forgotten(
    stage: Stage, owner: Lane
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


@pytest.mark.parametrize(
    "change", ["UPDATE consent.view_head SET seq = seq + 1", "UPDATE consent.horizon SET instant = now()"]
)
async def test_a_rest_ends_as_soon_as_view_or_horizon_have_changed(
    stage: Stage, owner: Lane, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(lane, "_PATIENCE", timedelta(seconds=9))
    await owner.step()

    rest = asyncio.create_task(owner.rest())
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    while not await stage.superuser.fetchval(asleep):
        assert not rest.done()
    await stage.superuser.execute(change)

    await asyncio.wait_for(rest, timeout=5)


async def test_a_rest_ends_at_once_when_the_view_has_changed_since_it_was_looked_at(
    stage: Stage, owner: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "_PATIENCE", timedelta(seconds=9))
    await owner.step()
    await stage.put(stage.numbers_on(1, 1))

    await asyncio.wait_for(owner.rest(), timeout=5)


async def test_what_is_unsent_is_found_by_index_whatever_the_statistics_say(stage: Stage) -> None:
    await stage.put(stage.numbers_on(0, SNAPSHOT_ROWS))
    connection = await store.connect(stage.settings.dsn)

    plan = await connection.fetch(f"EXPLAIN {store._SQL['snapshots']}", [0], 0, [0])
    connection.terminate()

    nodes = " ".join(line["QUERY PLAN"] for line in plan)
    assert not [node for node in ("Seq Scan", "Bitmap", "Hash", "Sort") if node in nodes]


def test_the_number_of_rows_in_a_snapshot_is_that_of_the_statement() -> None:
    assert store._SQL["snapshots"].count(f"LIMIT {SNAPSHOT_ROWS})") == 2
