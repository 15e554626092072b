"""The copy follows the topic: from its beginning, from where it stood, and from anew when the topic is another.

Seen to fail: rows of a generation before kept after copying anew, or taken for newer ones; a topic made anew that has
grown past the copy not told from the old one; a watermark that falls passed over; the copy complete before all
partitions are; damage passed over; records from strangers passed over; the number of a lock closed that is another
file's.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from client.conftest import Topic
from client.processes import in_another_process
from client.topic import KEY, NOW, SHOP, Clock, address, no, purposes, watermark, yes
from consent_ledger.client import Decision, SuppressionView
from consent_ledger.client.local import DAMAGED
from running import until

AN = "an@example.be"
BO = "bo@example.be"
YES = {"newsletter": {"email": yes()}}
NO = {"newsletter": {"email": no("OBJECTION_DM")}}


@asynccontextmanager
async def following(topic: Topic, path: Path, clock: Clock | None = None) -> AsyncIterator[SuppressionView]:
    async with SuppressionView(path, [KEY], topic.kafka, topic=topic.name, clock=clock or Clock()) as view:
        yield view


def asked(view: SuppressionView, value: str = AN) -> tuple[bool, str]:
    decision: Decision = view.decide(SHOP, value, "newsletter", "email")
    return decision.allow, decision.reason


async def turns(view: SuppressionView, reason: str, value: str = AN) -> None:
    async def has_turned() -> bool:
        return asked(view, value)[1] == reason

    await until(has_turned)


async def test_a_view_that_has_stopped_closes_nothing_of_a_child_that_is_forked_later(
    topic: Topic, tmp_path: Path
) -> None:
    await topic.publish(purposes(), address(AN, YES))
    view = SuppressionView(tmp_path, [KEY], topic.kafka, topic=topic.name, clock=Clock())
    async with view:
        await topic.publish_everywhere([watermark()])
        await view.ready(20)
        number = view._lock
    assert number is not None
    # The number is another file's by now.
    with (tmp_path / "other").open("wb") as other:
        os.dup2(other.fileno(), number)
        view._pid = 0

        view.copy()

        assert os.fstat(number) == os.fstat(other.fileno())
    os.close(number)
    view.close()


async def test_a_view_copies_the_topic_and_follows_it(topic: Topic, tmp_path: Path) -> None:
    await topic.publish(purposes(), address(AN, YES))
    async with following(topic, tmp_path) as view:
        early = asked(view)
        await topic.publish_everywhere([watermark()])
        await view.ready(20)
        allowed = asked(view)
        await topic.publish(address(AN, NO, version=2), q=0)
        await turns(view, "OBJECTION_DM")

    assert early[0] is False
    assert allowed == (True, "CONSENT")


async def test_a_copy_is_not_complete_before_every_partition_is(topic: Topic, tmp_path: Path) -> None:
    await topic.publish(purposes(), address(AN, YES), watermark(), q=0)
    async with following(topic, tmp_path) as view:
        await until(lambda: _holds(lambda: _rows(view) == 1))
        without = asked(view)
        await topic.publish(watermark(), q=1)
        await view.ready(20)

        assert without == (False, "UNAVAILABLE")
        assert asked(view) == (True, "CONSENT")


async def test_a_view_that_starts_again_goes_on_from_its_copy(topic: Topic, tmp_path: Path) -> None:
    await topic.publish(purposes(), address(AN, YES))
    await topic.publish_everywhere([watermark()])
    async with following(topic, tmp_path) as view:
        await view.ready(20)
    await topic.publish(address(BO, YES))

    async with following(topic, tmp_path) as again:
        at_once = asked(again)
        await turns(again, "CONSENT", BO)
        with again.copy().reading() as reading:
            generation = reading.head().generation

    assert at_once == (True, "CONSENT")
    assert generation == 1


async def test_a_topic_made_anew_is_copied_anew_and_what_it_lacks_is_swept(topic: Topic, tmp_path: Path) -> None:
    await topic.publish(purposes(), address(AN, YES), address(BO, YES))
    await topic.publish_everywhere([watermark()])
    async with following(topic, tmp_path) as view:
        await view.ready(20)
        assert asked(view) == (True, "CONSENT")
    await topic.delete()
    await topic.create()
    await topic.publish(purposes(), address(BO, NO))
    await topic.publish_everywhere([watermark(NOW + timedelta(seconds=1))])

    async with following(topic, tmp_path) as again:
        await turns(again, "OBJECTION_DM", BO)

        assert asked(again, AN) == (False, "CONSENT_ABSENT")


async def test_a_topic_made_anew_that_has_grown_past_the_copy_is_told_from_the_old_one(
    topic: Topic, tmp_path: Path
) -> None:
    await topic.publish(purposes(), address(AN, YES))
    await topic.publish_everywhere([watermark(), watermark(seq=2)])
    async with following(topic, tmp_path) as view:
        await view.ready(20)
    await topic.delete()
    await topic.create()
    await topic.publish(purposes(), address(AN, NO, version=2), *[address(BO, YES, version=n) for n in range(10, 20)])
    await topic.publish_everywhere([watermark(seq=number) for number in range(3, 9)])

    async with following(topic, tmp_path) as again:
        await turns(again, "OBJECTION_DM")


async def test_a_ledger_that_was_restored_behind_the_topic_is_copied_anew(topic: Topic, tmp_path: Path) -> None:
    await topic.publish(purposes(), address(AN, YES), watermark(seq=50))
    await topic.publish(watermark(seq=50), q=1)
    async with following(topic, tmp_path) as view:
        await view.ready(20)
        copy_id = _copy_id(view)
        await topic.publish(watermark(seq=49))
        await until(lambda: _holds(lambda: _copy_id(view) != copy_id))

        await view.ready(20)
        assert asked(view) == (True, "CONSENT")


async def test_a_damaged_copy_is_made_anew(topic: Topic, tmp_path: Path) -> None:
    await topic.publish(purposes(), address(AN, YES))
    await topic.publish_everywhere([watermark()])
    async with following(topic, tmp_path) as view:
        await view.ready(20)
        copy = view.copy()
        with copy.environment.begin(write=True) as transaction:
            transaction.put(KEY.hash("email", AN), b"damaged", db=copy._dbs[b"rows"])
        damaged = asked(view)
        await turns(view, "CONSENT")

    assert damaged == (False, "UNAVAILABLE")
    assert not (tmp_path / DAMAGED).exists()


async def test_what_strangers_write_stops_every_yes(topic: Topic, tmp_path: Path) -> None:
    await topic.publish(purposes(), address(AN, YES))
    await topic.publish_everywhere([watermark()])
    async with following(topic, tmp_path) as view:
        await view.ready(20)
        await topic.publish((b"shop-be/email/00", b"no record"))

        await turns(view, "UNAVAILABLE")


async def test_workers_share_one_copy_and_another_takes_over_from_one_that_was_killed(
    topic: Topic, tmp_path: Path
) -> None:
    await topic.publish(purposes(), address(AN, YES))
    await topic.publish_everywhere([watermark()])
    async with in_another_process(
        "client.holder", str(tmp_path), topic.kafka["bootstrap_servers"], topic.name
    ) as first:
        assert await first.said() == "ready"
        async with following(topic, tmp_path) as second:
            await second.ready(30)
            shared = asked(second)
            await topic.publish(address(AN, NO, version=2))
            await turns(second, "OBJECTION_DM")
            await first.kill()
            await topic.publish(address(AN, YES, version=3))

            await turns(second, "CONSENT")
    assert shared == (True, "CONSENT")


async def test_a_view_can_be_used_without_an_event_loop(topic: Topic, tmp_path: Path) -> None:
    await topic.publish(purposes(), address(AN, YES))
    await topic.publish_everywhere([watermark()])

    def use() -> tuple[bool, str]:
        with SuppressionView(tmp_path, [KEY], topic.kafka, topic=topic.name, clock=Clock()) as view:
            view.wait_ready(20)
            return asked(view)

    assert await asyncio.to_thread(use) == (True, "CONSENT")


async def test_waiting_for_a_topic_that_is_not_there_ends_with_a_timeout(topic: Topic, tmp_path: Path) -> None:
    async with SuppressionView(tmp_path, [KEY], topic.kafka, topic=f"{topic.name}-missing") as view:
        with pytest.raises(TimeoutError):
            await view.ready(0.5)
        assert asked(view) == (False, "UNAVAILABLE")


async def _holds(holds: Callable[[], bool]) -> bool:
    return holds()


def _rows(view: SuppressionView) -> int:
    with view.copy().reading() as reading:
        return reading.head().rows


def _copy_id(view: SuppressionView) -> str:
    with view.copy().reading() as reading:
        return reading.head().id
