"""What one controller has on record about one person and address, as known at one instant, sorted by what it does."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, Final, NamedTuple, Protocol

from consent_ledger.domain import identity
from consent_ledger.domain.facts import SKEW, EventId, Fact, Token
from consent_ledger.domain.identity import Seen
from consent_ledger.domain.reach import Scope, addressed, scope
from consent_ledger.domain.register import REFUSALS, Register

_ATTENTION: Final = frozenset({"collection", "order", "click", "reply", "login", "call", "visit"})


class Listing(NamedTuple):
    """What a do-not-call register says of one number. `snapshot_at` None: there is no snapshot.

    `listed_from` None: not listed. `source` published the snapshot; empty if several did: then nobody has its clock.
    """

    snapshot_at: int | None
    listed_from: int | None
    source: str


def publisher(sources: Iterable[str]) -> str:
    """Name the source of all snapshots of one date; empty if they have several."""
    named = set(sources)
    return named.pop() if len(named) == 1 else ""


class CallRegister(Protocol):
    """The snapshots of one do-not-call register that one controller may ask."""

    def look_up(self, token: Token, at: int, as_of: int) -> Listing:
        """Say what was known at `as_of` of a number at `at`."""


class Refusal(NamedTuple):
    """A refusal that reaches the person. `direct`: it contains the very address."""

    fact: Fact
    scope: Scope
    direct: bool


class Elsewhere(NamedTuple):
    """A withdrawal that speaks to other controllers, and counts here if they share a consent (C-129/21)."""

    fact: Fact
    controllers: frozenset[str]
    scope: Scope


class History:
    """The facts of a dossier that count at one instant, as of one time of recording, for one controller.

    `clocks` are the spans that answers from it have asked about: the instant each starts from, and its length.
    `is_dated`: an answer also rests on the calendar in another way.
    """

    __slots__ = ("_standings", "as_of", "at", "clocks", "controller", "dnc", "is_dated", "register", "seen", "shared")

    def __init__(
        self,
        register: Register,
        facts: Iterable[Fact],
        controller: str,
        *,
        at: int,
        as_of: int,
        dnc: Mapping[str, CallRegister] | None,
    ) -> None:
        self.register = register
        self.controller = controller
        self.at = at
        self.as_of = as_of
        self.dnc = dnc or {}
        self.seen = identity.seen(register, facts, at, as_of)
        self.shared = identity.shared(register, controller, self.seen)
        self.clocks: set[tuple[int, str]] = set()
        self.is_dated = False
        self._standings: dict[tuple[object, ...], Standing] = {}

    def standing(self, asked: Sequence[Token], address: Token | None, joint: frozenset[str]) -> "Standing":
        """Sort the facts for one person. `address` None: unshared asked identifiers stand for it (internal, media)."""
        addresses = frozenset((address,)) if address is not None else frozenset(asked) - self.shared
        return self.standing_at(asked, addresses, joint)

    def standing_at(self, asked: Sequence[Token], addresses: frozenset[Token], joint: frozenset[str]) -> "Standing":
        """Sort the facts for one person and the addresses in question, once."""
        key = (addresses, joint, *asked)
        found = self._standings.get(key)
        if found is None:
            found = self._standings[key] = Standing(self, asked, addresses, joint)
        return found

    def speaks_to(self, fact: Fact) -> frozenset[str]:
        """Name the controllers that an event speaks to under the register of this history."""
        return addressed(self.register, fact.type, fact.source, fact.controllers, fact.controller_scope).controllers

    def scope_of(self, refusal: Fact) -> Scope:
        """Tell which purposes a refusal reaches under the register of this history."""
        return scope(self.register, self.speaks_to(refusal), refusal.purposes)


def certainly_later(permission: Fact, refusal_time: int, refusal_source: str) -> bool:
    """Tell whether a permission beats a refusal: by any margin on one clock, by more than PT5M across two."""
    margin = permission.time - refusal_time
    return margin > (0 if permission.source == refusal_source else SKEW)


class Standing:
    """The facts about one person at one controller, each list in the order of the ledger.

    Permissions are about the address; refusals, clocks and ages about the person.
    """

    def __init__(
        self, history: History, asked: Sequence[Token], addresses: frozenset[Token], joint: frozenset[str]
    ) -> None:
        self.history = history
        self.register = history.register
        self.controller = history.controller
        self.addresses = addresses
        self._asked = asked
        self._joint = joint
        person = identity.person(self.register, self.controller, joint, asked, history.seen, history.shared)
        self._near = person | addresses
        self._origins: Mapping[Token, int] | None = None
        self.refusals: list[Refusal] = []
        self.elsewhere: list[Elsewhere] = []
        self.consents: list[Fact] = []
        self.consents_of_person: list[Fact] = []
        self.consents_at_address: set[EventId] = set()
        self.confirmations: dict[EventId, list[Fact]] = {}
        self.waivers: list[Fact] = []
        self.assessments: dict[EventId, list[Fact]] = {}
        self.lifted: set[EventId] = set()
        self.refused: set[EventId] = set()
        self.sales: list[Fact] = []
        self.relationship: list[Fact] = []
        self.contacts: list[Fact] = []
        self.questions: list[Fact] = []
        self.birth_days: list[Fact] = []
        self.reports: list[Fact] = []
        self.bounces: list[Fact] = []
        self.replacements: list[Fact] = []
        self.proofs: list[Fact] = []
        self.returns: list[Fact] = []
        for one in history.seen:
            take = self._TAKE.get(one.fact.type)
            if take is not None:
                take(self, one)
        self._prove_confirmed()

    def beside(self, joint: frozenset[str]) -> "Standing":
        """Give the standing of the same person and addresses under other joint controllers."""
        return self.history.standing_at(self._asked, self.addresses, joint)

    def _is_about_person(self, one: Seen) -> bool:
        return not self._near.isdisjoint(one.tokens)

    def _has_address(self, one: Seen) -> bool:
        return not self.addresses.isdisjoint(one.tokens)

    def _reaches(self, one: Seen) -> bool:
        """Tell whether a refusal reaches the person: one narrowed to its identifiers only at the very address."""
        return self._has_address(one) if one.fact.narrowed else self._is_about_person(one)

    def _counts(self, fact: Fact) -> bool:
        """Tell whether a permission counts: names the controller, from a source serving it, not dated ahead."""
        return not fact.ahead and identity.speaks(self.register, self.controller, fact)

    # -- one method per part that facts play

    def _take_refusal(self, one: Seen) -> None:
        if not self._reaches(one):
            return
        fact, whom = one.fact, self.history.speaks_to(one.fact)
        reached = scope(self.register, whom, fact.purposes)
        if self.controller in whom or not self._joint.isdisjoint(whom):
            self.refusals.append(Refusal(fact, reached, self._has_address(one)))
        elif fact.type == "consent-withdrawn":
            self.elsewhere.append(Elsewhere(fact, whom, reached))

    def _take_consent(self, one: Seen) -> None:
        if not one.names(self.controller):
            return
        if self._is_about_person(one):
            self.consents_of_person.append(one.fact)
        if self._has_address(one):
            self.consents_at_address.add(one.fact.event_id)
            self.consents.append(one.fact)
        elif self._came_from(one):
            self.consents.append(one.fact)

    def _came_from(self, one: Seen) -> bool:
        """Tell whether the address replaced one in the consent, by a verified change of the subject after it."""
        if self._origins is None:
            changes = [other for other in self.history.seen if other.fact.type == "identifier-changed"]
            moved = [other for other in changes if self._counts(other.fact)]
            self._origins = identity.origins(moved, self.addresses)
        return any(one.fact.time < self._origins.get(token, one.fact.time) for token in one.tokens)

    def _take_confirmation(self, one: Seen) -> None:
        if one.fact.refers_to is not None and self._counts(one.fact):
            self.confirmations.setdefault(one.fact.refers_to, []).append(one.fact)

    def _take_waiver(self, one: Seen) -> None:
        if one.fact.origin == "data-subject" and self._has_address(one) and self._counts(one.fact):
            self.waivers.append(one.fact)

    def _take_assessment(self, one: Seen) -> None:
        if one.fact.refers_to is not None and self._counts(one.fact):
            self.assessments.setdefault(one.fact.refers_to, []).append(one.fact)

    def _take_lifting(self, one: Seen) -> None:
        if one.fact.refers_to is not None and one.fact.informed_before and self._counts(one.fact):
            self.lifted.add(one.fact.refers_to)

    def _take_refused_request(self, one: Seen) -> None:
        if one.fact.refers_to is not None and one.fact.grounds and self._counts(one.fact):
            self.refused.add(one.fact.refers_to)

    def _take_relationship(self, one: Seen) -> None:
        if self._is_about_person(one) and self._counts(one.fact):
            self.relationship.append(one.fact)
            if one.fact.type == "relationship-started" and self._has_address(one):
                self.sales.append(one.fact)

    def _take_contact(self, one: Seen) -> None:
        if (
            one.fact.by_subject
            and one.fact.kind in _ATTENTION
            and self._is_about_person(one)
            and self._counts(one.fact)
        ):
            self.contacts.append(one.fact)

    def _take_question(self, one: Seen) -> None:
        if one.names(self.controller) and self._is_about_person(one):
            self.questions.append(one.fact)

    def _take_age(self, one: Seen) -> None:
        if self._reaches(one) and self.controller in self.history.speaks_to(one.fact):
            if one.fact.birth_day is not None:
                self.birth_days.append(one.fact)
            if one.fact.is_minor:
                self.reports.append(one.fact)

    def _take_bounce(self, one: Seen) -> None:
        if one.fact.kind == "hard" and self._has_address(one) and self.controller in self.history.speaks_to(one.fact):
            self.bounces.append(one.fact)

    def _take_change(self, one: Seen) -> None:
        """An address once replaced is retired whoever says so; only a change that counts brings one back (Art. 16)."""
        old, new = one.of_role("old"), one.of_role("new")
        if one.names(self.controller) and old != new:
            if not self.addresses.isdisjoint(old):
                self.replacements.append(one.fact)
            if not self.addresses.isdisjoint(new) and self._counts(one.fact):
                self.returns.append(one.fact)

    def _take_verification(self, one: Seen) -> None:
        if self._has_address(one) and self._counts(one.fact):
            self.proofs.append(one.fact)

    def _prove_confirmed(self) -> None:
        """Add the confirmations of consents given for this address: they prove it too."""
        for consent in self.consents if self.confirmations else ():
            if consent.event_id in self.consents_at_address:
                self.proofs += (
                    one for one in self.confirmations.get(consent.event_id, ()) if identity.in_window(consent, one)
                )

    _TAKE: ClassVar[Mapping[str, Callable[["Standing", Seen], None]]] = dict.fromkeys(REFUSALS, _take_refusal) | {
        "consent-given": _take_consent,
        "consent-confirmed": _take_confirmation,
        "objection-withdrawn": _take_waiver,
        "objection-assessed": _take_assessment,
        "restriction-lifted": _take_lifting,
        "erasure-refused": _take_refused_request,
        "relationship-started": _take_relationship,
        "relationship-ended": _take_relationship,
        "contact-recorded": _take_contact,
        "repermission-sent": _take_question,
        "age-established": _take_age,
        "delivery-failed": _take_bounce,
        "identifier-changed": _take_change,
        "identifier-verified": _take_verification,
    }
