"""To whom and to which purposes an event speaks, and whose dossiers it goes to."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from consent_ledger.domain.register import REFUSALS, RESTRICTIVE, Purpose, Register, common_source, same_group

_NOWHERE: Final = frozenset({"preference-register-imported", "purpose-registered", "register-loaded"})


class Addressed(NamedTuple):
    """Whom an event speaks to: everybody, and those that it reaches without being widened to a group."""

    controllers: frozenset[str]
    ungrouped: frozenset[str]


class Scope(NamedTuple):
    """Which purposes a refusal reaches. `names` None: all of them, as "all"."""

    names: frozenset[str] | None
    groups: frozenset[str]


@lru_cache(maxsize=8192)
def addressed(
    register: Register,
    type: str,
    source: str,
    controllers: tuple[str, ...] | None,
    controller_scope: str | None,
) -> Addressed:
    """Name the controllers that an event speaks to (specification 6.4). `controllers` None or empty: none was named.

    A permission speaks to those it names. A refusal that names none, or one that is not registered, also speaks to all
    that its source serves; an unregistered source, or one that serves nobody, is taken to serve all.
    """
    known = frozenset(register.controllers)
    named = known.intersection(controllers or ())
    if type not in RESTRICTIVE:
        return Addressed(named, named)
    if not controllers or len(named) < len(set(controllers)):
        named = known & (named | (register.sources.get(source) or known)) or known
    grouped = {
        name for name in named
        if controller_scope == "group"
        or (controller_scope != "entity" and type == "objection-raised" and register.controllers[name].objects_as_group)
    }  # fmt: skip
    return Addressed(named.union(*(same_group(register, name) for name in grouped)), named)


@lru_cache(maxsize=8192)
def scope(register: Register, controllers: frozenset[str], purposes: tuple[str, ...] | None) -> Scope:
    """Tell which purposes a refusal reaches that speaks to these controllers (specification 6.6).

    No purpose, or one that none of the controllers has registered: all. A `withdrawal_group` counts as listed together.
    """
    found = [register.purposes.get((name, purpose)) for purpose in purposes or () for name in controllers]
    known = {purpose.id for purpose in found if purpose}
    if not purposes or not known.issuperset(purposes):
        return Scope(None, frozenset())
    return Scope(frozenset(purposes), frozenset(p.withdrawal_group for p in found if p and p.withdrawal_group))


def reach(
    register: Register,
    *,
    type: str,
    source: str,
    controllers: Sequence[str] | str | None,
    controller_scope: str | None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Fix at recording whose dossiers an event goes to, and who of them gets its personal fields; both sorted.

    A refusal goes to all it speaks to and their joint controllers, whatever its purposes: its identifiers are one
    person's there too (specification 6.14.2). A withdrawal also goes to everybody who may be named in the same consent:
    the same group, or served by a common source. A voiding goes wherever its target may be.
    """
    return _reach(register, type, source, _names(controllers), controller_scope)


def _names(value: Sequence[str] | str | None) -> tuple[str, ...] | None:
    return None if value is None or isinstance(value, str) else tuple(value)


@lru_cache(maxsize=8192)
def _reach(
    register: Register,
    type: str,
    source: str,
    controllers: tuple[str, ...] | None,
    controller_scope: str | None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if type in _NOWHERE:
        return (), ()
    speaks_to = addressed(register, type, source, controllers, controller_scope)
    reached = set(speaks_to.controllers)
    if type in REFUSALS:
        for purpose in register.purposes.values():
            if not purpose.terms.joint.isdisjoint(speaks_to.controllers):
                reached.add(purpose.controller)
    if type == "consent-withdrawn":
        for name in speaks_to.controllers:
            reached |= same_group(register, name) | common_source(register, name)
    if type == "event-voided":
        reached = set(register.controllers)
    return tuple(sorted(reached & register.controllers.keys())), tuple(sorted(speaks_to.ungrouped))


def covers(reached: Scope, purpose: Purpose) -> bool:
    """Tell whether a purpose is among those that a refusal reaches."""
    return reached.names is None or purpose.id in reached.names or purpose.withdrawal_group in reached.groups
