"""Folds entries into dossiers and decides what they change.

A dossier is the connected component of the identifiers of one controller: a superset of a person, merged when an entry
joins two, never split. What exactly the person is, `decide` finds out from all facts of the dossier.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from prometheus_client import Counter

from consent_ledger.domain import suppression
from consent_ledger.domain.catalogue import ERASED
from consent_ledger.domain.durations import moment
from consent_ledger.domain.facts import Dossier, Fact
from consent_ledger.domain.leaf import micros
from consent_ledger.domain.published import change_key
from consent_ledger.domain.register import Register
from consent_ledger.domain.suppression import suppression_key
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.topics import partitions_of
from consent_ledger.store import view
from consent_ledger.store.view import Changes, Head, Known, Row, StoredDossier, StoredRow, Told
from consent_ledger.viewer.calls import Calls

OVERSIZED = Counter("consent_oversized_dossiers_total", "Folds of a dossier with too many facts, which answers no")

FACTS_MAX = 1000


class Arrival(NamedTuple):
    """One entry as it comes to one controller: the addresses by which it finds its dossier, and the fact it leaves."""

    controller: str
    hashes: tuple[bytes, ...]
    fact: Fact


@dataclass(slots=True)
class _Open:
    """A dossier while it is folded."""

    controller: str
    facts: list[Fact] = field(default_factory=list)
    # The entries that came in this fold, in order; none when only time or the register moved.
    arrived: list[tuple[int, int, datetime]] = field(default_factory=list)


class Folder:
    """Folds under one register. `needs` is the newest version that matters to each controller."""

    def __init__(self, register: Register, needs: dict[str, int], partitions: int, calls: Calls) -> None:
        self._register = register
        self._needs = needs
        self._partitions = partitions
        self._calls = calls

    async def fold(
        self, connection: Connection, head: Head, arrivals: Sequence[Arrival], revisit: Iterable[int], now: datetime,
        left: Mapping[int, Sequence[Fact]] | None = None,
    ) -> Changes:  # fmt: skip
        """Add the facts of arrivals and decide again on every address of the dossiers they touch, and of `revisit`.

        Of the dossiers in `left` only these facts are left; addresses that only the others had are decided once more.
        """
        hashes = {hash_ for arrival in arrivals for hash_ in arrival.hashes}
        known = await view.known(connection, hashes) if hashes else Known({}, {}, {})
        grouping = _Grouping(known.idents, head)
        homes = [grouping.join(arrival) for arrival in arrivals]
        stored, before = known.dossiers, known.rows
        others = {grouping.survivor(id_) for id_ in revisit}.union(revisit) - stored.keys()
        if others:
            stored |= await view.dossiers(connection, others)
        opened = _open(stored, grouping, arrivals, homes)
        addresses = {id_: _addresses(dossier.facts) for id_, dossier in opened.items()}
        missing = {token for found in addresses.values() for _, token in found} - hashes
        if missing:
            before |= await view.rows(connection, missing)
        changes = Changes(idents=grouping.new_idents(), merged=grouping.merged())
        for id_, facts in (left or {}).items():
            if id_ in opened:
                opened[id_].facts = list(facts)
        decided = await self._decide_all(connection, head, changes, opened, addresses, before, now)
        absorbed = _absorbed(changes.merged)
        keys = [change_key(dossier.controller, id_) for id_, dossier in opened.items()]
        for q, (id_, dossier) in zip(partitions_of(keys, self._partitions), opened.items(), strict=True):
            changes.told += _told(q, id_, dossier, absorbed.get(id_, ()), changes.rows[decided[id_]])
            if dossier.arrived:
                changes.erasing += _erasing(dossier.facts)
        return changes

    async def fold_anew(
        self, connection: Connection, head: Head, dossiers: Mapping[int, tuple[str, list[Fact]]], now: datetime
    ) -> Changes:
        """Decide on dossiers, by id, of which nothing is stored yet: a controller and all facts, in any order."""
        opened = {}
        for id_, (controller, facts) in dossiers.items():
            ordered = _in_order(facts)
            opened[id_] = _Open(controller, ordered)
        addresses = {id_: _addresses(dossier.facts) for id_, dossier in opened.items()}
        changes = Changes(idents={token: id_ for id_, found in addresses.items() for _, token in found})
        await self._decide_all(connection, head, changes, opened, addresses, {}, now)
        return changes

    async def _decide_all(
        self, connection: Connection, head: Head, changes: Changes, opened: Mapping[int, _Open],
        addresses: Mapping[int, Collection[tuple[str, bytes]]], before: dict[bytes, StoredRow], now: datetime,
    ) -> dict[int, slice]:  # fmt: skip
        """Return by dossier which of the changed rows are its own."""
        qs = self._partitions_of_new(opened, addresses, before)
        phones = {token for found in addresses.values() for type_, token in found if type_ == "phone"}
        await self._calls.read(connection, phones)
        decided = {}
        for id_, dossier in opened.items():
            first = len(changes.rows)
            due = self._decide(head, changes, dossier, addresses[id_], before, qs, micros(now))
            decided[id_] = slice(first, len(changes.rows))
            due_at = None if due is None else moment(due)
            changes.dossiers[id_] = (dossier.controller, Dossier(tuple(dossier.facts)).dumps(), due_at)
        return decided

    def _partitions_of_new(
        self, opened: Mapping[int, _Open], addresses: Mapping[int, Collection[tuple[str, bytes]]],
        before: Mapping[bytes, StoredRow],
    ) -> dict[bytes, int]:  # fmt: skip
        """Say on which partitions the records of addresses belong that have no row yet."""
        new = {
            hash_: suppression_key(dossier.controller, type_, hash_)
            for id_, dossier in opened.items()
            for type_, hash_ in addresses[id_]
            if hash_ not in before
        }
        return dict(zip(new, partitions_of(list(new.values()), self._partitions), strict=True))

    def _decide(
        self,
        head: Head,
        changes: Changes,
        dossier: _Open,
        addresses: Iterable[tuple[str, bytes]],
        before: dict[bytes, StoredRow],
        qs: Mapping[bytes, int],
        now: int,
    ) -> int | None:
        due: int | None = None
        oversized = len(dossier.facts) > FACTS_MAX
        if oversized:
            OVERSIZED.inc()
        for type_, hash_ in addresses:
            if oversized:
                own = suppression.nothing_allowed(self._register, dossier.controller, type_)
            else:
                own, next_due = suppression.decide_own(
                    self._register, dossier.facts, controller=dossier.controller, type=type_, token=hash_, at=now,
                    dnc=self._calls.of(dossier.controller) if type_ == "phone" else None,
                )  # fmt: skip
                if next_due is not None and (due is None or next_due < due):
                    due = next_due
            stored = before.get(hash_)
            needed = self._needs.get(dossier.controller, 0)
            if stored and stored.decisions == own and stored.register_version >= needed:
                continue
            shard, pos, recorded_at = dossier.arrived[-1] if dossier.arrived else _place_of(stored, dossier.facts)
            head.seq += 1
            q = stored.q if stored else qs[hash_]
            changes.rows.append(
                Row(hash_, dossier.controller, type_, q, head.seq, self._register.version, shard, pos, recorded_at, own)
            )
        return due


def newest_needs(needs: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """Give the newest version that matters to each controller, of those that matter to its purposes."""
    newest: dict[str, int] = {}
    for (controller, _), version in needs.items():
        newest[controller] = max(version, newest.get(controller, 0))
    return newest


def _place_of(stored: StoredRow | None, facts: Sequence[Fact]) -> tuple[int, int, datetime]:
    """Say which entry an answer rests on that changes without one; a row that got lost rests on the newest."""
    if stored is not None:
        return stored.shard, stored.pos, stored.recorded_at
    newest = max(facts, key=lambda fact: (fact.recorded, fact.place))
    return (*newest.place, moment(newest.recorded))


def _open(
    stored: dict[int, StoredDossier], grouping: "_Grouping", arrivals: Sequence[Arrival], homes: Sequence[int]
) -> dict[int, _Open]:
    opened: dict[int, _Open] = {}
    for id_, dossier in sorted(stored.items()):
        home = opened.setdefault(grouping.survivor(id_), _Open(dossier.controller))
        home.facts.extend(Dossier.loads(dossier.facts).facts)
    for arrival, home_id in zip(arrivals, homes, strict=True):
        dossier_ = opened.setdefault(grouping.survivor(home_id), _Open(arrival.controller))
        fact = arrival.fact
        dossier_.facts.append(fact)
        dossier_.arrived.append((fact.shard, fact.pos, moment(fact.recorded)))
    for dossier_ in opened.values():
        dossier_.facts = _in_order(dossier_.facts)
    return opened


def _told(q: int, id_: int, dossier: _Open, absorbed: Sequence[int], rows: Sequence[Row]) -> list[Told]:
    """Say what is told of a dossier: each entry, and of the last one what all of them have changed."""
    places = list(dict.fromkeys((shard, pos) for shard, pos, _ in dossier.arrived))
    if not (places or absorbed or rows):
        return []
    told = [Told(q, dossier.controller, id_, shard, pos, "{}", b"") for shard, pos in places[:-1]]
    shard_, pos_ = places[-1] if places else (None, None)
    merged_from = f"{{{','.join(map(str, absorbed))}}}"
    hashes = b"".join([row.hash for row in rows])
    return [*told, Told(q, dossier.controller, id_, shard_, pos_, merged_from, hashes)]


def _absorbed(merged: Mapping[int, int]) -> dict[int, list[int]]:
    """Give by surviving dossier those that it has taken in."""
    absorbed: dict[int, list[int]] = {}
    for id_, survivor in sorted(merged.items()):
        if id_ != survivor:
            absorbed.setdefault(survivor, []).append(id_)
    return absorbed


def _erasing(facts: Iterable[Fact]) -> Iterable[bytes]:
    """Give an address by which the dossier is found again, if anything may have to be destroyed in it."""
    found = (token for one in facts if one.type == ERASED for _, _, token, _ in one.identifiers)
    return [token for token in found if isinstance(token, bytes)][:1]


def _in_order(facts: list[Fact]) -> list[Fact]:
    """The facts in the order of the ledger, each once: a merge or a reference may bring one twice."""
    if len(facts) == 1:
        return facts
    by_place = {fact.place: fact for fact in facts}
    return [by_place[place] for place in sorted(by_place)]


def _addresses(facts: Sequence[Fact]) -> set[tuple[str, bytes]]:
    return {(type_, token) for fact in facts for _, type_, token, _ in fact.identifiers if isinstance(token, bytes)}


class _Grouping:
    """Which dossier each address belongs to, while arrivals join them."""

    def __init__(self, known: dict[bytes, int], head: Head) -> None:
        self._known = known
        self._head = head
        self._of = dict(known)
        self._parent: dict[int, int] = {}
        self.stored = set(known.values())

    def survivor(self, id_: int) -> int:
        while id_ in self._parent:
            id_ = self._parent[id_]
        return id_

    def join(self, arrival: Arrival) -> int:
        """Bring all addresses of an arrival into one dossier and return its id."""
        found = sorted({self.survivor(self._of[hash_]) for hash_ in arrival.hashes if hash_ in self._of})
        if found:
            home = found[0]
        else:
            home = self._head.next_dossier
            self._head.next_dossier += 1
        for absorbed in found[1:]:
            self._parent[absorbed] = home
        for hash_ in arrival.hashes:
            self._of[hash_] = home
        return home

    def new_idents(self) -> dict[bytes, int]:
        """Addresses that had no dossier, with the one they have now."""
        return {hash_: self.survivor(id_) for hash_, id_ in self._of.items() if hash_ not in self._known}

    def merged(self) -> dict[int, int]:
        """Stored dossiers that are no more, with the one that took them in."""
        return {id_: self.survivor(id_) for id_ in self._parent if id_ in self.stored}
