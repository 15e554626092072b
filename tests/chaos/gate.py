"""May a letter go out? The rules of the crash test's small world written once more, without any code of the product.

Every purpose here is marketing by e-mail that rests on consent, so what domain rules say of these five kinds of event
comes down to this: an address may be written to if somebody consented for exactly that address and purpose, and every
refusal by the person, whoever of their addresses it came by, was followed by a consent that is certainly later.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias
from uuid import UUID

# How far two sources' clocks may differ.
SKEW = timedelta(minutes=5)

PURPOSES = {"north": ("letter", "offers"), "south": ("letter",), "west": ("letter",)}
GROUPS = {"north": frozenset({"north", "south"}), "south": frozenset({"north", "south"}), "west": frozenset({"west"})}


Kind: TypeAlias = Literal["consent", "refusal", "link"]


@dataclass(eq=False, kw_only=True)
class Fact:
    """What one event means here, and what has become of it. `purposes` None: all of them."""

    event_id: UUID
    kind: Kind
    source: str
    controllers: frozenset[str]
    addresses: tuple[str, ...]
    purposes: frozenset[str] | None = None
    # None: unreadable, so the instant of recording counts, which is not before that of sending.
    occurred_at: datetime | None
    sent_at: datetime
    acknowledged_at: datetime | None = None
    recorded_at: datetime | None = None
    # The facts are numbered in the order in which they were seen in the ledger.
    seen: int | None = None

    @property
    def time(self) -> datetime:
        """The order time: what is dated after its recording counts from its recording."""
        known = self.recorded_at or self.occurred_at or self.sent_at
        return min(known, self.occurred_at or known)


Holds = Callable[[Fact], bool]


class Gate:
    """All facts of the world, by address."""

    def __init__(self) -> None:
        self.facts: dict[UUID, Fact] = {}
        self._by_address: dict[str, list[Fact]] = defaultdict(list)

    @property
    def addresses(self) -> Iterable[str]:
        """Every address that anything was said about."""
        return self._by_address.keys()

    def add(self, fact: Fact) -> None:
        """Know a fact from now on; whether it counts is asked each time."""
        self.facts[fact.event_id] = fact
        for address in fact.addresses:
            self._by_address[address].append(fact)

    def allows(self, controller: str, purpose: str, address: str, *, refusals: Holds, consents: Holds) -> bool:
        """Decide, counting those refusals and links, and those consents, for which the given condition holds."""
        given = [
            fact
            for fact in self._about(address, controller, "consent")
            if fact.purposes is not None and purpose in fact.purposes and consents(fact)
        ]
        if not given:
            return False
        against = {
            fact
            for one in self._person(address, controller, refusals)
            for fact in self._about(one, controller, "refusal")
            if (fact.purposes is None or purpose in fact.purposes) and refusals(fact)
        }
        return all(any(_is_certainly_later(consent, refusal) for consent in given) for refusal in against)

    def _about(self, address: str, controller: str, kind: Kind) -> list[Fact]:
        found = self._by_address.get(address, ())
        return [fact for fact in found if fact.kind == kind and controller in fact.controllers]

    def _person(self, address: str, controller: str, holds: Holds) -> set[str]:
        person, unasked = {address}, [address]
        while unasked:
            for link in self._about(unasked.pop(), controller, "link"):
                if holds(link):
                    unasked += set(link.addresses) - person
                    person.update(link.addresses)
        return person


def _is_certainly_later(consent: Fact, refusal: Fact) -> bool:
    margin = timedelta() if consent.source == refusal.source else SKEW
    return consent.time - refusal.time > margin
