"""Recorders come and go, and every record is taken once, under the register in force, by the owner of its shard.

Seen to fail: the topics not looked at; shards not released; a shard never taken over from an owner that hangs; the
register not read again when it has moved; control records appended together; a fault of ours in reading a register
left to stop the shard; `valid_from` passed over; shards let go on a connection that a poll still uses.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from builders import REGISTER, email, encode, event, given, objected, register_loaded, withdrawn
from consent_ledger.recorder.app import WrongTopicsError
from recorder.reading import outcome, require_balance, subjects
from running import Installation, Place, installation, serving, until

SHORT_LEASE_SECONDS = 1.0


@pytest.fixture
async def fresh(kafka: str, postgres: str, template: str, tmp_path: Path) -> AsyncIterator[Installation]:
    """An installation of this test's own, with a lease that no test waits for."""
    async with installation(kafka, postgres, template, tmp_path, lease_seconds=60.0) as home:
        yield home


async def owners(home: Installation) -> dict[int, str]:
    rows = await home.fetch("SELECT shard, owner FROM shard_head WHERE lease_until > clock_timestamp()")
    return {row["shard"]: row["owner"] for row in rows}


async def owns_all(home: Installation) -> bool:
    return len(await owners(home)) == home.settings.partitions + 1


async def set_on_topic(home: Installation, name: str, **settings: str) -> None:
    """Set these on a topic, and nothing else that was set on it before."""
    configs = {setting.replace("_", "."): value for setting, value in settings.items()}
    admin = AIOKafkaAdminClient(**home.settings.kafka())
    await admin.start()
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, home.settings.topic_prefix + name, configs)])
    await admin.close()


# -- starting


async def test_a_recorder_refuses_to_start_where_publishers_date_the_records(fresh: Installation) -> None:
    await set_on_topic(fresh, "events", message_timestamp_type="CreateTime", retention_ms="604800000")

    with pytest.raises(WrongTopicsError, match=r"events: message\.timestamp\.type is CreateTime"):
        await asyncio.wait_for(fresh.recorder().run(), 20)

    assert await fresh.fetch("TABLE shard_head") == []


async def test_a_recorder_refuses_to_start_without_its_topics(fresh: Installation) -> None:
    with pytest.raises(WrongTopicsError, match=r"elsewhere\.control: partitions is missing"):
        await asyncio.wait_for(fresh.recorder(topic_prefix="elsewhere.").run(), 20)


async def test_records_that_were_there_before_the_first_recorder_are_taken(fresh: Installation) -> None:
    place = await fresh.publish(given())

    async with serving(fresh.recorder().run()) as recorder:
        await fresh.recorded(place, service=recorder)

    await require_balance(fresh)


# -- owning


async def test_a_second_recorder_stands_by_and_takes_over_from_one_that_hangs(fresh: Installation) -> None:
    first = fresh.recorder(instance="first", lease_seconds=SHORT_LEASE_SECONDS)
    second = fresh.recorder(instance="second", lease_seconds=SHORT_LEASE_SECONDS)
    hang, hangs, woken = asyncio.Event(), asyncio.Event(), asyncio.Event()
    polls = first._before_poll

    async def hangs_when_told(consumer: Any) -> Any:
        if hang.is_set():
            hangs.set()
            await woken.wait()
        return await polls(consumer)

    first._before_poll = hangs_when_told  # type: ignore[method-assign]
    async with serving(first.run()):
        before = await fresh.publish(given())
        await fresh.recorded(before)
        hang.set()
        await hangs.wait()
        async with serving(second.run()) as running:
            after = await fresh.publish(given())
            await fresh.recorded(after, service=running)
            owner = (await fresh.fetch("SELECT owner FROM shard_head WHERE shard = 1"))[0]["owner"]
            woken.set()
            last = await fresh.publish(given())
            await fresh.recorded(last, service=running)

    assert owner.startswith("second/")
    assert all([(await outcome(fresh, place)).entry for place in (before, after, last)])
    await require_balance(fresh)


async def test_a_recorder_that_is_told_to_stop_lets_its_shards_go_at_once(fresh: Installation) -> None:
    async with serving(fresh.recorder(instance="first").run()):
        await until(lambda: owns_all(fresh))

    assert await owners(fresh) == {}
    async with serving(fresh.recorder(instance="second").run()) as second:
        # Long before the lease of the first would have passed.
        await fresh.recorded(await fresh.publish(given()), service=second)


