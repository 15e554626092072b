"""Folds entries into dossiers and decides what they change.

A dossier is the connected component of the identifiers of one controller: a superset of a person, merged when an entry
joins two, never split. What exactly the person is, `decide` finds out from all facts of the dossier.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from prometheus_client import Counter

from consent_ledger.domain import suppression
from consent_ledger.domain.catalogue import ERASED
from consent_ledger.domain.durations import moment
from consent_ledger.domain.facts import Dossier, Fact
from consent_ledger.domain.leaf import micros
from consent_ledger.domain.register import Register
from consent_ledger.domain.suppression import suppression_key
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.topics import partition_of
from consent_ledger.store import view
from consent_ledger.store.view import Changes, Head, Known, Row, StoredDossier, StoredRow
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
    # The entry that came last in this fold; None when only time or the register moved.
    changed_by: tuple[int, int, datetime] | None = None


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
        phones = {token for found in addresses.values() for type_, token in found if type_ == "phone"}
        await self._calls.read(connection, phones)
        changes = Changes(idents=grouping.new_idents(), merged=grouping.merged())
        for id_, dossier in opened.items():
            if left and id_ in left:
                dossier.facts = list(left[id_])
            due = self._decide(head, changes, dossier, addresses[id_], before, micros(now))
            due_at = None if due is None else moment(due)
            changes.dossiers[id_] = (dossier.controller, Dossier(tuple(dossier.facts)).dumps(), due_at)
            if dossier.changed_by is not None:
                changes.erasing += _erasing(dossier.facts)
        return changes

    def _decide(
        self,
        head: Head,
        changes: Changes,
        dossier: _Open,
        addresses: Iterable[tuple[str, bytes]],
        before: dict[bytes, StoredRow],
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
            shard, pos, recorded_at = dossier.changed_by or (stored.shard, stored.pos, stored.recorded_at)  # type: ignore[union-attr]
            head.seq += 1
            q = (
                stored.q
                if stored
                else partition_of(suppression_key(dossier.controller, type_, hash_), self._partitions)
            )
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
        dossier_.changed_by = (fact.shard, fact.pos, moment(fact.recorded))
    for dossier_ in opened.values():
        dossier_.facts = _in_order(dossier_.facts)
    return opened


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
