"""Finds to which controllers' dossiers entries belong, by their identifiers and by the events they refer to.

An entry without identifiers follows its references, step by step, to the entry that has some. While an event that is
referred to has not been folded, the entry waits for it, and joins its target's dossiers when that one is folded.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag

from consent_ledger.domain import privacy
from consent_ledger.domain.catalogue import VIEWED
from consent_ledger.domain.events import read_body
from consent_ledger.domain.facts import BY_INSTANT, Fact, fact_of, words
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.domain.leaf import micros
from consent_ledger.runtime.keys import KeyEncryptionKeys, decrypt
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import keys, view
from consent_ledger.store.keys import payload_context
from consent_ledger.store.view import Entry, Place, Subject
from consent_ledger.viewer.fold import Arrival

# References lead from an event to its target; longer chains than this are nobody's honest work.
_CHAIN_MAX = 8

_NAMING = "request-received"

# The personal fields on which rules of law rest (domain.md 6.3, 6.7).
_RULED = frozenset({"entered_by", "approved_by", "birth_date"})


class Placed(NamedTuple):
    """What a batch of entries comes to: what to fold now, and what waits for an event (event, shard, position)."""

    arrivals: list[Arrival]
    waiting: list[tuple[UUID, int, int]]


class Placer:
    """Places entries; reads what is personal only where a rule rests on it."""

    def __init__(self, keks: KeyEncryptionKeys, staff_key: bytes) -> None:
        self._keks = keks
        self._staff_key = staff_key

    async def place(self, connection: Connection, entries: Sequence[Entry], applied: Sequence[int]) -> Placed:
        """Place entries that end the folded ranges `applied` (by shard), and those that waited for one of them."""
        bodies = {entry.place: _body(entry.body) for entry in entries}
        awaited = [entry.event_id for entry in entries if entry.awaited]
        # The name of a request need not be an event: its other steps wait for whatever brings the name.
        awaited += [UUID(bodies[entry.place]["request_id"]) for entry in entries if entry.type == _NAMING]
        waited = await view.take_waiting(connection, awaited) if awaited else []
        older = await view.entries_at(connection, {(shard, pos) for _, shard, pos in waited})
        bodies |= {entry.place: _body(entry.body) for entry in older}
        # A look is no fact: it changes no answer and no dossier, however often it is repeated.
        everything = [entry for entry in (*entries, *older) if entry.type != VIEWED]
        personal = await self._personal(connection, everything, bodies)
        placed = Placed([], [])
        referring = [entry for entry in everything if _references(entry, bodies)]
        targets = await _Targets.resolve(connection, referring, bodies, applied)
        older_places = {entry.place for entry in older}
        for entry in everything:
            own = () if entry.place in older_places else entry.subjects.items()
            arrived = set()
            for controller, subjects in own:
                arrived.add(controller)
                made = _fact(entry, controller, bodies, personal)
                placed.arrivals.append(Arrival(controller, tuple([subject.hash for subject in subjects]), made))
            for reference in _references(entry, bodies):
                found, missing = targets.of(reference)
                if missing is not None:
                    placed.waiting.append((missing, *entry.place))
                for controller, subjects in found.items():
                    if controller not in arrived or not _overlap(subjects, entry.subjects[controller]):
                        made = _fact(entry, controller, bodies, personal)
                        # Its own identifiers too: an address in two dossiers would be decided twice.
                        own_hashes = (subject.hash for subject in entry.subjects.get(controller, ()))
                        placed.arrivals.append(Arrival(controller, (subjects[0].hash, *own_hashes), made))
        return placed

    async def _personal(
        self, connection: Connection, entries: Iterable[Entry], bodies: Mapping[Place, Mapping[str, Any]]
    ) -> dict[Place, dict[str, Any]]:
        """Decrypt the ruled fields of those entries that have any. Names of staff are replaced by a keyed hash."""
        wanted = {
            entry.place: entry for entry in entries if not _RULED.isdisjoint(bodies[entry.place].get("personal", ()))
        }
        if not wanted:
            return {}
        payloads = await view.payloads(connection, list(wanted))
        persons = {person for found in payloads.values() for _, person, _ in found}
        found_keys = await keys.keys_of_persons(connection, self._keks, persons)
        personal = {}
        for place, found in payloads.items():
            for controller, person, ciphertext in found:
                if person in found_keys:
                    context = payload_context(wanted[place].event_id, controller)
                    personal[place] = self._ruled(found_keys[person], ciphertext, context)
                    break
        return personal

    def _ruled(self, key: bytes, ciphertext: bytes, context: bytes) -> dict[str, Any]:
        try:
            plaintext = decrypt(key, ciphertext, context)
        except InvalidTag:
            return {}
        # The salt of the commitment comes first.
        fields = msgspec.json.decode(plaintext[32:])
        ruled = {name: fields[name] for name in _RULED if name in fields}
        for name in ("entered_by", "approved_by"):
            if name in ruled:
                ruled[name] = address_hash(self._staff_key, "staff", str(ruled[name])).hex()[:16]
        return ruled


class _Targets:
    """The identifiers, by controller, of the entries that events refer to."""

    def __init__(self) -> None:
        self._subjects: dict[UUID, dict[str, tuple[Subject, ...]]] = {}
        self._onward: dict[UUID, tuple[UUID, ...]] = {}

    @classmethod
    async def resolve(
        cls,
        connection: Connection,
        referring: Sequence[Entry],
        bodies: Mapping[Place, Mapping[str, Any]],
        applied: Sequence[int],
    ) -> "_Targets":
        targets = cls()
        wanted = {reference for entry in referring for reference in _references(entry, bodies)}
        for _ in range(_CHAIN_MAX):
            if not wanted:
                break
            places = await view.places(connection, wanted)
            folded = {name: place for name, place in places.items() if place[1] < _folded(applied, place[0])}
            found = {entry.place: entry for entry in await view.entries_at(connection, set(folded.values()))}
            wanted = set()
            for name, place in folded.items():
                target = found[place]
                if target.subjects:
                    targets._subjects[name] = target.subjects
                else:
                    onward = privacy.references(read_body(target.body), privacy.PLACES[target.type])
                    targets._onward[name] = onward
                    wanted |= {reference for reference in onward if not targets._knows(reference)}
        return targets

    def _knows(self, event_id: UUID) -> bool:
        return event_id in self._subjects or event_id in self._onward

    def of(self, event_id: UUID) -> tuple[dict[str, tuple[Subject, ...]], UUID | None]:
        """The identifiers an event leads to, or the event on the way to them that has not been folded."""
        for _ in range(_CHAIN_MAX):
            if event_id in self._subjects:
                return self._subjects[event_id], None
            if event_id not in self._onward:
                return {}, event_id
            if not self._onward[event_id]:
                return {}, None
            event_id = self._onward[event_id][0]
        return {}, None


def _references(entry: Entry, bodies: Mapping[Place, Mapping[str, Any]]) -> tuple[UUID, ...]:
    return privacy.references(bodies[entry.place], privacy.PLACES[entry.type])


def _folded(applied: Sequence[int], shard: int) -> int:
    return applied[shard] if shard < len(applied) else 0


def _overlap(some: Iterable[Subject], others: Iterable[Subject]) -> bool:
    return not {subject.hash for subject in some}.isdisjoint(subject.hash for subject in others)


def _fact(
    entry: Entry,
    controller: str,
    bodies: Mapping[Place, Mapping[str, Any]],
    personal: Mapping[Place, Mapping[str, Any]],
) -> Fact:
    body = bodies[entry.place]
    occurred = micros(entry.occurred_at)
    ruled = personal.get(entry.place)
    if ruled or entry.type in BY_INSTANT:
        said: Mapping[str, Any] = words(entry.type, body, ruled, occurred)
    else:
        said = _words(entry.type, entry.body)
    return fact_of(
        said, event_id=entry.event_id.bytes, type=entry.type, source=body["source"], occurred=occurred,
        recorded=micros(entry.recorded_at), shard=entry.shard, pos=entry.pos, register_version=entry.register_version,
        identifiers=tuple([(one.role, one.type, one.hash, one.shared) for one in entry.subjects.get(controller, ())]),
    )  # fmt: skip


# What is not personal in events that come by one form is the same to the byte.
@lru_cache(maxsize=4096)
def _body(written: bytes) -> Mapping[str, Any]:
    return read_body(written)


@lru_cache(maxsize=4096)
def _words(type: str, written: bytes) -> Mapping[str, Any]:
    return words(type, _body(written))
