"""What time it is: the database's word in production, a test's word in tests."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Decides the instant at which something is recorded or judged.

    Services are handed one by whoever starts them. The entry points of production hand over `SystemClock`
    and nothing in settings or environment can change that; only a test, which starts a service itself, can.
    """

    def now(self, database_now: datetime | None = None) -> datetime:
        """The current instant, aware, in UTC; `database_now` is the database's clock where it is at hand."""


class SystemClock:
    """The database's clock where it is at hand, else this machine's."""

    def now(self, database_now: datetime | None = None) -> datetime:
        """Pass on the database's clock, or read this machine's."""
        return datetime.now(UTC) if database_now is None else database_now
