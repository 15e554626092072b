"""One batch is one transaction: positions without gaps, by the owner alone, from exactly the next offset on.

Seen to fail: the epoch not compared; the offset not compared; the register version not compared; positions that go on
by offsets; the clock's word taken although it had gone back; the clock not asked; the instant of recording not
remembered; the place of the last record forgotten by a batch of holes; holes counted by ranges; ids that are taken
passed over, of few and of many; ids of the batch itself reported as taken; the synthetic entry's place left out of
quarantine; instants left to the driver, which makes infinities of the first and the last one.
"""

import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from consent_ledger.domain.leaf import leaf_hash
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import ledger
from consent_ledger.store.ledger import (
    Duplicate,
    FencedError,
    IdsTakenError,
    LastRecord,
    MovedError,
    RegisterMovedError,
)
from running import SettableClock
from store.drafts import LEASE, NOON, append, batch, claimed, draft, load, quarantined

pytestmark = pytest.mark.usefixtures("size")


async def test_positions_are_gapless_from_zero_whatever_the_offsets(recorder: Connection) -> None:
    await claimed(recorder)

    await append(recorder, batch(draft(0), draft(1)))
    await append(recorder, batch(first=2, next_offset=5, holes=[(2, 5)]))
    await append(recorder, batch(draft(6), first=5, rejected=[quarantined(5)]))
    await append(recorder, batch(draft(8), first=7, duplicates=[Duplicate(offset=7, event_id=uuid.UUID(int=1))]))

    rows = await recorder.fetch("SELECT pos, k_offset FROM ledger ORDER BY pos")
    head = await recorder.fetchrow("SELECT * FROM shard_head")
    assert [tuple(row) for row in rows] == [(0, 0), (1, 1), (2, 6), (3, 8)]
    assert head is not None
    assert (head["next_pos"], head["next_offset"]) == (4, 9)
    assert (head["holes"], head["rejected"], head["duplicates"]) == (3, 1, 1)


async def test_an_entry_stands_in_all_its_tables_under_one_place(recorder: Connection) -> None:
    await claimed(recorder, start=3)
    people = (("shop-be", uuid.UUID(int=1), b"one"), ("shop-nl", uuid.UUID(int=2), b"two"))
    subjects = (
        ("shop-be", 0, "old", "email", False, b"a"),
        ("shop-be", 1, "new", "phone", True, b"b"),
        ("shop-nl", 0, "old", "email", False, b"c"),
    )
    one = draft(4, subjects=subjects, payloads=people, tags=bytes(64), quarantined=quarantined(4, "BAD_TIME"))

    recorded_at = await append(recorder, batch(draft(3), one, first=3, next_offset=5), SettableClock(NOON))

    entry = await recorder.fetchrow("SELECT * FROM ledger WHERE pos = 1")
    assert entry is not None
    assert entry["leaf_hash"] == leaf_hash(
        shard=1,
        position=1,
        event_id=one.event_id,
        type=one.type,
        occurred_at=NOON,
        recorded_at=recorded_at,
        offset=4,
        register_version=0,
        body=one.body,
        commitment=one.commitment,
        tags=bytes(64),
    )
    assert await recorder.fetchval("SELECT (shard, pos) FROM event WHERE event_id = $1", one.event_id) == (1, 1)
    stored = await recorder.fetch("SELECT * FROM entry_subject WHERE pos = 1 ORDER BY controller, ordinal")
    assert tuple(tuple(row)[2:] for row in stored) == subjects
    sealed = await recorder.fetch("SELECT controller, person, ciphertext FROM payload WHERE pos = 1 ORDER BY 1")
    assert tuple(tuple(row) for row in sealed) == people
    kept = await recorder.fetchrow("SELECT k_offset, pos, reason, record FROM quarantine")
    assert kept is not None
    assert tuple(kept) == (4, 1, "BAD_TIME", b"ciphertext")


@pytest.mark.parametrize(
    "occurred_at", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]
)
async def test_the_first_and_the_last_instant_come_back_as_they_were(
    recorder: Connection, occurred_at: datetime
) -> None:
    await claimed(recorder)

    await append(recorder, batch(draft(occurred_at=occurred_at)))

    assert await recorder.fetchval("SELECT occurred_at FROM ledger") == occurred_at


async def test_an_event_that_tells_no_time_happened_when_it_was_recorded(recorder: Connection) -> None:
    await claimed(recorder)

    await append(recorder, batch(draft(occurred_at=None)), SettableClock(NOON))

    assert await recorder.fetchval("SELECT occurred_at FROM ledger") == NOON


