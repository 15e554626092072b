"""Records of the suppressions topic as the relay writes them, and copies made of them without Kafka."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

import builders
from consent_ledger.client import HashKey, LocalView
from consent_ledger.client.copy import Copy
from consent_ledger.client.follower import complete, put
from consent_ledger.domain import register as registers
from consent_ledger.domain import suppression
from consent_ledger.domain.durations import rfc3339
from consent_ledger.domain.register import Register
from consent_ledger.domain.suppression import Answer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHOP = "shop-be"
KEY = HashKey(controller=SHOP, kid="kid-1", key=bytes(range(32)))
DOCUMENT: dict[str, Any] = {
    **builders.REGISTER,
    "purposes": [
        *builders.REGISTER["purposes"],
        {"controller": SHOP, "id": "invoice", "basis": "contract", "channels": ["email", "internal"]},
        {
            "controller": SHOP, "id": "calls", "basis": "legitimate-interest", "channels": ["phone"],
            "direct_marketing": True, "dnc": ["be-dncm"],
        },
    ],
    "dnc_registers": {"be-dncm": {"max_age": "P7D"}},
}  # fmt: skip
REGISTER: Register = registers.compile(DOCUMENT, 1)


def yes(reason: str = "CONSENT", *, until: datetime | None = None, needs_dnc: str | None = None) -> Answer:
    end = None if until is None else rfc3339(until)
    return Answer(allow=True, reason=reason, reasons=(reason,), valid_until=end, needs_dnc=needs_dnc)


def no(reason: str) -> Answer:
    since = rfc3339(NOW - timedelta(days=1))
    return Answer(allow=False, reason=reason, reasons=(reason,), since=since)


def address(
    value: str, answers: Mapping[str, Mapping[str, Answer]] | None = None, *, type: str = "email", version: int = 1
) -> tuple[bytes, bytes]:
    """The record of one address; `answers` by purpose and channel are those that differ from the defaults."""
    hash_ = KEY.hash(type, value)
    record = suppression.record(
        REGISTER, controller=SHOP, type=type, hash_=hash_, kid=KEY.kid, place=(1, version), version=version,
        recorded_at=NOW, own=msgspec.json.encode(answers or {}, order="sorted"),
    )  # fmt: skip
    return suppression.suppression_key(SHOP, type, hash_), record


def purposes(*, version: int = 1, key: HashKey = KEY, needs: Mapping[str, int] | None = None) -> tuple[bytes, bytes]:
    record = suppression.purposes_record(
        REGISTER, controller=key.controller, kid=key.kid, check=key.check, version=version, needs=needs or {}
    )
    return suppression.purposes_key(key.controller), record


def watermark(instant: datetime = NOW, seq: int = 1) -> tuple[bytes, bytes]:
    return suppression.WATERMARK_KEY, suppression.watermark_record(instant, seq, 1)


def snapshot(until: datetime, version: int = 1) -> tuple[bytes, bytes]:
    value = {"register": "be-dncm", "snapshot_at": until - timedelta(days=7), "valid_until": until, "version": version}
    return b"!dnc/be-dncm", msgspec.json.encode(value)


def apply(copy: Copy, *records: tuple[bytes, bytes | None], q: int = 0) -> None:
    """Put records into a partition of a copy."""
    with copy.writing() as writing:
        for key, value in records:
            put(writing, q, SimpleNamespace(key=key, value=value))


def copied(path: Path, *records: tuple[bytes, bytes]) -> Copy:
    """A complete copy of a topic of one partition that holds these records, the defaults, and a watermark."""
    copy = Copy(path)
    with copy.writing() as writing:
        writing.begin_anew("suppressions", [0])
    apply(copy, purposes(), *records, watermark())
    with copy.writing() as writing:
        complete(writing)
    return copy


class Clock:
    """Seconds since 1970 as the test sets them."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now.timestamp()


def view_of(copy: Copy, *, keys: tuple[HashKey, ...] = (KEY,), clock: Clock | None = None) -> LocalView:
    """A view that shares the open copy, as one process may open it only once."""
    view = LocalView(copy.path, keys, clock=clock or Clock())
    view._copy = copy
    return view
