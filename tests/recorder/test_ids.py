"""An event id stands for one content for ever: what comes again counts once, and a re-used id grants nothing.

Seen to fail: a refusal under a taken id rejected; a permission under a taken id renamed; every repetition taken for a
duplicate; the renamed refusal without `conflicts_with`, with an id made at random, and with a digest of its new form;
the ids of the batch itself not looked at.
"""

import uuid
from typing import Any

import pytest

from builders import encode, given, withdrawn
from recorder.reading import Outcome, kept_record, opened_payloads, outcome, require_balance, subjects
from running import Installation, Place


def binary(said: dict[str, Any]) -> tuple[bytes, list[tuple[str, bytes | None]]]:
    """The same event in binary mode: the attributes stand in headers."""
    attributes = [(f"ce_{name}", str(value).encode()) for name, value in said.items() if name != "data"]
    return encode(said["data"]), [("content-type", b"application/json"), *attributes]


async def take(home: Installation, *said: Any, shards: tuple[int, ...] = (1, 1, 1)) -> list[Outcome]:
    """Publish one after the other, each when the one before has been recorded."""
    found = []
    for one, shard in zip(said, shards, strict=False):
        place = await home.publish(one, shard=shard)
        await home.recorded(place)
        found.append(await outcome(home, place))
    return found


@pytest.mark.parametrize("shards", [(1, 1), (1, 2)], ids=["the same shard", "another shard"])
async def test_an_event_that_comes_again_counts_once(home: Installation, shards: tuple[int, int]) -> None:
    said = given()

    first, again = await take(home, said, said, shards=shards)

    assert (first.became, again.became) == ("entry", "duplicate")
    assert again.duplicate_of == uuid.UUID(said["id"])


async def test_an_event_that_comes_twice_in_one_batch_counts_once(home: Installation) -> None:
    said, other = given(), given()

    places = await home.publish_together(said, other, said)
    await home.recorded(*places)

    became = [(await outcome(home, place)).became for place in places]
    assert became == ["entry", "entry", "duplicate"]


async def test_the_same_event_in_another_mode_or_order_of_fields_is_a_duplicate(home: Installation) -> None:
    said = given()
    value, headers = binary(said)

    (first,) = await take(home, said)
    in_binary_mode = await home.publish(value, headers=headers)
    (turned,) = await take(home, {name: said[name] for name in reversed(said)})

    assert (first.became, turned.became) == ("entry", "duplicate")
    assert (await outcome(home, in_binary_mode)).duplicate_of == uuid.UUID(said["id"])


async def test_a_permission_with_another_content_under_a_taken_id_is_rejected_and_kept(home: Installation) -> None:
    first = given()
    other = given(id=first["id"], time="2026-02-01T09:00:00Z")

    (_, refused) = await take(home, first, other)

    assert (refused.became, refused.reason) == ("rejected", "ID_REUSED")


@pytest.mark.parametrize("shards", [(1, 1, 1), (1, 2, 1)], ids=["the same shard", "another shard"])
async def test_a_refusal_with_another_content_under_a_taken_id_is_an_entry_of_its_own(
    home: Installation, shards: tuple[int, ...]
) -> None:
    first = given()
    refusal = withdrawn(id=first["id"])

    _, entry, again = await take(home, first, refusal, refusal, shards=shards)

    assert entry.entry is not None
    digest = (await home.fetch("SELECT digest FROM event WHERE event_id = $1", entry.entry["event_id"]))[0]["digest"]
    assert entry.became == "entry"
    assert entry.entry["event_id"] == uuid.uuid5(uuid.UUID(first["id"]), digest.hex())
    assert entry.body["conflicts_with"] == first["id"]
    assert again.became == "duplicate"


async def test_two_refusals_with_one_id_in_one_batch_both_suppress(home: Installation) -> None:
    first = withdrawn()
    other = withdrawn(id=first["id"], time="2026-02-01T09:00:00Z")

    places = await home.publish_together(first, other)
    await home.recorded(*places)

    found = [await outcome(home, place) for place in places]
    assert [one.became for one in found] == ["entry", "entry"]
    assert found[1].body["conflicts_with"] == first["id"]
    assert await subjects(home, places[1]) == await subjects(home, places[0])
    assert await opened_payloads(home, places[1])


async def test_a_malformed_refusal_under_a_taken_id_suppresses_and_is_kept(home: Installation) -> None:
    first = given()
    said = encode(withdrawn(id=first["id"], time="yesterday"))

    _, entry = await take(home, first, said)

    assert (entry.became, entry.reason) == ("synthetic", "BAD_TIME")
    assert entry.body["conflicts_with"] == first["id"]
    assert entry.entry is not None
    assert (await kept_record(home, Place(1, entry.entry["k_offset"])))[1] == said


async def test_an_id_is_taken_only_by_what_was_recorded(home: Installation) -> None:
    rejected = given(time="yesterday")
    mended = {**rejected, "time": "2026-03-01T09:00:00Z"}

    first, second = await take(home, rejected, mended)

    assert (first.became, second.became) == ("rejected", "entry")


async def test_after_all_this_every_offset_is_accounted_for_exactly_once(home: Installation) -> None:
    await home.recorded_to_the_end()

    await require_balance(home)
