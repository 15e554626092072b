"""Which entries of a dossier are about one person, and what became of them: what an officer is shown."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from consent_ledger.domain import durations, identity, requests
from consent_ledger.domain.facts import EventId, Fact, Token
from consent_ledger.domain.register import Register

_ALWAYS: Final = durations.NEVER

Place = tuple[int, int]


class Timeline(NamedTuple):
    """What one controller knows of a person.

    `facts`: oldest recording first. `identifiers`: each with its type and the places of the entries that name it, the
    identifiers asked about among them. `voided`: places of entries that do not count any more.
    """

    facts: tuple[Fact, ...]
    identifiers: Mapping[Token, tuple[str, tuple[Place, ...]]]
    voided: frozenset[Place]


def timeline(
    register: Register, controller: str, asked: Collection[tuple[str, Token]], facts: Sequence[Fact],
    names: Mapping[Place, EventId],
) -> Timeline:  # fmt: skip
    """Find the person of the identifiers asked about (type, token) in the facts of their dossiers, as of now.

    A dossier may hold several people who share an identifier; entries that name none of this person's are left out,
    except those that refer to one of this person's entries, such as a voiding, or are steps of one of this person's
    requests. `names`: under which name each `request-received` came, for its steps refer to it by that. Of steps that
    name no identifier, those that name other controllers only are theirs (Art. 15 is asked of one).
    """
    known = identity.seen(register, facts, _ALWAYS, _ALWAYS)
    counting = {one.fact.place for one in known}
    shared = identity.shared(register, controller, known)
    tokens = {token for _, token in asked}
    tokens |= identity.person(register, controller, frozenset(), tokens, known, shared)
    mine = _about(controller, facts, tokens, names)
    types = {token: kind for kind, token in asked}
    places: dict[Token, list[Place]] = {token: [] for token in types}
    for fact in mine:
        for _, kind, token, _ in fact.identifiers:
            if token in tokens:
                types[token] = kind
                places.setdefault(token, []).append(fact.place)
    return Timeline(
        facts=mine,
        identifiers={token: (types[token], tuple(found)) for token, found in places.items()},
        voided=frozenset(fact.place for fact in mine if fact.place not in counting),
    )


def _about(
    controller: str, facts: Sequence[Fact], tokens: Collection[Token], names: Mapping[Place, EventId]
) -> tuple[Fact, ...]:
    chosen = {fact.place: fact for fact in facts if any(identifier[2] in tokens for identifier in fact.identifiers)}
    ids: set[EventId] = {fact.event_id for fact in chosen.values()}
    ids |= {name for name, place in _first(facts, names).items() if place in chosen}
    pending = [
        fact for fact in facts
        if fact.refers_to is not None and fact.place not in chosen and fact.place not in names
        and not _is_step_elsewhere(fact, controller)
    ]  # fmt: skip
    while found := [fact for fact in pending if fact.refers_to in ids]:
        chosen.update((fact.place, fact) for fact in found)
        ids.update(fact.event_id for fact in found)
        pending = [fact for fact in pending if fact.place not in chosen]
    return tuple(sorted(chosen.values(), key=_recording))


def _first(facts: Sequence[Fact], names: Mapping[Place, EventId]) -> dict[EventId, Place]:
    """Give the first request that was received under each name: steps that name it are that one's."""
    named = sorted((fact for fact in facts if fact.place in names), key=_recording, reverse=True)
    return {names[fact.place]: fact.place for fact in named}


def _is_step_elsewhere(fact: Fact, controller: str) -> bool:
    """Tell whether an entry is a step of a request that other controllers took, and not this one."""
    return fact.type in requests.REFERENCE and bool(fact.controllers) and controller not in (fact.controllers or ())


def _recording(fact: Fact) -> tuple[int, Place]:
    return fact.recorded, fact.place
