"""What was known when an answer was given, or at a time of recording: questions about the past are answered by it."""

import base64
import binascii
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from consent_ledger.api.problems import ProblemError
from consent_ledger.domain import durations
from consent_ledger.domain.cloudevents import Instant
from consent_ledger.domain.facts import Fact

_FORMAT: Final = 2


class Known(NamedTuple):
    """All that was recorded up to `instant` (microseconds); with `applied`, exactly so many entries, by shard."""

    instant: int
    applied: tuple[int, ...] | None = None
    register_version: int | None = None

    def holds(self, fact: Fact) -> bool:
        """Tell whether an entry was known."""
        if self.applied is None:
            return fact.recorded <= self.instant
        return fact.shard < len(self.applied) and fact.pos < self.applied[fact.shard]

    def is_within(self, applied: Sequence[int], register_version: int) -> bool:
        """Tell whether so much has been recorded at all; what an answer rested on is never lost again."""
        mine = self.applied or ()
        if not 0 <= (self.register_version or 0) <= register_version:
            return False
        return len(mine) <= len(applied) and all(some <= more for some, more in zip(mine, applied, strict=False))

    def dumps(self) -> str:
        """Write it down for the caller, who need not read it."""
        packed = msgspec.msgpack.encode((_FORMAT, self.instant, self.applied, self.register_version))
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")


_Packed = tuple[int, int, tuple[int, ...], int]


def read(text: str) -> Known:
    """Read an instant in RFC 3339, or the `known` of an earlier answer. Raises `ProblemError` 422."""
    try:
        return Known(durations.instant(msgspec.convert(text, Instant)))
    except msgspec.ValidationError:
        return _unpacked(text)


def _unpacked(text: str) -> Known:
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        number, *fields = msgspec.msgpack.decode(packed, type=_Packed)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        number, fields = 0, []
    if number != _FORMAT:
        raise ProblemError(422, "invalid", "as_of is neither an instant nor the `known` of an answer")
    return Known._make(fields)
