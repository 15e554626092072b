"""The clocks of requests, of evidence, and the ages of Article 8, as the oracle counts them.

Seen to fail: days of waiting added before the month; evidence kept behind the end of the calendar; Denmark with one
age for all years.
"""

from datetime import date, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from consent_ledger.domain import ages, deadlines, durations
from oracle import times

days = st.dates(date(2000, 1, 1), date(2100, 1, 1))
spans = st.sampled_from(["P3Y", "P10Y", "P1M", "P30D", "P1Y2M3D", "P6M", "P26M", "PT36H", "P2W", "P9999Y"])


@given(days, st.booleans(), st.integers(0, 90), st.sets(days, max_size=3))
def test_a_request_is_due_on_the_same_day(received: date, extended: bool, paused: int, holidays: set[date]) -> None:  # noqa: FBT001
    due = deadlines.art12_due(received, extended=extended, paused_days=paused, holidays=holidays)

    assert due == times.art12_due(received, extended=extended, paused_days=paused, holidays=holidays)


@given(days, spans, st.booleans(), st.none() | days, st.none() | days)
def test_evidence_is_kept_until_the_same_day(
    ended: date,
    span: str,
    german: bool,  # noqa: FBT001
    given_on: date | None,
    used: date | None,
) -> None:
    until = deadlines.evidence_until(ended, span, german_calls=german, given=given_on, last_used=used)

    assert until == times.evidence_until(ended, span, phone_de=german, given=given_on, last_used=used)


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(ZoneInfo("UTC"))), spans)  # noqa: DTZ001
def test_a_span_ends_at_the_same_instant(start: datetime, span: str) -> None:
    end = durations.after(durations.instant(start), span)

    assert end == durations.instant(times.plus(start, span))


@given(st.sampled_from([*times.AGES, "XX", None]), days)
def test_a_child_may_consent_at_the_same_age(country: str | None, day: date) -> None:
    assert ages.age_of_consent(country, day) == times.article_8_age(country, day)
