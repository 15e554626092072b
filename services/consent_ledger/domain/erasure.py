"""What an executed erasure destroys of a dossier, and what stays (Art. 17; specification 10).

Everything personal that happened up to the erasure goes: the personal part of every entry of the person, and with them
the keys. Of the facts only those go that neither refuse nor prove a consent; the proofs follow when their time is over
(specification 7.4). In their place the erasure itself binds every identifier of the person, so that none comes back.
What happened later is not touched: it is a new beginning.
"""

import hashlib
import struct
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from consent_ledger.domain import holds, identity
from consent_ledger.domain.catalogue import ERASED
from consent_ledger.domain.facts import Fact, Token, without_personal
from consent_ledger.domain.reach import scope
from consent_ledger.domain.register import RESTRICTIVE, Register
from consent_ledger.domain.retention import Place, still_suppressed

FORGOTTEN: Final = frozenset(
    {"relationship-started", "relationship-ended", "contact-recorded", "repermission-sent", "objection-withdrawn"}
    | {"identifier-verified", "identifiers-linked", "identifier-changed"}
)
"""Types that are forgotten whole: they refuse nothing, and prove no consent."""
_PLACE: Final = struct.Struct(">iq")
# A dossier with more facts answers no to everything, and judging it costs too much.
_FACTS_MAX: Final = 1000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one erasure destroys. `cause`: the erasure as it stands in the dossier.

    `whole`: it is about everything, so the keys go too. `identifiers`: type and token of all that are the person's.
    `places`: whose personal part goes. `forgotten`: places that are found no more. `facts`: the dossier afterwards.
    """

    cause: Fact
    whole: bool
    identifiers: tuple[tuple[str, Token], ...]
    places: frozenset[Place]
    forgotten: frozenset[Place]
    facts: tuple[Fact, ...]

    @property
    def bound(self) -> list[tuple[str, Token]]:
        """The identifiers that the erasure does not name itself."""
        return [(kind, token) for kind, token in self.identifiers if token not in self.cause.tokens]


def digest(salt: bytes, places: Iterable[Place]) -> str:
    """Commit to places and tell none: SHA-256 of a salt of 32 bytes, then shard (4 bytes) and position (8) of each."""
    told = b"".join(_PLACE.pack(*place) for place in sorted(places))
    return f"sha256:{hashlib.sha256(salt + told).hexdigest()}"


def plans(register: Register, facts: Sequence[Fact], controller: str, now: int) -> list[Plan]:
    """Tell what the erasures of one controller destroy, the earliest first; nothing while a hold is about the person.

    An erasure destroys only at a controller that it names, by a source that speaks for it, for what is destroyed does
    not come back (specification 6.4). A voided one destroys nothing.
    """
    found = executed(register, facts, controller, now)
    if not found:
        return []
    held = holds.held(register, facts, controller, now)
    made = (_plan(register, facts, one, controller, now) for one in found)
    return [one for one in made if held.isdisjoint(token for _, token in one.identifiers)]


def executed(register: Register, facts: Sequence[Fact], controller: str, now: int) -> list[Fact]:
    """Give the erasures that destroy at this controller, the earliest first."""
    counting = (one.fact for one in identity.seen(register, facts, now, now))
    found = (one for one in counting if one.type == ERASED and identity.speaks(register, controller, one))
    return sorted(found, key=lambda one: (one.time, one.place))


def _plan(register: Register, facts: Sequence[Fact], cause: Fact, controller: str, now: int) -> Plan:
    whole = cause.purposes is None and cause.channels is None
    tokens, shared = _person(register, facts, cause, controller)
    mine = [one for one in identity.about(facts, tokens) if one.time <= cause.time]
    if not whole:
        mine = [one for one in mine if _is_within(register, one, cause, controller)]
    places = frozenset(one.place for one in mine)
    kinds = {token: kind for one in facts for _, kind, token, _ in one.identifiers}
    identifiers = tuple(sorted((kinds[token], token) for token in tokens))
    bound = identifiers if whole else ()
    rest = [without_personal(one) if one.place in places else one for one in facts]
    rest = [_binding(one, bound) if one.place == cause.place else one for one in rest]
    forgotten = frozenset[Place]()
    if whole and len(facts) <= _FACTS_MAX:
        forgotten = _forgotten(mine, tokens | shared)
        left = [one for one in rest if one.place not in forgotten]
        if still_suppressed(register, facts, left, controller, now):
            rest = left
        else:
            forgotten = frozenset()
    return Plan(
        cause=cause, whole=whole, identifiers=identifiers, places=places, forgotten=forgotten, facts=tuple(rest)
    )  # fmt: skip


def _person(
    register: Register, facts: Sequence[Fact], cause: Fact, controller: str
) -> tuple[frozenset[Token], frozenset[Token]]:
    """Name the identifiers of the person as they were known at the erasure, and those that several people use."""
    known = identity.seen(register, facts, cause.time, cause.recorded)
    shared = identity.shared(register, controller, known)
    if cause.narrowed:
        return cause.tokens - shared, frozenset()
    return identity.person(register, controller, frozenset(), cause.tokens, known, shared), shared


def _is_within(register: Register, fact: Fact, cause: Fact, controller: str) -> bool:
    """Tell whether a permission is for nothing but what a part of the data was erased for (row E9)."""
    if fact.type in RESTRICTIVE or not fact.purposes:
        return False
    names = scope(register, frozenset({controller}), cause.purposes).names
    in_channels = cause.channels is None or (fact.channels is not None and set(fact.channels) <= set(cause.channels))
    return in_channels and (names is None or names.issuperset(fact.purposes))


def _forgotten(mine: Iterable[Fact], tokens: frozenset[Token]) -> frozenset[Place]:
    """Name what is forgotten whole. What marks an identifier as shared keeps other people's data apart, so it stays."""
    every = list(mine)
    gone = [
        one for one in every
        if one.type in FORGOTTEN and one.identifiers and one.tokens <= tokens
        and not any(shared for _, _, _, shared in one.identifiers)
    ]  # fmt: skip
    ids = {one.event_id for one in gone}
    referring = (one.place for one in every if not one.identifiers and one.refers_to in ids)
    return frozenset({*(one.place for one in gone), *referring})


def _binding(cause: Fact, identifiers: Iterable[tuple[str, Token]]) -> Fact:
    more = tuple(("subject", kind, token, False) for kind, token in identifiers if token not in cause.tokens)
    return msgspec.structs.replace(cause, identifiers=cause.identifiers + more)
