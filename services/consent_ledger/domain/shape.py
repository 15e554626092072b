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
_INSTANT: Final = re.compile(rb'(?<="since":")[^"]+|(?<="valid_until":")[^"]+')


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
    """A span that starts with a fact."""

    fact: int
    duration: str

    def end(self, facts: Sequence[Fact]) -> int:
        return durations.after(facts[self.fact].time, self.duration)


class Pattern(NamedTuple):
    """The encoded answers to all histories of one shape, instants left out.

    `slots` and `due` are places among the instants of a history: those of its facts, then the ends of the clocks that
    are `running`, the first to end first.
    """

    text: bytes
    slots: tuple[int, ...]
    due: int | None
    over: tuple[_Clock, ...]
    running: tuple[_Clock, ...]

    @classmethod
    def of(cls, own: bytes, due: int | None, facts: Sequence[Fact], history: History) -> "Pattern | None":
        """Take the instants out of an answer; None where it rests on more of them than a pattern can tell."""
        places = {fact.time: place for place, fact in enumerate(facts)}
        if history.is_dated or any(start not in places for start, _ in history.clocks):
            return None
        ends = sorted(
            (durations.after(start, duration), _Clock(places[start], duration)) for start, duration in history.clocks
        )
        running = tuple(clock for end, clock in ends if end > history.at)
        places |= {clock.end(facts): place for place, clock in enumerate(running, len(facts))}
        found = [places.get(durations.instant(text.decode())) for text in _INSTANT.findall(own)]
        slots = tuple(place for place in found if place is not None)
        is_clear = len(places) == len(facts) + len(running)
        if not is_clear or len(slots) < len(found) or (due is not None and due not in places):
            return None
        return cls(
            text=_INSTANT.sub(b"%b", own.replace(b"%", b"%%")), slots=slots, due=None if due is None else places[due],
            over=tuple(clock for end, clock in ends if end <= history.at), running=running,
        )  # fmt: skip

    def answer(self, facts: Sequence[Fact], at: int) -> tuple[bytes, int | None] | None:
        """Give the answer to a history of this shape, and when it is due; None where the clocks stand otherwise."""
        if any(clock.end(facts) > at for clock in self.over):
            return None
        instants = [fact.time for fact in facts]
        last = at
        for clock in self.running:
            end = clock.end(facts)
            if end <= last:
                return None
            instants.append(end)
            last = end
        texts = {slot: durations.rfc3339(durations.moment(instants[slot])).encode() for slot in set(self.slots)}
        return self.text % tuple([texts[slot] for slot in self.slots]), None if self.due is None else instants[self.due]
