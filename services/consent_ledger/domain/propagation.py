"""How fast refusals spread: declared, recorded, on the topic, applied by each consumer (domain.md 7.3)."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from consent_ledger.domain import facts, rules_refusal
from consent_ledger.domain.catalogue import FIVE_REFUSALS
from consent_ledger.domain.reach import Scope, addressed, scope
from consent_ledger.domain.register import Purpose, Register

REFUSALS: Final = frozenset({*FIVE_REFUSALS, "erasure-executed"})
"""The types that must spread; besides them a hard bounce."""
SPREAD_MAX: Final = timedelta(seconds=60)
"""From the ledger to the topic, and to every registered consumer, for 99 of 100 refusals."""
BEHIND_MAX: Final = timedelta(minutes=15)
"""A consumer that is further behind must not send marketing any more."""

RECORDED: Final = "recorded"
PUBLISHED: Final = "published"

_MINUTE: Final = timedelta(minutes=1)


EVERYTHING: Final = Scope(None, frozenset())


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal, by its event; `controllers`: those that it reaches, none when that is not known yet: then all.

    `scope`: the purposes that it reaches there; `channels` None: all.
    """

    event_id: UUID
    type: str
    declared_at: datetime
    recorded_at: datetime
    controllers: frozenset[str]
    scope: Scope = EVERYTHING
    channels: frozenset[str] | None = None

    def is_about(self, purpose: Purpose, channel: str) -> bool:
        """Tell whether it may turn an answer for a purpose and channel to no."""
        if self.controllers and purpose.controller not in self.controllers:
            return False
        return rules_refusal.is_about(purpose, channel, type=self.type, scope=self.scope, channels=self.channels)


def refusal(
    register: Register,
    body: Mapping[str, Any],
    *,
    event_id: UUID,
    type: str,
    declared_at: datetime,
    recorded_at: datetime,
    controllers: Collection[str],
) -> Refusal:
    """Read a refusal from what its entry says without personal fields, by the register in force.

    What cannot be read is a refusal of everything, as it is for a decision. A bounce is about an address, whatever for.
    """
    said = facts.words(type, body)
    reached = EVERYTHING
    if type in REFUSALS:
        whom = addressed(register, type, str(body.get("source")), said["controllers"], said["controller_scope"])
        reached = scope(register, whom.controllers, said["purposes"])
    channels = said["channels"]
    return Refusal(
        event_id=event_id, type=type, declared_at=declared_at, recorded_at=recorded_at,
        controllers=frozenset(controllers), scope=reached, channels=None if channels is None else frozenset(channels),
    )  # fmt: skip


Uses = tuple[tuple[Purpose, str], ...]


def uses(
    register: Register, controllers: Collection[str], purposes: Collection[str], channels: Collection[str]
) -> Uses | None:
    """Give the questions that a consumer of these purposes and channels asks (none: all); None: any question.

    A purpose that asks anew for another one stops with it. A purpose that is not in the register any more may have been
    any: then nothing is narrowed.
    """
    known = [one for name in controllers for one in register.purposes_of(name)]
    if not (purposes or channels) or not {one.id for one in known}.issuperset(purposes):
        return None
    named = [one for one in known if not purposes or one.id in purposes]
    below = (register.purposes.get((one.controller, one.terms.repermission_for or "")) for one in named)
    return tuple(
        (one, channel)
        for one in [*named, *(other for other in below if other is not None)]
        for channel in one.channels
            if not channels or channel in channels
    ) or None  # fmt: skip


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Where refusals arrive: the topic, or a consumer of some controllers (None: all) that was registered `since`.

    `uses`: the purposes and channels that it asks about (None: any).
    It has everything recorded up to `instant` (None: nothing yet); `delays`: minute of recording → how long it took at
    most. What is missing there was not measured.
    """

    name: str
    controllers: frozenset[str] | None = None
    uses: Uses | None = None
    since: datetime | None = None
    instant: datetime | None
    delays: Mapping[datetime, timedelta]

    def concerns(self, refusal: Refusal) -> bool:
        """Tell whether a refusal must arrive here."""
        return (self.since is None or refusal.recorded_at >= self.since) and self.asks_about(refusal)

    def asks_about(self, refusal: Refusal) -> bool:
        """Tell whether a refusal is about anything that is asked here, whenever it was recorded."""
        if self.controllers is not None and refusal.controllers and not self.controllers & refusal.controllers:
            return False
        return self.uses is None or any(refusal.is_about(*one) for one in self.uses)

    def has(self, refusal: Refusal) -> bool:
        """Tell whether a refusal has arrived here."""
        return self.instant is not None and refusal.recorded_at <= self.instant


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How long refusals took, in seconds, None without any; one that has not arrived counts with its age.

    `behind`: seconds that a consumer knows nothing of. `late`: whether the budget is broken.
    """

    stage: str
    refusals: int
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None
    behind: float | None
    unconfirmed: list[UUID]
    late: bool


def measure(refusals: Sequence[Refusal], topic: Stage, consumers: Iterable[Stage], now: datetime) -> list[Figures]:
    """Say how long refusals took to each stage. From the declaration to the ledger there is no budget here."""
    declared = [max(timedelta(0), one.recorded_at - one.declared_at) for one in refusals]
    return [
        _figures(RECORDED, declared, [], None, is_bounded=False),
        _measure(refusals, topic, now, behind=None),
        *(_measure(refusals, one, now, behind=now - (one.instant or one.since or now)) for one in consumers),
    ]


def _measure(refusals: Sequence[Refusal], stage: Stage, now: datetime, *, behind: timedelta | None) -> Figures:
    delays, unconfirmed = [], []
    for one in refusals:
        if not stage.concerns(one):
            continue
        if not stage.has(one):
            unconfirmed.append(one.event_id)
            delays.append(now - one.recorded_at)
        elif (delay := stage.delays.get(minute_of(one.recorded_at))) is not None:
            delays.append(delay)
    return _figures(stage.name, delays, unconfirmed, behind, is_bounded=True)


def _figures(
    stage: str, delays: list[timedelta], unconfirmed: list[UUID], behind: timedelta | None, *, is_bounded: bool
) -> Figures:
    delays.sort()
    p99 = percentile(delays, 99)
    is_slow = is_bounded and p99 is not None and p99 > SPREAD_MAX
    return Figures(
        stage=stage, refusals=len(delays), p50=_seconds(percentile(delays, 50)), p95=_seconds(percentile(delays, 95)),
        p99=_seconds(p99), max=_seconds(delays[-1] if delays else None), behind=_seconds(behind),
        unconfirmed=unconfirmed, late=is_slow or (behind is not None and behind > BEHIND_MAX),
    )  # fmt: skip


def percentile(ordered: Sequence[timedelta], percent: int) -> timedelta | None:
    """Return the smallest of ordered values that so many of a hundred do not exceed; None of nothing."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else None


def minute_of(instant: datetime) -> datetime:
    """Return the minute in which an instant lies."""
    return instant.replace(second=0, microsecond=0)


def _seconds(delay: timedelta | None) -> float | None:
    return None if delay is None else delay.total_seconds()
