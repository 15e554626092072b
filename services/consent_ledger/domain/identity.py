"""Who an event is about: what is known at an instant, what was voided, and which identifiers are one person's."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from consent_ledger.domain import durations
from consent_ledger.domain.facts import EventId, Fact, Token
from consent_ledger.domain.reach import addressed
from consent_ledger.domain.register import RESTRICTIVE, Register
from consent_ledger.domain.voiding import obstacle

CONFIRMATION_WINDOW: Final = 7 * durations.DAY
"""How long a double opt-in may be confirmed (P7D)."""
_REQUEST: Final = "request-received"
_LINKING: Final = frozenset({"email", "phone", "customer_no", "account_id"})
_LINKS_ALL: Final = frozenset({"identifiers-linked", "identifier-changed"})


class Seen:
    """A fact that counts, with the tokens of its identifiers at hand."""

    __slots__ = ("fact", "tokens")

    def __init__(self, fact: Fact) -> None:
        self.fact = fact
        self.tokens = [identifier[2] for identifier in fact.identifiers]

    def names(self, controller: str) -> bool:
        """Tell whether the event names a controller in so many words."""
        return self.fact.controllers is not None and controller in self.fact.controllers

    def of_role(self, role: str) -> list[Token]:
        """Give the identifiers of one role: old or new in a change of address."""
        return [identifier[2] for identifier in self.fact.identifiers if identifier[0] == role]


def speaks(register: Register, controller: str, fact: Fact) -> bool:
    """Tell whether an event that is no refusal speaks to a controller: names it, from a source serving it."""
    return fact.controllers is not None and controller in fact.controllers and register.serves(fact.source, controller)


def seen(register: Register, facts: Iterable[Fact], at: int, as_of: int) -> list[Seen]:
    """Give the facts known at `as_of` that have happened at `at`, without those voided by then.

    A voiding counts from its recording for all time before it (Art. 5(1)(d)).
    """
    known = [fact for fact in facts if fact.recorded <= as_of]
    voided = _voided(register, known)
    return [Seen(fact) for fact in known if fact.time <= at and fact.event_id not in voided]


def _voided(register: Register, known: Iterable[Fact]) -> frozenset[EventId]:
    voidings: dict[EventId, list[Fact]] = {}
    for fact in known:
        if fact.type == "event-voided" and fact.refers_to is not None:
            voidings.setdefault(fact.refers_to, []).append(fact)
    if not voidings:
        return frozenset()
    return frozenset(
        fact.event_id
        for fact in known
        if any(obstacle(register, fact, voiding) is None for voiding in voidings.get(fact.event_id, ()))
    )


def shared(register: Register, controller: str, facts: Iterable[Seen]) -> frozenset[Token]:
    """Name the identifiers that several people use. Only what speaks to the controller and is no refusal says so."""
    return frozenset(
        identifier[2]
        for one in facts
        for identifier in one.fact.identifiers
        if identifier[3] and one.fact.type not in RESTRICTIVE and speaks(register, controller, one.fact)
    )


def person(
    register: Register,
    controller: str,
    joint: frozenset[str],
    asked: Iterable[Token],
    facts: Sequence[Seen],
    shared: frozenset[Token],
) -> frozenset[Token]:
    """Name the unshared identifiers that the controller knows to be the person asked about (specification 6.5).

    Identifiers that stand together in one event belong together, transitively; devices and postal addresses only where
    they are linked in so many words. A refusal links at every controller it speaks to, and at their joint controllers.
    """
    found = set(asked) - shared
    pending = [
        linked for one in facts
        if len(one.tokens) > 1 and _links(register, controller, joint, one.fact)
        and len(linked := _linked(one.fact, shared)) > 1
    ]  # fmt: skip
    while pending:
        touching = [linked for linked in pending if not linked.isdisjoint(found)]
        if not touching:
            break
        found.update(*touching)
        pending = [linked for linked in pending if not linked <= found]
    return frozenset(found)


def about(facts: Sequence[Fact], tokens: frozenset[Token]) -> list[Fact]:
    """Give the facts that name one of the identifiers, and those that name none and refer to one of these.

    The steps of a request refer to the name that it was received under, which no event need have; of two requests under
    one name they are the first one's.
    """
    ids = {one.event_id for one in facts if not tokens.isdisjoint(one.tokens)}
    named: dict[EventId, Fact] = {}
    for one in sorted(facts, key=lambda one: (one.recorded, one.place)):
        if one.type == _REQUEST and one.refers_to is not None:
            named.setdefault(one.refers_to, one)
    ids |= {name for name, one in named.items() if not tokens.isdisjoint(one.tokens)}
    pending = [one for one in facts if not one.identifiers and one.refers_to is not None]
    while found := {one.event_id for one in pending if one.refers_to in ids} - ids:
        ids |= found
    return [one for one in facts if one.event_id in ids]


def _links(register: Register, controller: str, joint: frozenset[str], fact: Fact) -> bool:
    if fact.malformed:
        return False
    if fact.type not in RESTRICTIVE:
        return speaks(register, controller, fact)
    whom = addressed(register, fact.type, fact.source, fact.controllers, fact.controller_scope).controllers
    return controller in whom or not joint.isdisjoint(whom)


def _linked(fact: Fact, shared: frozenset[Token]) -> set[Token]:
    every = fact.type in _LINKS_ALL
    return {
        token for _, kind, token, _ in fact.identifiers if token not in shared and (every or kind in _LINKING)
    }  # fmt: skip


def in_window(consent: Fact, confirmation: Fact) -> bool:
    """Tell whether a confirmation came from the instant of the consent to P7D after it, both included."""
    return 0 <= confirmation.time - consent.time <= CONFIRMATION_WINDOW


def origins(changes: Sequence[Seen], addresses: frozenset[Token]) -> dict[Token, int]:
    """Name the addresses that these replaced, each with the instant before which a consent to it has moved along.

    Only a change by the subject, with the new address verified, carries a consent (row X2).
    """
    limits: dict[Token, int] = {}
    pending: list[tuple[Token, int]] = [(address, durations.NEVER) for address in addresses]
    while pending:
        address, limit = pending.pop()
        for one in changes:
            if one.fact.verified and one.fact.origin == "data-subject" and one.fact.time < limit:
                for token in _replaced(one.fact, address):
                    if one.fact.time > limits.get(token, one.fact.time - 1):
                        limits[token] = one.fact.time
                        pending.append((token, one.fact.time))
    return limits


def _replaced(fact: Fact, address: Token) -> Mapping[Token, str]:
    """Give the old identifiers of the type of a new one that is the address."""
    types = {kind for role, kind, token, _ in fact.identifiers if role == "new" and token == address}
    return {token: kind for role, kind, token, _ in fact.identifiers if role == "old" and kind in types}
