"""What is done with instants in a quick way is what the libraries do in theirs.

Seen to fail: the quick way of writing taken for whole milliseconds; months counted from one; a day that the month does
not have; a year behind the calendar; an instant left before the calendar, where no time runs out.
"""

from datetime import UTC, datetime

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given
from hypothesis import strategies as st

from consent_ledger.domain.durations import NEVER, after, instant, moment, rfc3339

WHOLE = st.sampled_from([0, 1000, 999_000])


@given(moment=st.datetimes(timezones=st.just(UTC)), whole=st.none() | WHOLE)
def test_an_instant_has_milliseconds_or_as_many_digits_as_it_needs(moment: datetime, whole: int | None) -> None:
    if whole is not None:
        moment = moment.replace(microsecond=whole)

    text = rfc3339(moment)

    digits = 6 if moment.microsecond % 1000 else 3
    assert text == f"{moment.year:04}-{moment:%m-%dT%H:%M:%S}.{moment.microsecond:06}"[: 20 + digits] + "Z"
    assert datetime.fromisoformat(text) == moment


@given(
    start=st.datetimes(timezones=st.just(UTC)),
    months=st.integers(1, 30) | st.integers(1, 120_000),
    days=st.integers(0, 40),
    day=st.integers(1, 31),
)
def test_months_are_added_by_the_calendar(start: datetime, months: int, days: int, day: int) -> None:
    if day > 28:
        start = start.replace(month=1, day=day)
    duration = f"P{months}M{days}D" if days else f"P{months}M"

    try:
        expected = instant(start + relativedelta(months=months)) + days * 86_400_000_000
    except (OverflowError, ValueError):
        expected = NEVER

    assert after(instant(start), duration) == min(expected, NEVER)


@pytest.mark.parametrize(
    ("said", "nearest"),
    [
        ("0001-01-01T00:00:00+05:00", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59-05:00", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_an_instant_that_only_a_zone_puts_beyond_the_calendar_is_its_nearest(said: str, nearest: str) -> None:
    assert moment(instant(said)) == datetime.fromisoformat(nearest)
