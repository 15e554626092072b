"""Last days: to answer a request of a subject, to tell a recipient, and to keep the evidence of a consent."""

from collections.abc import Callable, Collection
from datetime import date, timedelta
from typing import Final

from dateutil.relativedelta import relativedelta

from consent_ledger.domain import durations

NOTICE_DAYS: Final = 7
"""Within how many days a recipient is told (Art. 19 says without delay)."""
_SATURDAY: Final = 5
_GERMAN_CALLS: Final = "P5Y"


def art12_due(
    received: date,
    *,
    extended: bool = False,
    paused_days: int = 0,
    holidays: Collection[date] | Callable[[date], bool] = (),
) -> date:
    """Give the last day to answer a request (Art. 12(3)): a month after receipt, extended three months in all.

    Days spent waiting for proof of identity are added (Art. 12(6)). Saturdays, Sundays and public holidays give way to
    the next working day (Reg. 1182/71 Art. 3(4)).
    """
    is_holiday = holidays if callable(holidays) else holidays.__contains__
    end = received + relativedelta(months=3 if extended else 1) + timedelta(days=paused_days)
    while end.weekday() >= _SATURDAY or is_holiday(end):
        end += timedelta(days=1)
    return end


def evidence_until(
    reliance_ended: date,
    retention: str,
    *,
    german_calls: bool = False,
    given: date | None = None,
    last_used: date | None = None,
) -> date:
    """Give the last day to keep the evidence of a consent: a period (ISO 8601) from the end of reliance on it.

    Consent of German consumers to calls is kept five years from its grant and each use, if that is later (UWG 7a(2)).
    Raises `DurationError`.
    """
    days = [_later(reliance_ended, retention)]
    if german_calls:
        days += [_later(day, _GERMAN_CALLS) for day in (given, last_used) if day is not None]
    return max(days)


def _later(day: date, duration: str) -> date:
    """Add a duration by the calendar; behind its end is its last day."""
    span = durations.parse(duration)
    try:
        return day + relativedelta(months=span.months) + timedelta(microseconds=span.microseconds)
    except (OverflowError, ValueError):
        return date.max