async def test_recorded_at_never_falls_within_a_shard_although_the_clock_does(recorder: Connection) -> None:
    await claimed(recorder)
    clock = SettableClock(NOON)

    first = await append(recorder, batch(draft(0)), clock)
    clock.instant = NOON - timedelta(days=1)
    second = await append(recorder, batch(draft(1), first=1), clock)
    clock.instant = NOON + timedelta(seconds=1)
    third = await append(recorder, batch(draft(2), first=2), clock)

    assert (first, second, third) == (NOON, NOON, NOON + timedelta(seconds=1))
    rows = await recorder.fetch("SELECT recorded_at FROM ledger ORDER BY pos")
    assert [row["recorded_at"] for row in rows] == [first, second, third]


async def test_without_a_clock_of_a_test_the_database_tells_the_time(recorder: Connection) -> None:
    await claimed(recorder)

    recorded_at = await append(recorder, batch(draft()))

    now = await recorder.fetchval("SELECT clock_timestamp()")
    assert now - timedelta(seconds=10) < recorded_at <= now


async def test_a_predecessor_that_has_connected_again_appends_nothing(
    recorder: Connection, second: Connection, superuser: Connection
) -> None:
    first = await claimed(second)
    await superuser.execute("UPDATE consent.shard_head SET owner_pid = NULL, lease_until = '-infinity'")
    successor = await claimed(second, owner="second")

    with pytest.raises(FencedError):
        await append(recorder, batch(draft(), epoch=first.epoch))

    assert await recorder.fetchval("SELECT count(*) FROM ledger") == 0
    await append(second, batch(draft(), epoch=successor.epoch))


@pytest.mark.parametrize("first", [1, 3])
async def test_a_batch_counts_only_from_the_very_next_offset(recorder: Connection, first: int) -> None:
    await claimed(recorder)
    await append(recorder, batch(draft(0), draft(1)))

    with pytest.raises(MovedError) as moved:
        await append(recorder, batch(draft(first), draft(first + 1), first=first))

    assert moved.value.next_offset == 2
    assert await recorder.fetchval("SELECT max(k_offset) FROM ledger") == 1


async def test_a_batch_prepared_under_an_older_register_is_refused(recorder: Connection) -> None:
    await claimed(recorder, 0)
    await claimed(recorder, 1)
    await append(recorder, batch(load(), shard=0))

    with pytest.raises(RegisterMovedError):
        await append(recorder, batch(draft()))

    await append(recorder, batch(draft(), register_version=1))
    versions = await recorder.fetch("SELECT register_version FROM ledger ORDER BY shard")
    assert [row["register_version"] for row in versions] == [1, 1]


async def test_a_register_is_in_force_from_its_own_entry_on(recorder: Connection) -> None:
    await claimed(recorder, 0)

    await append(recorder, batch(load(), shard=0), SettableClock(NOON))

    assert await ledger.register_version(recorder) == 1
    assert await ledger.read_register(recorder) == (1, {"controllers": {}})
    row = await recorder.fetchrow("SELECT shard, pos, valid_from, recorded_at FROM register")
    assert row is not None
    assert tuple(row) == (0, 0, NOON, NOON)


async def test_ids_that_are_taken_are_told_with_what_they_stand_for_and_nothing_is_written(
    recorder: Connection,
) -> None:
    await claimed(recorder, 1)
    await claimed(recorder, 2)
    known, fresh = draft(digest=b"\x01" * 32), draft(1)
    await append(recorder, batch(known, fresh))

    with pytest.raises(IdsTakenError) as refused:
        await append(recorder, batch(draft(0), draft(1, event_id=known.event_id), draft(2), shard=2))

    assert refused.value.taken == {known.event_id: b"\x01" * 32}
    assert await recorder.fetchval("SELECT count(*) FROM ledger") == 2
    assert await recorder.fetchval("SELECT count(*) FROM event") == 2


async def test_the_accounts_of_a_shard_must_balance(recorder: Connection) -> None:
    await claimed(recorder)

    with pytest.raises(asyncpg.CheckViolationError):
        await append(recorder, batch(draft(0), next_offset=2))

    assert await recorder.fetchval("SELECT next_offset FROM shard_head") == 0


async def test_the_last_record_is_remembered_over_a_batch_that_holds_none(recorder: Connection) -> None:
    await claimed(recorder)
    last = LastRecord(offset=0, timestamp=17, digest=b"digest")

    await append(recorder, batch(draft(0), last=last))
    await append(recorder, batch(first=1, next_offset=2, holes=[(1, 2)]))

    claim = await ledger.claim(recorder, 1, "first", LEASE)
    assert claim is not None
    assert (claim.last, claim.next_offset) == (last, 2)
