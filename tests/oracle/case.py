"""One question about one person: who that is, what stands for the address, whom an event is about (5, 6.5, 6.14)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from oracle import known
from oracle.identifiers import normal
from oracle.known import Entry, Register

Identifier = tuple[str, str]

ADDRESS_OF = {
    "email": "email", "phone": "phone", "sms": "phone", "post": "postal", "device": "device",
    "internal": None, "media": None,
}  # fmt: skip
LINKING = {"email", "phone", "customer_no", "account_id"}


def identifiers(subject: Any) -> set[Identifier]:
    return {(one["type"], normal(one["type"], one["value"])[0]) for one in subject or ()}


def about(one: Entry) -> set[Identifier]:
    """Return the identifiers in an event; those of a change of address are both its ends."""
    ends = [one.body[role] for role in ("old", "new") if role in one.body]
    return identifiers(one.body.get("subject")) | identifiers(ends)


@dataclass(frozen=True)
class Case:
    """A question, with the register and all that is known and has happened by its instant (6.1, 6.2)."""

    register: Register
    entries: Sequence[Entry]
    controller: str
    purpose: Mapping[str, Any]
    channel: str
    asked: frozenset[Identifier]
    at: datetime

    def of(self, *types: str) -> list[Entry]:
        return [one for one in self.happened if one.type in types]

    @cached_property
    def happened(self) -> list[Entry]:
        """6.2: events with t > at are not yet."""
        return [one for one in self.entries if one.t <= self.at]

    @cached_property
    def asked_for(self) -> Mapping[str, Any]:
        """The purpose for which this one asks permission anew; else this one."""
        name = self.purpose.get("repermission_for")
        return next((one for one in self._own if one["id"] == name), self.purpose)

    @property
    def _own(self) -> list[Mapping[str, Any]]:
        return [one for one in self.register["purposes"] if one["controller"] == self.controller]

    @cached_property
    def marketing(self) -> bool:
        """Asking for permission to market is marketing (2.0, the purpose `re-permission`)."""
        return bool(self.purpose.get("direct_marketing") or self.asked_for.get("direct_marketing"))

    @cached_property
    def basis(self) -> str:
        return str(self.purpose["basis"])

    @cached_property
    def joint(self) -> set[str]:
        return known.joint_controllers(self.register, self.controller, self.purpose["id"])

    def counts(self, one: Entry) -> bool:
        return known.counts_for(self.register, one, self.controller)

    def addressed_by(self, one: Entry) -> set[str]:
        return known.addressed(self.register, one)

    def addresses(self, one: Entry) -> bool:
        """6.4: does a refusal address this controller, or a joint one of the purpose asked about?"""
        return bool(known.addressed(self.register, one) & self.joint)

    @cached_property
    def shared(self) -> set[Identifier]:
        """6.14.3: marks come from non-refusals that speak to the controller."""
        return {
            (mark["type"], normal(mark["type"], mark["value"])[0])
            for one in self.happened
            if one.type not in known.RESTRICTIVE and known.speaks_to(self.register, one, self.controller)
            for mark in [*(one.body.get("subject") or ()), *(one.body[r] for r in ("old", "new") if r in one.body)]
            if mark.get("shared")
        }

    @cached_property
    def person(self) -> set[Identifier]:
        """6.5: all identifiers known to this controller as the same person, from those asked about."""
        person = set(self.asked) - self.shared
        grown = True
        while grown:
            grown = False
            for link in self._links:
                if link & person and not link <= person:
                    person |= link
                    grown = True
        return person

    @cached_property
    def _links(self) -> list[set[Identifier]]:
        return [self._linked_by(one) - self.shared for one in self.happened if self._may_link(one)]

    def _may_link(self, one: Entry) -> bool:
        """6.14.2: every refusal that addresses it or a joint one; any other event that names it and is served.

        Bounces and ages stay with the controllers that they address (9.20), but link there like refusals.
        """
        if one.type in known.RESTRICTIVE:
            shared_by_the_joint = one.type in known.REFUSALS and self.addresses(one)
            addressed = self.controller in self.addressed_by(one)
            return (addressed or shared_by_the_joint) and not one.body.get("malformed")
        return known.speaks_to(self.register, one, self.controller)

    def _linked_by(self, one: Entry) -> set[Identifier]:
        if one.type in ("identifiers-linked", "identifier-changed"):
            return about(one)
        return {identifier for identifier in about(one) if identifier[0] in LINKING}

    @cached_property
    def stand_for_the_address(self) -> set[Identifier]:
        """5, 6.14.3: the one address of the channel; where it has none, the asked identifiers that are not shared."""
        kind = ADDRESS_OF[self.channel]
        if kind is None:
            return set(self.asked) - self.shared
        return {one for one in self.asked if one[0] == kind}

    def at_the_address(self, one: Entry) -> bool:
        """Does the event contain the address asked about?"""
        return bool(about(one) & self.stand_for_the_address)

    def of_the_person(self, one: Entry) -> bool:
        """Is the event about the person: by an unshared identifier, or by the very address asked about?"""
        return bool((about(one) - self.shared) & self.person) or self.at_the_address(one)

    def reached_by(self, refusal: Entry) -> bool:
        """6.14.4."""
        if refusal.body.get("identifier_scope") == "identifier":
            return self.at_the_address(refusal)
        return self.of_the_person(refusal)
