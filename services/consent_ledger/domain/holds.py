"""Who is under a legal hold: what is known of them is kept for claims, not destroyed (Art. 17(3)(e))."""

from collections.abc import Sequence

from consent_ledger.domain import identity
from consent_ledger.domain.catalogue import HOLD
from consent_ledger.domain.facts import EventId, Fact, Token
from consent_ledger.domain.register import Register


def in_force(register: Register, facts: Sequence[Fact], controller: str, now: int) -> list[Fact]:
    """Give the holds of one controller that nobody has lifted; only whoever speaks for it places and lifts them."""
    counting = [one.fact for one in identity.seen(register, facts, now, now)]
    speaking = [one for one in counting if identity.speaks(register, controller, one)]
    lifted = {one.refers_to for one in speaking if one.type == "hold-lifted"}
    return [one for one in speaking if one.type == HOLD and one.event_id not in lifted]


def held(register: Register, facts: Sequence[Fact], controller: str, now: int) -> frozenset[Token]:
    """Name all identifiers of the people whom the holds in force are about, also those that several people use."""
    found = in_force(register, facts, controller, now)
    if not found:
        return frozenset()
    seen = identity.seen(register, facts, now, now)
    shared = identity.shared(register, controller, seen)
    named = frozenset[Token]().union(*(one.tokens for one in found))
    return named | identity.person(register, controller, frozenset(), named, seen, shared)


def events(register: Register, facts: Sequence[Fact], controller: str, now: int) -> frozenset[EventId]:
    """Name all events that are about somebody under a hold."""
    return frozenset(one.event_id for one in identity.about(facts, held(register, facts, controller, now)))