async def test_a_recorder_that_is_told_to_stop_within_an_append_lets_it_end_first(fresh: Installation) -> None:
    async with serving(fresh.recorder().run()) as recorder:
        await until(lambda: owns_all(fresh))
        async with fresh.appends_held_up():
            recorder.cancel()
            await asyncio.sleep(0)

    assert await fresh.next_offset(1) == 1
    assert await owners(fresh) == {}
    await require_balance(fresh)


async def test_a_recorder_that_is_told_to_stop_while_a_poll_appends_lets_its_shards_go(fresh: Installation) -> None:
    topic, partition = fresh.partition(1)
    async with serving(fresh.recorder().run()) as recorder:
        await until(lambda: owns_all(fresh))
        await fresh.fetch("SELECT pg_advisory_lock(hashtext('consent.register'))")
        # Nothing of it is ever taken, so it is the next poll that moves the offset on.
        async with AIOKafkaProducer(
            **fresh.settings.kafka(), transactional_id=fresh.settings.topic_prefix
        ) as publisher:
            await publisher.begin_transaction()
            await publisher.send_and_wait(topic, encode(given()), partition=partition)
            await publisher.abort_transaction()
        await until(lambda: fresh.fetch("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        recorder.cancel()

    assert await owners(fresh) == {}


async def test_two_recorders_share_the_shards_as_they_are_told(fresh: Installation) -> None:
    async with (
        serving(fresh.recorder(instance="first", shards="0-1").run()),
        serving(fresh.recorder(instance="second", shards="2").run()),
    ):
        await until(lambda: owns_all(fresh))
        places = [await fresh.publish(given(), shard=shard) for shard in (1, 2)]
        await fresh.recorded(*places)
        found = await owners(fresh)

    assert {shard: owner.partition("/")[0] for shard, owner in found.items()} == {0: "first", 1: "first", 2: "second"}


async def test_a_recorder_whose_connection_is_cut_goes_on_and_repeats_nothing(fresh: Installation) -> None:
    async with serving(fresh.recorder().run()) as recorder:
        await fresh.recorded(await fresh.publish(given()), service=recorder)
        for _ in range(3):
            cut = await fresh.fetch(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'consent_recorder' AND datname = current_database()"
            )
            assert cut
            await fresh.recorded(await fresh.publish(given()), service=recorder)

    await require_balance(fresh)
    assert len(await fresh.fetch("SELECT FROM ledger")) == 4


async def test_an_answer_lost_after_the_commit_repeats_nothing(
    fresh: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from consent_ledger.store import ledger  # noqa: PLC0415 - patched here and nowhere else

    append = ledger.append
    lost = 0

    async def loses_the_answer(*arguments: Any) -> Any:
        nonlocal lost
        recorded_at = await append(*arguments)
        lost += 1
        if lost < 3:
            raise ConnectionResetError("the answer was lost")
        return recorded_at

    monkeypatch.setattr(ledger, "append", loses_the_answer)
    async with serving(fresh.recorder().run()) as recorder:
        for _ in range(4):
            await fresh.recorded(await fresh.publish(given()), service=recorder)

    assert lost == 4
    await require_balance(fresh)
    assert len(await fresh.fetch("SELECT FROM ledger")) == 4


# -- the register


async def test_what_comes_before_any_register_is_recorded_and_flagged(fresh: Installation) -> None:
    async with serving(fresh.recorder().run()) as recorder:
        early = await fresh.publish(objected())
        await fresh.recorded(early, service=recorder)
        await fresh.recorded(await fresh.load_register(), service=recorder)
        late = await fresh.publish(objected())
        await fresh.recorded(late, service=recorder)

    found = await outcome(fresh, early)
    assert (found.became, found.reason) == ("synthetic", "NO_CONTROLLER")
    assert await subjects(fresh, early) == {}
    assert (await subjects(fresh, late)).keys() == {"shop-be", "shop-nl"}


async def test_every_entry_carries_the_register_in_force_whichever_recorder_loaded_it(fresh: Installation) -> None:
    newer = {
        "controllers": {"bakery-be": {"name": "Bakery BE"}},
        "sources": {"web:bakery-be": {"controllers": ["bakery-be"]}},
    }
    async with (
        serving(fresh.recorder(instance="loads", shards="0").run()) as loads,
        serving(fresh.recorder(instance="appends", shards="1-2").run()) as appends,
    ):
        await fresh.recorded(await fresh.load_register(), service=loads)
        first = await fresh.publish(given(email("an@example.be")))
        await fresh.recorded(first, service=appends)
        await fresh.recorded(await fresh.load_register(newer), service=loads)
        second = await fresh.publish(withdrawn(controllers=["bakery-be"], source="web:bakery-be"))
        third = await fresh.publish(given())
        await fresh.recorded(second, third, service=appends)

    versions = [(await outcome(fresh, place)).entry["register_version"] for place in (first, second, third)]  # type: ignore[index]
    assert versions == [1, 2, 2]
    assert (await subjects(fresh, second)).keys() == {"bakery-be"}
    assert (await subjects(fresh, third)).keys() == {"shop-be"}


async def test_loads_in_one_batch_come_into_force_one_after_the_other(fresh: Installation) -> None:
    purpose = {**REGISTER["purposes"][0], "id": "sale-alert"}
    loads = await fresh.publish_together(
        register_loaded(), event("purpose-registered", source="operator", purpose=purpose), shard=0
    )

    async with serving(fresh.recorder().run()) as recorder:
        await fresh.recorded(*loads, service=recorder)

    rows = await fresh.fetch("SELECT version, pos, jsonb_array_length(document -> 'purposes') FROM register ORDER BY 1")
    assert [tuple(row) for row in rows] == [(1, 0, 3), (2, 1, 4)]
    entries = await fresh.fetch("SELECT register_version FROM ledger ORDER BY pos")
    assert [row["register_version"] for row in entries] == [1, 2]


WRONG_REGISTERS = {
    "a basis that there is not": {"purposes": [{"controller": "shop-be", "id": "mail", "basis": "whim"}]},
    "no object": {"controllers": []},
    "a name that is none": {"purposes": [{"controller": [], "id": "mail", "basis": "consent"}]},
}


@pytest.mark.parametrize("wrong", WRONG_REGISTERS.values(), ids=WRONG_REGISTERS.keys())
async def test_a_register_that_is_wrong_is_rejected_whole_and_the_one_before_stays(
    fresh: Installation, wrong: dict[str, Any]
) -> None:
    async with serving(fresh.recorder().run()) as recorder:
        await fresh.recorded(await fresh.load_register(), service=recorder)
        refused = await fresh.load_register(wrong)
        await fresh.recorded(refused, service=recorder)

    found = await outcome(fresh, refused)
    assert (found.became, found.reason) == ("rejected", "BAD_REGISTER")
    assert len(await fresh.fetch("TABLE register")) == 1


async def test_a_fault_of_ours_in_reading_a_register_rejects_it_and_does_not_stop_the_shard(
    fresh: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("consent_ledger.domain.register.parse", fails)
    async with serving(fresh.recorder().run()) as recorder:
        refused = await fresh.load_register()
        await fresh.recorded(refused, service=recorder)

    found = await outcome(fresh, refused)
    assert found.quarantined is not None
    assert (found.reason, found.quarantined["detail"]) == (
        "BAD_REGISTER",
        "ZeroDivisionError while reading the register",
    )


async def test_a_register_load_that_comes_again_is_no_new_version(fresh: Installation) -> None:
    said = register_loaded()
    async with serving(fresh.recorder().run()) as recorder:
        first = await fresh.publish(said, shard=0)
        again = await fresh.publish(said, shard=0)
        await fresh.recorded(first, again, service=recorder)

    assert (await outcome(fresh, again)).became == "duplicate"
    assert len(await fresh.fetch("TABLE register")) == 1


async def test_a_register_may_say_of_itself_when_it_is_valid(fresh: Installation) -> None:
    async with serving(fresh.recorder().run()) as recorder:
        place: Place = await fresh.publish(register_loaded(valid_from="2026-01-01T00:00:00Z"), shard=0)
        await fresh.recorded(place, service=recorder)

    rows = await fresh.fetch("SELECT valid_from FROM register")
    assert [row["valid_from"].isoformat() for row in rows] == ["2026-01-01T00:00:00+00:00"]
