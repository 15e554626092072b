"""Durations and instants (specification 7.1), clocks of requests and evidence (7.2, 7.4), ages of Article 8 (7.5)."""

import calendar
import functools
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

DOUBT = timedelta(minutes=5)
WHOLE_DURATION = re.compile(
    r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", re.ASCII
)
END_OF_TIME = datetime.max.replace(tzinfo=UTC)
SATURDAY = 5
AGES = {
    "AT": 14, "BE": 13, "BG": 14, "CY": 14, "CZ": 15, "DE": 16, "DK": 15, "EE": 13, "ES": 14, "FI": 13, "FR": 15,
    "GR": 15, "HR": 16, "HU": 16, "IE": 16, "IT": 14, "LT": 14, "LU": 16, "LV": 13, "MT": 13, "NL": 16, "PL": 16,
    "PT": 13, "RO": 16, "SE": 13, "SI": 15, "SK": 16,
}  # fmt: skip


@functools.lru_cache(100_000)
def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@functools.lru_cache(1_000)
def _parts(duration: str) -> tuple[int, timedelta]:
    found = WHOLE_DURATION.fullmatch(duration)
    assert found, duration
    years, months, weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    rest = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    return 12 * years + months, rest


def plus_months(day: date, months: int) -> date:
    """7.1: the same date; the last day of the month if there is none."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


@functools.lru_cache(100_000)
def plus(start: datetime, duration: str) -> datetime:
    """7.1: years and months first, then days and time. What lies beyond the calendar never comes."""
    months, rest = _parts(duration)
    try:
        return datetime.combine(plus_months(start.date(), months), start.timetz()) + rest
    except (OverflowError, ValueError):
        return END_OF_TIME


def birthday(born: date, years: int) -> date:
    """The day on which somebody becomes so many years old."""
    return plus_months(born, 12 * years)


def article_8_age(country: str | None, day: date) -> int:
    """7.5: unknown 16; Denmark 13 before 2024."""
    if country == "DK" and day.year < 2024:
        return 13
    return AGES.get(country or "", 16)


def art12_due(received: date, *, extended: bool, paused_days: int, holidays: Iterable[date]) -> date:
    """7.2: one month, three if extended, the days waited for identity, then the next working day."""
    due = plus_months(received, 3 if extended else 1) + timedelta(days=paused_days)
    closed = set(holidays)
    while due.weekday() >= SATURDAY or due in closed:
        due += timedelta(days=1)
    return due


def evidence_until(
    ended: date, retention: str, *, phone_de: bool = False, given: date | None = None, last_used: date | None = None
) -> date:
    """7.4: from the end of reliance; German phone consent not before five years after the grant and the last use."""
    ends = [_later_day(ended, retention)]
    if phone_de:
        ends += [_later_day(day, "P5Y") for day in (given, last_used) if day]
    return max(ends)


def _later_day(day: date, duration: str) -> date:
    return plus(datetime.combine(day, datetime.min.time(), UTC), duration).date()
