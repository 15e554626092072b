"""Numbers on a do-not-call register are not called: rows N1 to N7 through Kafka, HTTP and the topic.

Seen to fail:
- numbers of an event not kept for the controllers that ask;
- a run of listings not broken;
- `registered_at` left out, or dropped on its way;
- the end of the snapshot left out of `valid_until`;
- the question after silence without the do-not-call register of what it asks for.
"""

from datetime import timedelta

import pytest

from consent_ledger.viewer import calls
from consent_ledger.viewer.rebuild import Rebuild
from dnc.line import NOW, Line, ago, clock_at, number
from running import until


async def test_a_listed_number_is_not_called_whether_it_is_on_record_or_not(line: Line) -> None:
    customer, stranger = number(), number()
    await line.api.recorded(line.served(customer, at=ago(days=90)))

    await line.imported(customer, stranger, at=ago(hours=2))

    assert await line.reason(customer) == await line.reason(stranger) == "DNC_LISTED"


async def test_a_number_that_is_not_listed_may_be_called_while_the_snapshot_is_fresh(line: Line) -> None:
    customer, stranger = number(), number()
    await line.api.recorded(line.served(customer, at=ago(days=90)))

    await line.imported(number(), at=ago(hours=2))

    for one in (customer, stranger):
        answer = await line.decide(one)
        assert (answer["allow"], answer["reason"]) == (True, "LEGITIMATE_INTEREST")
        assert answer["valid_until"].startswith(f"{NOW - timedelta(hours=2) + timedelta(days=7):%Y-%m-%dT%H:%M:%S}")


async def test_without_a_snapshot_nobody_is_called(line: Line) -> None:
    customer = number()
    await line.api.recorded(line.served(customer, at=ago(days=90)))

    assert await line.reason(customer) == await line.reason(number()) == "DNC_STALE"


async def test_a_snapshot_grows_too_old_by_time_alone(line: Line) -> None:
    customer, stranger = number(), number()
    await line.api.recorded(line.served(customer, at=ago(days=90)))
    await line.imported(number(), at=ago(days=6, hours=23))
    before = [await line.reason(one) for one in (customer, stranger)]

    async def both_stale() -> bool:
        return [await line.reason(one) for one in (customer, stranger)] == ["DNC_STALE"] * 2

    async with clock_at(line.api, NOW + timedelta(hours=1)):
        # The horizon has to come after the clock first.
        await until(both_stale)

    assert before == ["LEGITIMATE_INTEREST"] * 2


async def test_a_consent_later_than_the_listing_prevails_and_an_earlier_one_does_not(line: Line) -> None:
    early, late, said = number(), number(), number()
    await line.api.recorded(
        line.consented(early, at=ago(days=20)), line.consented(late, at=ago(days=5)),
        line.consented(said, at=ago(days=20)),
    )  # fmt: skip

    await line.imported(early, late, (said, ago(days=30)), at=ago(days=10))
    await line.imported(early, late, (said, ago(days=30)), at=ago(days=3))

    assert await line.reason(early, purpose="telesales") == "DNC_LISTED"
    assert await line.reason(late, purpose="telesales") == "CONSENT"
    assert await line.reason(said, purpose="telesales") == "CONSENT"


async def test_a_number_that_left_the_register_is_not_listed_any_more(line: Line) -> None:
    leaving, staying, coming = number(), number(), number()
    await line.imported(leaving, staying, at=ago(days=5))

    await line.imported(staying, coming, at=ago(days=1))

    assert [await line.reason(one) for one in (leaving, staying, coming)] == [
        "LEGITIMATE_INTEREST", "DNC_LISTED", "DNC_LISTED",
    ]  # fmt: skip


async def test_a_run_of_listings_that_broke_begins_anew(line: Line) -> None:
    back = number()
    await line.api.recorded(line.consented(back, at=ago(days=3)))
    await line.imported(back, at=ago(days=5))
    await line.imported(at=ago(days=4))

    await line.imported(back, at=ago(days=2))

    assert await line.reason(back, purpose="telesales") == "DNC_LISTED"


