"""Instants as whole microseconds since 1970 in UTC, and ISO 8601 durations counted from them by the calendar."""

from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final

import isodate
import msgspec
from dateutil.relativedelta import relativedelta

from consent_ledger.domain.errors import ConsentError

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
DAY: Final = 24 * 60 * MINUTE
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_encode: Final = msgspec.json.Encoder().encode
_SHORTEST_MONTH: Final = 28
_FIRST: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
NEVER: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
"""The last instant of the calendar: what expires later does not expire."""


class DurationError(ConsentError, ValueError):
    """The text is no ISO 8601 duration of whole months, or is negative."""


class Duration(msgspec.Struct, frozen=True):
    """A span of calendar months and then of exact microseconds."""

    months: int
    microseconds: int


def instant(value: datetime | int | str) -> int:
    """Give an instant in microseconds since 1970; beyond the calendar, which zones may reach, its nearest one.

    Raises ValueError for text without a zone or that is no instant.
    """
    if isinstance(value, int):
        return value
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if moment.tzinfo is None:
        raise ValueError("an instant needs a zone")
    return min(max((moment - _EPOCH) // _MICROSECOND, _FIRST), NEVER)


def moment(microseconds: int) -> datetime:
    """Give the same instant as a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def rfc3339(moment: datetime) -> str:
    """Write an instant in UTC as readers get it; milliseconds, or microseconds where there are any."""
    if moment.microsecond % 1000 and moment.tzinfo is UTC:
        # The same text, in a tenth of the time.
        return _encode(moment)[1:-1].decode()
    text = moment.isoformat(timespec="microseconds" if moment.microsecond % 1000 else "milliseconds")
    return text.removesuffix("+00:00") + "Z"


@lru_cache(maxsize=1024)
def parse(text: str) -> Duration:
    """Read an ISO 8601 duration. Raises `DurationError`."""
    try:
        found = isodate.parse_duration(text)
    except (ValueError, TypeError, OverflowError):
        raise DurationError("not an ISO 8601 duration") from None
    rest = found if isinstance(found, timedelta) else found.tdelta
    months = 0 if isinstance(found, timedelta) else found.years * 12 + found.months
    if months != int(months) or months < 0 or rest < timedelta():
        raise DurationError("not a duration of whole months, or negative")
    return Duration(int(months), rest // _MICROSECOND)


@lru_cache(maxsize=65_536)
def after(start: int, duration: str) -> int:
    """Add a duration by the calendar in UTC: months first, the last day of the month if there is none, then the rest.

    29 February plus P3Y is 28 February. An expiry at the result holds at the result.
    """
    span = parse(duration)
    try:
        end = _months_later(moment(start), span.months) if span.months else moment(start)
        return min(instant(end) + span.microseconds, NEVER)
    except (OverflowError, ValueError):
        return NEVER


def _months_later(start: datetime, months: int) -> datetime:
    """Do what relativedelta does, in a fraction of the time. Raises ValueError behind the end of the calendar."""
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    day = start.day if start.day <= _SHORTEST_MONTH else min(start.day, monthrange(year, month + 1)[1])
    return start.replace(year=year, month=month + 1, day=day)


def before(end: datetime, duration: str) -> datetime:
    """Go back by a duration by the calendar in UTC; not behind the first instant of the calendar."""
    span = parse(duration)
    try:
        return end - relativedelta(months=span.months) - timedelta(microseconds=span.microseconds)
    except (OverflowError, ValueError):
        return datetime.min.replace(tzinfo=UTC)


@lru_cache(maxsize=65_536)
def birthday(birth_day: int, years: int) -> int:
    """Give the instant at which someone born on that day (a proleptic ordinal) completes so many years, in UTC."""
    try:
        reached = date.fromordinal(birth_day) + relativedelta(years=years)
    except (OverflowError, ValueError):
        return NEVER
    return instant(datetime.combine(reached, time(), UTC))
