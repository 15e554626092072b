"""Requests of subjects: their last days, what moves them and what ends them, whatever the order of recording.

Seen to fail:
- a pause for an objection; a pause begun after the end; a pause dropped;
- an extension after the end, without reasons, or by a stranger; an extension that saves a late refusal;
- an assessment that nobody was told of, without grounds, or of some purposes only, taken for the answer;
- a refused erasure without grounds, a lifting before the subject knew, a stranger's answer taken for the answer;
- a voided answer left standing; a voided confirmation believed;
- the local date taken in UTC; Sundays or public holidays worked;
- the steps taken in the order in which they come, all of them or those of one instant;
- a request that refuses, or may refuse, something taken for paper.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_ledger.domain import requests
from consent_ledger.domain.deadlines import art12_due
from consent_ledger.domain.requests import Step
from consent_ledger.runtime.calendars import calendar
from domain.steps import ONE, fold, only, received, step


@pytest.mark.parametrize(
    ("country", "day", "due"),
    [
        ("BE", "2026-03-10", "2026-04-10"),
        ("BE", "2024-01-31", "2024-02-29"),
        ("BE", "2026-01-30", "2026-03-02"),
        ("BE", "2026-06-21", "2026-07-22"),
        ("NL", "2026-06-21", "2026-07-21"),
        ("NL", "2026-03-27", "2026-04-28"),
        ("BE", "2026-03-27", "2026-04-27"),
        ("FR", "2026-04-08", "2026-05-11"),
        ("DE", "2026-04-08", "2026-05-08"),
        ("DE", "2026-09-03", "2026-10-05"),
        ("BE", "2026-04-14", "2026-05-15"),
        ("NL", "2026-11-25", "2026-12-28"),
        ("XX", "2026-11-25", "2026-12-25"),
        (None, "2026-11-25", "2026-12-25"),
    ],
)
def test_the_last_day_is_a_working_day_of_the_country(country: str | None, day: str, due: str) -> None:
    days = calendar(country)

    assert art12_due(date.fromisoformat(day), holidays=days.is_holiday) == date.fromisoformat(due)


def test_a_subdivision_has_holidays_of_its_own() -> None:
    epiphany = date(2026, 1, 6)

    assert calendar("DE", "BY").is_holiday(epiphany)
    assert not calendar("DE").is_holiday(epiphany)
    assert not calendar("DE", "nowhere").is_holiday(epiphany)
    assert calendar("DE", "nowhere").is_holiday(date(2026, 10, 3))


def test_a_request_just_before_midnight_is_received_on_the_local_date() -> None:
    request = only(received("2026-03-09T23:30:00Z"), now="2026-03-11")

    assert request.received == date(2026, 3, 10)


@pytest.mark.parametrize(
    ("days", "due", "paused"),
    [
        ([("requested", "2026-03-12"), ("confirmed", "2026-03-18")], "2026-04-16", 6),
        ([("requested", "2026-03-12"), ("confirmed", "2026-03-12")], "2026-04-10", 0),
        ([("confirmed", "2026-03-12"), ("requested", "2026-03-12")], "2026-04-10", 0),
        ([("requested", "2026-03-12"), ("requested", "2026-03-14"), ("confirmed", "2026-03-18")], "2026-04-16", 6),
        (
            [("requested", "2026-03-12"), ("confirmed", "2026-03-14"), ("requested", "2026-03-20"),
             ("confirmed", "2026-03-23")],
            "2026-04-15", 5,
        ),
        ([("requested", "2026-04-11"), ("confirmed", "2026-04-19")], "2026-04-10", 0),
        ([("confirmed", "2026-03-18")], "2026-04-10", 0),
    ],
)  # fmt: skip
def test_days_of_waiting_for_proof_of_identity_do_not_count(days: list[tuple[str, str]], due: str, paused: int) -> None:
    steps = [step(f"identity-{what}", day) for what, day in days]

    request = only(received("2026-03-10"), *steps, now="2026-04-20")

    assert (request.due, request.paused_days) == (date.fromisoformat(due), paused)


def test_while_the_subject_has_to_move_the_clock_stands() -> None:
    steps = [received("2026-03-10"), step("identity-requested", "2026-03-12")]

    request = only(*steps, now="2026-06-12")

    assert (request.state, request.behind, request.paused_days) == ("open", "subject", 92)
    assert request.due > date(2026, 6, 12)


@pytest.mark.parametrize("opening", ["objection-raised", "21", "7(3)", "objection", "Art. 21(1)"])
def test_an_objection_or_a_withdrawal_waits_for_nobodys_identity(opening: str) -> None:
    objected = step("objection-raised", "2026-03-10", id=ONE)
    opened = objected if opening == "objection-raised" else received("2026-03-10", opening)

    request = only(opened, step("identity-requested", "2026-03-12"), now="2026-04-13")

    assert (request.state, request.behind, request.due) == ("overdue", "controller", date(2026, 4, 10))


@pytest.mark.parametrize(
    ("day", "reason", "source", "due"),
    [
        ("2026-04-10", True, "desk", "2026-06-10"),
        ("2026-04-11", True, "desk", "2026-04-10"),
        ("2026-03-20", None, "desk", "2026-04-10"),
        ("2026-03-20", True, "stranger", "2026-04-10"),
    ],
)
def test_an_extension_counts_with_reasons_before_the_end(day: str, reason: Any, source: str, due: str) -> None:
    extended = step("request-extended", day, reason=reason, source=source)

    request = only(received("2026-03-10"), extended, now="2026-06-01")

    assert request.due == date.fromisoformat(due)
    assert request.extended == (due == "2026-06-10")


def test_an_extension_within_the_pause_is_before_the_end() -> None:
    steps = [
        received("2026-03-10"),
        step("identity-requested", "2026-03-12"),
        step("request-extended", "2026-04-14", reason=True),
        step("identity-confirmed", "2026-04-15"),
    ]

    assert only(*steps, now="2026-04-20").due == date(2026, 7, 14)


@pytest.mark.parametrize(
    ("opening", "closing", "answered"),
    [
        ("request-received", {"type": "request-answered", "outcome": "complete"}, True),
        ("request-received", {"type": "request-answered", "source": "stranger"}, False),
        ("request-received", {"type": "request-answered", "controllers": ["branch"]}, False),
        ("request-received", {"type": "request-answered", "controllers": None}, True),
        ("erasure-requested", {"type": "erasure-executed"}, True),
        ("erasure-requested", {"type": "erasure-refused", "grounds": True}, True),
        ("erasure-requested", {"type": "erasure-refused"}, False),
        ("restriction-placed", {"type": "restriction-lifted", "subject_informed_at": "2026-03-19T10:00:00Z"}, True),
        ("restriction-placed", {"type": "restriction-lifted", "subject_informed_at": "2026-03-21T10:00:00Z"}, False),
        ("restriction-placed", {"type": "restriction-lifted"}, False),
        ("objection-raised", {"type": "objection-assessed", "outcome": "upheld"}, False),
        (
            "objection-raised",
            {"type": "objection-assessed", "outcome": "upheld", "subject_informed_at": "2026-03-20T10:00:00Z"},
            True,
        ),
        (
            "objection-raised",
            {"type": "objection-assessed", "outcome": "rejected", "subject_informed_at": "2026-03-20T10:00:00Z"},
            False,
        ),
        (
            "objection-raised",
            {"type": "objection-assessed", "outcome": "upheld", "subject_informed_at": "2026-05-20T10:00:00Z"},
            False,
        ),
        (
            "objection-raised",
            {"type": "objection-assessed", "outcome": "upheld", "subject_informed_at": "2026-03-20T10:00:00Z",
             "purposes": ["letters"]},
            False,
        ),
    ],
)  # fmt: skip
def test_a_request_ends_with_what_answers_it(opening: str, closing: dict[str, Any], *, answered: bool) -> None:
    opened = step(opening, "2026-03-10", id=ONE)

    request = only(opened, step(day="2026-03-20", **closing), now="2026-04-20")

    assert request.state == ("answered" if answered else "overdue")
    assert request.behind == (None if answered else "controller")


def test_an_objection_is_assessed_when_all_its_purposes_are() -> None:
    objected = step("objection-raised", "2026-03-10", id=ONE, purposes=["letters", "calls"])
    known: dict[str, Any] = {"outcome": "upheld", "subject_informed_at": "2026-03-20T10:00:00Z"}
    first = step("objection-assessed", "2026-03-20", purposes=["letters"], **known)
    second = step("objection-assessed", "2026-03-23", purposes=["calls"], **known)

    assert only(objected, first, now="2026-03-24").state == "open"
    assert only(objected, second, first, now="2026-03-24").answered == date(2026, 3, 23)


def test_an_objection_to_direct_marketing_asks_for_no_assessment() -> None:
    assert fold(step("objection-raised", "2026-03-10", id=ONE, kind="direct-marketing"), now="2026-04-20") == []


def test_a_refusal_is_late_after_a_month_whatever_was_extended() -> None:
    extended = step("request-extended", "2026-03-20", reason=True)
    refused = step("request-answered", "2026-04-13", outcome="refused")
    complete = step("request-answered", "2026-04-13", outcome="complete")

    assert only(received("2026-03-10"), extended, refused, now="2026-04-20").late
    assert not only(received("2026-03-10"), extended, complete, now="2026-04-20").late


@pytest.mark.parametrize(
    ("voided", "state", "due"),
    [
        ("request-answered", "overdue", "2026-06-16"),
        ("request-extended", "answered", "2026-04-16"),
        ("identity-requested", "answered", "2026-06-10"),
        ("identity-confirmed", "answered", "2026-06-16"),
        ("request-received", "answered", "2026-06-16"),
    ],
)
def test_a_voiding_never_gives_more_time(voided: str, state: str, due: str) -> None:
    steps = [
        received("2026-03-10"),
        step("identity-requested", "2026-03-12"),
        step("identity-confirmed", "2026-03-18"),
        step("request-extended", "2026-03-20", reason=True),
        step("request-answered", "2026-03-25"),
    ]
    target = next(one for one in steps if one.type == voided)

    request = only(*steps, step("event-voided", "2026-03-26", voids=str(target.event_id)), now="2026-07-20")

    assert (request.state, request.due) == (state, date.fromisoformat(due))


def test_a_request_that_names_nobody_is_with_all_whom_its_source_serves() -> None:
    found = fold(step("erasure-requested", "2026-06-21", id=ONE, controllers=None), now="2026-07-22")

    assert {(one.controller, one.due, one.state) for one in found} == {
        ("shop", date(2026, 7, 22), "open"),
        ("branch", date(2026, 7, 21), "overdue"),
        ("far", date(2026, 7, 21), "overdue"),
    }
    assert [one.controller for one in found] == ["branch", "far", "shop"]


def test_the_same_request_said_twice_is_one_and_runs_from_the_first() -> None:
    again = step("erasure-requested", "2026-03-10", id=ONE)

    assert only(received("2026-03-12", "17"), again, now="2026-03-20").received == date(2026, 3, 10)


@pytest.mark.parametrize(
    ("said", "article"),
    [("15", "15"), ("Art. 15(1)", "15"), ("article 20", "20"), ("artikel 17", "17"), ("7(3)", "7(3)"),
     ("Access", "access"), ("150", "other"), ("7", "other"), ("an@example.be", "other"), (None, "other")],
)  # fmt: skip
def test_an_article_is_read_as_people_write_it(said: Any, article: str) -> None:
    assert requests.article_of(said) == {"access": "15"}.get(article, article)


def test_a_step_without_its_request_waits() -> None:
    assert fold(step("request-answered", "2026-03-12"), now="2026-03-20") == []


# -- laws

days = st.integers(0, 400).map(lambda after: (datetime(2026, 1, 1, 10, tzinfo=UTC) + timedelta(days=after)).isoformat())
later = st.one_of(
    st.builds(step, st.sampled_from(["identity-requested", "identity-confirmed"]), days),
    st.builds(lambda day, reason: step("request-extended", day, reason=reason), days, st.sampled_from([True, None])),
    st.builds(lambda day: step("request-answered", day), days),
)
steps_ = st.lists(later, max_size=8)
openings = st.one_of(
    st.builds(received, days, st.sampled_from(["15", "17", "21"])),
    st.builds(lambda day: step("erasure-requested", day, id=ONE), days),
)


@given(openings, steps_, days)
def test_a_last_day_is_always_a_working_day(opening: Step, steps: Sequence[Step], now: str) -> None:
    (request,) = fold(opening, *steps, now=now)

    assert request.due.weekday() < 5
    assert not calendar("BE").is_holiday(request.due)


@given(openings, steps_, days, days)
def test_a_doubt_about_identity_never_shortens(opening: Step, steps: Sequence[Step], now: str, day: str) -> None:
    # An answer in the past ends the clock, so both are looked at as of the same answer.
    (before,) = fold(opening, *steps, now=now)

    (after,) = fold(opening, *steps, step("identity-requested", day), now=now)

    assert after.due >= before.due
    assert after.answered == before.answered


@given(openings, steps_, days, st.randoms(use_true_random=False))
def test_the_order_of_recording_changes_nothing(opening: Step, steps: Sequence[Step], now: str, order: Any) -> None:
    every = [opening, *steps]

    assert fold(*order.sample(every, len(every)), now=now) == fold(*every, now=now)


@given(openings, steps_, days)
def test_an_extension_never_gives_more_than_three_months_and_the_pauses(
    opening: Step, steps: Sequence[Step], now: str
) -> None:
    (request,) = fold(opening, *steps, now=now)

    assert request.due <= art12_due(
        request.received, extended=True, paused_days=request.paused_days, holidays=calendar("BE").is_holiday
    )


@pytest.mark.parametrize(
    "article",
    ["15", "16", "19", "20", "22", "Art. 15", "art.15", "Article 20", "ARTIKEL 16", "access", "Rectification"],
)
def test_a_request_by_which_nobody_refuses_anything_is_paper(article: str) -> None:
    others = sorted(requests.PAPER - {"request-received"})
    steps = [received("2026-01-01", article), *(step(kind, "2026-01-02") for kind in others)]

    assert requests.is_paper(steps)
    assert requests.is_paper([*steps, step("recipient-notified", "2026-01-02", article="19")])


@pytest.mark.parametrize(
    "article",
    [None, "", "17", "18", "21", "7(3)", "7", "erasure", "objection", "15 and 17", "15, 21", "15(3)", "150", "\n15",
     "acce\u017f\u017f", "I want to be forgotten"],
)  # fmt: skip
def test_a_request_by_which_somebody_may_refuse_something_is_no_paper(article: str | None) -> None:
    refusing = step("request-received", "2026-01-01", article=article)

    assert not requests.is_paper([refusing])
    assert not requests.is_paper([received("2026-01-01"), refusing])


@pytest.mark.parametrize("kind", ["erasure-requested", "restriction-placed", "objection-raised", "erasure-refused"])
def test_a_request_with_a_step_on_which_answers_rest_is_no_paper(kind: str) -> None:
    assert not requests.is_paper([received("2026-01-01"), step(kind, "2026-01-02")])
    assert not requests.is_paper([received("2026-01-01"), step("request-answered", "2026-01-02", article="17")])
