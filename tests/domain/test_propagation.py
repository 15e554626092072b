"""How fast refusals spread, and when a budget of domain.md 7.3 is broken.

Seen to fail: a refusal that has not arrived left out of the percentiles; one of another controller counted, and one
whose controllers are unknown not counted; one from before the registration counted; a budget that is reached taken for
broken; the budget held against the declaration; a percentile one place too low; a consumer that never reported taken
for level; a refusal of telephone calls waited for by a newsletter's tool, and one of everything, of something that
cannot be read or of a purpose that nobody knows not waited for by it; a consumer of a purpose that is gone waiting for
nothing; a bounce that names a purpose waited for by that purpose's tools only; one at another controller waited for;
profiling out of the reach of a complaint by mail.
"""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_ledger.domain import propagation
from consent_ledger.domain import register as registers
from consent_ledger.domain.propagation import (
    BEHIND_MAX,
    PUBLISHED,
    SPREAD_MAX,
    Figures,
    Refusal,
    Stage,
    measure,
    minute_of,
    percentile,
)

REGISTER = registers.compile(
    {
        "controllers": {"shop": {}, "other": {}},
        "purposes": [
            {"controller": "shop", "id": "news", "basis": "consent", "channels": ["email", "sms"],
             "direct_marketing": True},
            {"controller": "shop", "id": "calls", "basis": "consent", "channels": ["phone"], "direct_marketing": True},
            {"controller": "shop", "id": "profile", "basis": "legitimate-interest", "channels": ["internal"],
             "direct_marketing": True},
            {"controller": "other", "id": "news", "basis": "consent", "channels": ["email"], "direct_marketing": True},
        ],
        "sources": {"web": {"controllers": ["shop"]}},
    },
    1,
)  # fmt: skip
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)


def refusal(recorded_at: datetime = NOON, *, controllers: tuple[str, ...] = ("shop",), took: int = 0) -> Refusal:
    return Refusal(
        event_id=uuid.uuid4(), type="objection-raised", declared_at=recorded_at - took * SECOND,
        recorded_at=recorded_at, controllers=frozenset(controllers),
    )  # fmt: skip


def topic(instant: datetime | None = NOON + SECOND, delay: timedelta = SECOND) -> Stage:
    return Stage(name=PUBLISHED, instant=instant, delays={minute_of(NOON): delay})


def consumer(instant: datetime | None = NOON + SECOND, delay: timedelta = SECOND, **more: Any) -> Stage:
    terms = {"since": NOON - timedelta(days=1), "delays": {minute_of(NOON): delay}, **more}
    return Stage(name="tool", instant=instant, **{"controllers": frozenset({"shop"}), **terms})


def measured(*refusals: Refusal, at: datetime = NOON + SECOND, **stages: Stage) -> dict[str, Figures]:
    figures = measure(refusals, stages.get("topic", topic()), [stages.get("tool", consumer())], at)
    return {one.stage: one for one in figures}


def test_each_stage_says_how_long_refusals_took() -> None:
    found = measured(refusal(took=3), refusal(took=5), topic=topic(delay=2 * SECOND), tool=consumer(delay=4 * SECOND))

    assert [(one.p50, one.max, one.late) for one in found.values()] == [(3, 5, False), (2, 2, False), (4, 4, False)]
    assert [one.unconfirmed for one in found.values()] == [[], [], []]


def test_a_refusal_that_has_not_arrived_is_named_and_counts_with_its_age() -> None:
    one, later = refusal(), refusal(NOON + 30 * SECOND)
    now = NOON + 100 * SECOND

    found = measured(one, later, at=now, topic=topic(NOON + 60 * SECOND), tool=consumer(NOON + 29 * SECOND))

    assert found["tool"].unconfirmed == [later.event_id]
    assert (found["tool"].max, found["tool"].late) == (70, True)
    assert found[PUBLISHED].unconfirmed == []


def test_a_consumer_waits_for_refusals_of_its_controllers_since_it_was_registered() -> None:
    others, unknown = refusal(controllers=("other",)), refusal(controllers=())
    before = refusal(NOON - timedelta(days=2))

    found = measured(others, unknown, before, refusal(controllers=("other", "shop")), tool=consumer(None))

    assert found["tool"].refusals == 2
    assert unknown.event_id in found["tool"].unconfirmed


def said(type: str = "consent-withdrawn", at: str = "shop", **body: Any) -> Refusal:
    return propagation.refusal(
        REGISTER, {"source": "web", "controllers": [at], **body}, event_id=uuid.uuid4(), type=type,
        declared_at=NOON, recorded_at=NOON, controllers=[at],
    )  # fmt: skip