async def test_a_late_snapshot_takes_its_place_in_the_run(line: Line) -> None:
    kept, broken = number(), number()
    await line.api.recorded(line.consented(kept, at=ago(days=3)), line.consented(broken, at=ago(days=3)))
    await line.imported(kept, broken, at=ago(days=5))
    await line.imported(kept, broken, at=ago(days=1))
    before = [await line.reason(one, purpose="telesales") for one in (kept, broken)]

    await line.imported(kept, at=ago(days=2))
    after = [await line.reason(one, purpose="telesales") for one in (kept, broken)]

    assert before == ["CONSENT", "CONSENT"]
    assert after == ["CONSENT", "DNC_LISTED"]


async def test_the_question_after_silence_turns_with_the_list_of_what_it_asks_for(line: Line) -> None:
    talking, silent = number(), number()
    await line.api.recorded(
        line.consented(talking, purposes=["club"], at=ago(days=5)),
        line.consented(silent, purposes=["club"], at=ago(days=35)),
    )
    await line.imported(number(), at=ago(days=6, hours=23))

    async def are(*reasons: str) -> bool:
        return [await line.reason(one, purpose="ask") for one in (talking, silent)] == [*reasons]

    assert await are("REPERMISSION_NOT_DUE", "REPERMISSION_ONCE")
    async with clock_at(line.api, NOW + timedelta(hours=1)):
        # The horizon has to come after the clock first.
        await until(lambda: are("DNC_STALE", "DNC_STALE"))
        await line.imported(number(), at=ago(hours=2))
        assert await are("REPERMISSION_NOT_DUE", "REPERMISSION_ONCE")
        await line.imported(silent, at=ago(hours=1))
        assert await are("REPERMISSION_NOT_DUE", "DNC_LISTED")

    await line.published()
    record = await line.on_topic(silent)
    assert record is not None
    assert record["decisions"]["ask"]["phone"]["reason"] == "DNC_LISTED"


async def test_service_calls_do_not_ask_the_register(line: Line) -> None:
    customer = number()

    await line.imported(customer, at=ago(hours=2))

    assert await line.reason(customer, purpose="service") == "CONTRACT"


async def test_a_listing_counts_however_unusual_its_date_is_written(line: Line) -> None:
    first, second = number(), number()

    await line.imported((first, ago(days=9).lower()), (second, "0001-01-01T00:00:00+14:00"), at=ago(hours=2))

    assert await line.reason(first) == await line.reason(second) == "DNC_LISTED"


async def test_numbers_too_many_for_one_event_do_not_count(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_INLINE_MAX", 2)
    await line.imported(number(), number(), at=ago(hours=2))
    before = await line.reason(number())

    await line.imported(number(), number(), number(), at=ago(hours=1))

    assert before == "LEGITIMATE_INTEREST"
    states = await line.home.fetch("SELECT state FROM dnc_snapshot WHERE register = $1", line.register)
    assert [row["state"] for row in states] == ["active"]


async def test_numbers_in_an_event_count_whatever_it_says_of_their_digest(line: Line) -> None:
    listed = number()

    await line.api.recorded(line.snapshot(listed, at=ago(hours=2), digest="of a file somewhere", count=7))

    assert await line.reason(listed) == "DNC_LISTED"


async def test_a_view_made_anew_asks_the_same_registers(line: Line) -> None:
    listed, free = number(), number()
    for one in (listed, free):
        await line.api.recorded(line.served(one, at=ago(days=90)))
    await line.imported(listed, at=ago(hours=2))
    assert [await line.reason(one) for one in (listed, free)] == ["DNC_LISTED", "LEGITIMATE_INTEREST"]
    home = line.api.installation

    report = await Rebuild(home.settings, home.keks, processes=1).run(swap=False)

    assert report.found == []
    assert report.addresses >= 2
