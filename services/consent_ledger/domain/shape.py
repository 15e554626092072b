"""Short histories of one shape get the same answers, so that most of them need not be decided twice.

The shape is all that a decision can see of a history but who it is about, when and where: tokens are told apart and not
named, of instants only the order counts and which are further apart than clocks may differ. What rests on instants in
any other way is either a clock, whose state is compared before an answer is given again, or has no pattern.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from consent_ledger.domain import durations
from consent_ledger.domain.facts import SKEW, Fact, Token
from consent_ledger.domain.register import REFUSALS
from consent_ledger.domain.standing import History

Shape: TypeAlias = tuple[Any, ...]

_FACTS_MAX: Final = 8
"""Longer histories are seldom alike."""
_ORDERED: Final = REFUSALS | {"consent-given", "delivery-failed", "identifier-verified", "objection-withdrawn"}
"""Types whose effect is told by what they say and their order: they refer to no other event and start nothing."""
_FIELDS: Final = Fact.__struct_fields__
# What an event says: the place, the instants and the identifiers come before it, names of staff after it.
_SAID: Final = slice(_FIELDS.index("identifiers") + 1, _FIELDS.index("entered_by"))
_INSTANT: Final = re.compile(rb'(?<="since":")(?P<since>[^"]+)|(?<="valid_until":")(?P<end>[^"]+)')


def shape_of(facts: Sequence[Fact], token: Token) -> Shape | None:
    """Give the shape of a history as the address with this token has it; None where there may be more to it."""
    if len(facts) > _FACTS_MAX:
        return None
    numbers = {token: 0}
    shape = []
    for fact in facts:
        # A birth date is personal, and each is a case of its own.
        if fact.type not in _ORDERED or fact.birth_day is not None:
            return None
        identifiers = tuple(
            [
                (role, kind, numbers.setdefault(one, len(numbers)), shared)
                for role, kind, one, shared in fact.identifiers
            ]
        )
        shape.append((fact.type, fact.source, identifiers, msgspec.structs.astuple(fact)[_SAID]))
    if len(facts) < 2:  # noqa: PLR2004
        return tuple(shape)
    times = sorted([fact.time for fact in facts])
    order = tuple([(bisect_left(times, fact.time), bisect_right(times, fact.time + SKEW)) for fact in facts])
    return (order, *shape) if len(set(times)) == len(times) else None


class _Clock(NamedTuple):
    """A span that starts with a fact, and whether it was over."""

    fact: int
    duration: str
    is_over: bool

    def end(self, facts: Sequence[Fact]) -> int:
        return durations.after(facts[self.fact].time, self.duration)


class Pattern(NamedTuple):
    """The encoded answers to all histories of one shape, instants left out.

    `slots`: for each instant the fact that it is of, None for the end of the clock that is running.
    """

    text: bytes
    slots: tuple[int | None, ...]
    clocks: tuple[_Clock, ...]
    running: _Clock | None
    is_due: bool

    @classmethod
    def of(cls, own: bytes, due: int | None, facts: Sequence[Fact], history: History) -> "Pattern | None":
        """Take the instants out of an answer; None where it rests on more of them than a pattern can tell."""
        places = {fact.time: place for place, fact in enumerate(facts)}
        if history.is_dated or any(start not in places for start, _ in history.clocks):
            return None
        clocks = [
            _Clock(places[start], duration, is_over=durations.after(start, duration) <= history.at)
            for start, duration in history.clocks
        ]
        running = [clock for clock in clocks if not clock.is_over]
        slots = [
            places.get(durations.instant(found["since"].decode())) if found["since"] else None
            for found in _INSTANT.finditer(own)
        ]
        if len(running) > 1 or (None in slots and not running):
            return None
        pattern = cls(
            text=_INSTANT.sub(b"%b", own.replace(b"%", b"%%")),
            slots=tuple(slots),
            clocks=tuple(clocks),
            running=running[0] if running else None,
            is_due=due is not None,
        )
        # A pattern that does not give its own answer again has left out something else.
        return pattern if pattern.answer(facts, history.at) == (own, due) else None

    def answer(self, facts: Sequence[Fact], at: int) -> tuple[bytes, int | None] | None:
        """Give the answer to a history of this shape, and when it is due; None where the clocks stand otherwise."""
        for clock in self.clocks:
            if (clock.end(facts) <= at) is not clock.is_over:
                return None
        end = 0 if self.running is None else self.running.end(facts)
        texts: dict[int | None, bytes] = {}
        for slot in self.slots:
            if slot not in texts:
                instant = end if slot is None else facts[slot].time
                texts[slot] = durations.rfc3339(durations.moment(instant)).encode()
        return self.text % tuple([texts[slot] for slot in self.slots]), end if self.is_due else None