def waits(refusal: Refusal, purposes: tuple[str, ...] = ("news",), channels: tuple[str, ...] = ("email",)) -> bool:
    both = ["shop", "other"]
    tool = consumer(controllers=frozenset(both), uses=propagation.uses(REGISTER, both, purposes, channels))
    return bool(measured(refusal, tool=tool)["tool"].refusals)


CALLS: dict[str, Any] = {"purposes": ["calls"], "channels": ["phone"]}


@pytest.mark.parametrize(
    ("body", "waited"),
    [
        (CALLS, False),
        ({"purposes": ["calls"]}, False),
        ({"channels": ["phone"]}, False),
        ({"purposes": ["news"], "channels": ["sms"]}, False),
        ({"purposes": ["news"], "channels": ["email", "phone"]}, True),
        ({"purposes": ["calls", "news"]}, True),
        ({}, True),
        ({"purposes": "all", "channels": "all"}, True),
        ({"purposes": "calls", "channels": ["email"]}, True),
        ({"purposes": ["never heard of"]}, True),
        ({"purposes": [], "channels": []}, True),
        ({"channels": ["pigeon"]}, True),
        ({"channels": [7, "phone"]}, True),
    ],
)
def test_a_consumer_waits_for_what_may_turn_its_answers(body: dict[str, Any], waited: bool) -> None:  # noqa: FBT001
    assert waits(said(**body)) is waited
    assert waits(said(**body), (), ())


def test_a_bounce_is_about_an_address_whatever_for() -> None:
    bounced = said("delivery-failed", bounce="hard", purposes=["calls"], channels=["email"])

    assert waits(bounced)
    assert not waits(bounced, ("calls",), ("phone",))


def test_a_consumer_of_a_purpose_waits_on_all_its_channels_and_one_of_a_channel_for_all_its_purposes() -> None:
    assert waits(said(purposes=["news"], channels=["sms"]), channels=())
    assert not waits(said(**CALLS), channels=())
    assert waits(said(channels=["email"]), ())
    assert not waits(said(**CALLS), ())


def test_a_refusal_at_one_controller_is_not_waited_for_because_of_what_another_does() -> None:
    assert not waits(said(at="other"), channels=("sms",))
    assert waits(said(at="other"))


def test_an_objection_to_marketing_by_mail_is_waited_for_by_who_profiles_for_marketing() -> None:
    assert waits(said("complaint-received", channels=["email"]), ("profile",), ("internal",))
    assert not waits(said("restriction-placed", channels=["email"]), ("profile",), ("internal",))


def test_a_consumer_of_what_is_not_registered_any_more_waits_for_everything() -> None:
    assert waits(said(**CALLS), ("news", "gone"))


def test_a_budget_may_be_reached() -> None:
    reached = measured(refusal(), tool=consumer(delay=SPREAD_MAX))
    broken = measured(refusal(), tool=consumer(delay=SPREAD_MAX + MICROSECOND))
    behind = [measured(at=NOON + BEHIND_MAX + more, tool=consumer(NOON)) for more in (timedelta(0), MICROSECOND)]

    assert (reached["tool"].late, broken["tool"].late) == (False, True)
    assert [found["tool"].late for found in behind] == [False, True]


def test_one_of_a_hundred_may_be_late() -> None:
    late, many = refusal(NOON - timedelta(minutes=1)), [refusal() for _ in range(99)]
    slow = consumer(delays={minute_of(NOON): SECOND, minute_of(late.recorded_at): 2 * SPREAD_MAX})

    assert not measured(late, *many, tool=slow)["tool"].late
    assert measured(late, *many[1:], tool=slow)["tool"].late


def test_how_long_a_declaration_took_to_come_breaks_no_budget() -> None:
    found = measured(refusal(took=86_400), refusal(took=-5))

    assert (found["recorded"].max, found["recorded"].p50, found["recorded"].late) == (86_400, 0, False)


def test_a_consumer_that_never_reported_is_behind_since_it_was_registered() -> None:
    found = measured(tool=consumer(None, since=NOON - BEHIND_MAX))

    assert found["tool"].behind == (BEHIND_MAX + SECOND).total_seconds()
    assert found["tool"].late


def test_what_was_not_measured_is_not_guessed() -> None:
    found = measured(refusal(NOON - timedelta(hours=1)))

    assert (found["tool"].refusals, found["tool"].p50, found["tool"].unconfirmed) == (0, None, [])


@given(st.lists(st.integers(0, 100), min_size=1), st.integers(1, 100))
def test_so_many_of_a_hundred_do_not_exceed_a_percentile(values: list[int], percent: int) -> None:
    ordered = sorted(value * SECOND for value in values)

    found = percentile(ordered, percent)

    assert found is not None
    assert sum(value <= found for value in ordered) * 100 >= percent * len(ordered)
    assert sum(value < found for value in ordered) * 100 < percent * len(ordered)
