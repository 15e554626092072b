"""Carries erasures out: what `domain.erasure` says goes, and the view is made of what is left, in one transaction.

Beside the fold, on a connection in the one role that may destroy. It takes the viewer's lock, so the view has one
writer at a time, and then the lock that keeps appends out, so that no recorder is writing under a key that goes.

What is to go is announced first, by an event, and goes once that event is an entry: the log then says how many personal
parts an erasure took, and commits to which.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

from prometheus_client import Counter, Gauge

from consent_ledger.domain import durations
from consent_ledger.domain import erasure as law
from consent_ledger.domain import register as registers
from consent_ledger.domain.cloudevents import build
from consent_ledger.domain.durations import moment
from consent_ledger.domain.erasure import Plan
from consent_ledger.domain.facts import Dossier, Fact
from consent_ledger.domain.register import Register
from consent_ledger.runtime.clock import Clock
from consent_ledger.runtime.keys import KEY_BYTES, KeyEncryptionKeys, decrypt, encrypt, unwrap, wrap
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.publish import publishing
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import EVENTS
from consent_ledger.store import erasure as store
from consent_ledger.store import rebuild, retention, view
from consent_ledger.store.erasure import Evidence, Figures, Part, Place, StoredDossier, WrappedKey
from consent_ledger.store.keys import payload_context
from consent_ledger.store.view import Changes, Head
from consent_ledger.viewer.calls import Calls
from consent_ledger.viewer.fold import Folder, newest_needs

log = logging.getLogger(__name__)

ERASURES = Counter("consent_erasures_total", "Erasures that destroyed something, at one controller each")
OPEN = Gauge("consent_erasures_open", "Erasures that were recorded and are not carried out")
HELD = Gauge("consent_erasures_held", "Erasures that a legal hold stops")
OLDEST = Gauge("consent_erasure_oldest_seconds", "How long the oldest open erasure has been waiting")

_SOURCE = "consent-viewer"
_AT_A_TIME = 20
_REST_SECONDS = 0.1
# Longer than an event needs to become an entry, unless it was lost: then it is announced once more.
_PATIENCE_SECONDS = 60.0


class ErasureError(Exception):
    """Something is not as it was a moment ago, under a lock that should keep it so; nothing was destroyed."""


class _Doomed(NamedTuple):
    """All that goes by one plan, and what is kept of what lies under the same keys. `first`: for the first time."""

    plan: Plan
    parts: list[Part]
    keys: list[WrappedKey]
    survivors: list[Part]
    first: bool

    @property
    def changes(self) -> bool:
        return self.first or bool(self.parts)

    @property
    def places(self) -> frozenset[Place]:
        return frozenset(one.place for one in self.parts)


class _Announced(NamedTuple):
    """What was said to go by an erasure, at `cause`; `value` is the event that says it, sent at `sent` (monotonic)."""

    evidence: Evidence
    cause: Place
    places: frozenset[Place]
    value: bytes
    sent: float

    def is_of(self, doomed: _Doomed) -> bool:
        return (self.cause, self.places) == (doomed.plan.cause.place, doomed.places)


class Eraser:
    """Carries out what the viewer has noted, at any time by any process, one dossier after the other."""

    def __init__(self, settings: Settings, keks: KeyEncryptionKeys, clock: Clock) -> None:
        self._settings = settings
        self._keks = keks
        self._clock = clock
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._calls = Calls(keks, settings.partitions)
        self._register: Register = registers.compile({}, 0)
        # By the address by which the erasure is found; the fresh ones are not sent yet.
        self._announced: dict[bytes, _Announced] = {}
        self._fresh: dict[bytes, _Announced] = {}

    async def run(self) -> None:
        """Erase until cancelled."""
        while True:
            connection: Connection | None = None
            try:
                connection = await connect(self._settings.dsn, "consent_eraser")
                while not connection.is_closed():
                    await self.erase_waiting(connection)
                    await asyncio.sleep(_REST_SECONDS)
            except Exception:
                log.exception("cannot look for erasures")
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(self._settings.lease_seconds / 20)

    async def erase_waiting(self, connection: Connection) -> None:
        """Carry out what is noted now."""
        for hash_ in await store.next_(connection, _AT_A_TIME):
            if await self._is_waiting(connection, hash_):
                continue
            try:
                while await self._erase(connection, hash_):
                    pass
            except view.FencedError:
                # A register came into force meanwhile; the next look uses it.
                continue
            except Exception:
                log.exception("an erasure failed")
        await self._send_fresh()
        waiting = await store.waiting(connection)
        OPEN.set(waiting.open)
        HELD.set(waiting.held)
        OLDEST.set(waiting.seconds)

    async def _is_waiting(self, connection: Connection, hash_: bytes) -> bool:
        """Tell whether what was announced of an erasure is not an entry yet."""
        announced = self._announced.get(hash_)
        if announced is None or await store.is_recorded(connection, announced.evidence.event_id):
            return False
        if time.monotonic() > announced.sent + _PATIENCE_SECONDS:
            log.warning("what was to be erased has not become an entry")
            del self._announced[hash_]
        return True

    async def _send_fresh(self) -> None:
        """Announce what was found to go. What Kafka does not take is found again."""
        fresh, self._fresh = self._fresh, {}
        if fresh:
            async with publishing(self._settings.kafka(), f"{self._settings.topic_prefix}{EVENTS}") as publisher:
                for one in fresh.values():
                    await publisher.send(None, one.value)
            self._announced |= fresh

    async def _erase(self, connection: Connection, hash_: bytes) -> bool:
        """Carry out one erasure in the dossier of an address; False when none is left that may be, by now."""
        async with connection.transaction():
            if not await rebuild.may_destroy(connection):
                return False
            head = await view.open_head(connection, await retention.epoch(connection))
            await self._use_register(connection, head)
            stored = await store.dossier_of(connection, hash_)
            if stored is None:
                await store.done(connection, hash_)
                return False
            now = max(self._clock.now(head.now), head.instant)
            facts = Dossier.loads(stored.facts).facts
            at = durations.instant(now)
            found = law.plans(self._register, facts, stored.controller, at)
            for plan in found:
                doomed = await self._doomed(connection, head, stored.controller, facts, plan)
                if doomed.changes or plan.facts != facts:
                    announced = self._announced.pop(hash_, None)
                    if announced is None or not announced.is_of(doomed):
                        self._fresh[hash_] = _announcement(doomed, stored.controller, now)
                        return False
                    await self._destroy(connection, head, stored, doomed, announced.evidence, now)
                    return True
            self._announced.pop(hash_, None)
            if len(found) < len(law.executed(self._register, facts, stored.controller, at)):
                await store.held(connection, hash_)
            else:
                await store.done(connection, hash_)
        return False

    async def _use_register(self, connection: Connection, head: Head) -> None:
        if head.register_version != self._register.version:
            self._register = await view.compiled(connection, head.register_version)

    async def _doomed(
        self, connection: Connection, head: Head, controller: str, facts: Sequence[Fact], plan: Plan
    ) -> _Doomed:
        """Find all that goes by a plan. Keeps appends out from here on if anything does."""
        place = plan.cause.place
        hashes = [token for _, token in plan.identifiers]
        first = not await store.is_done(connection, place, controller)
        before, after = await store.looks(connection, hashes, place) if plan.whole else ([], [])
        parts = await store.payloads_at(connection, controller, {*plan.places, *before})
        if not plan.whole or not (first or parts):
            return _Doomed(plan, parts, [], [], first)
        await store.lock_out_appends(connection)
        keys = await store.keys_of(connection, controller, hashes if first else [], {one.person for one in parts})
        persons = {key.person for key in keys}
        others = {one.place for one in facts}.union(after) - plan.places
        kept = await store.payloads_at(connection, controller, others)
        unfolded = [(shard, head.applied[shard] if shard < len(head.applied) else 0) for shard in head.heads]
        kept += await store.payloads_unfolded(connection, controller, unfolded, persons)
        survivors = {one.place: one for one in kept if one.person in persons}
        return _Doomed(plan, parts, keys, list(survivors.values()), first)

    async def _destroy(
        self, connection: Connection, head: Head, stored: StoredDossier, doomed: _Doomed, evidence: Evidence,
        now: datetime,
    ) -> None:  # fmt: skip
        plan, controller = doomed.plan, stored.controller
        changes = await self._left(connection, head, stored.id, plan.facts, now)
        await store.lock_out_appends(connection)
        figures = Figures(
            keys=len(doomed.keys),
            payloads=len(doomed.parts),
            index_rows=await store.count_index_rows(connection, controller, plan.forgotten),
            rekeyed=len(doomed.survivors),
            keks=sorted({key.kek for key in doomed.keys}),
        )
        number = await store.begin(connection, plan.cause.place, controller, now, figures, evidence, whole=plan.whole)
        if plan.whole:
            await store.bind(connection, plan.cause.place, controller, plan.bound)
            await store.mark(connection, controller, [token for _, token in plan.identifiers], moment(plan.cause.time))
        await self._destroy_parts(connection, controller, doomed)
        if await store.delete_index_rows(connection, controller, plan.forgotten) != figures.index_rows:
            raise ErasureError("index rows changed while they were deleted")
        if lost := _lost(Dossier.loads(stored.facts).facts, plan):
            await store.forget(connection, controller, lost, now)
        await view.put(connection, head, changes, self._lease)
        ERASURES.inc()
        log.info("erased", extra={"erasure": number, "controller": controller, **figures._asdict()})

    async def _destroy_parts(self, connection: Connection, controller: str, doomed: _Doomed) -> None:
        """Destroy keys and personal parts, and put what is kept of what lay under those keys under new ones."""
        renewed = await self._renewed(controller, doomed)
        parts = {one.place for one in doomed.parts}
        persons = {key.person for key in doomed.keys}
        if persons and await store.destroy_keys(connection, controller, persons, parts) != len(persons):
            raise ErasureError("a key was to be destroyed that the erasure is not about")
        if await store.delete_payloads(connection, controller, parts) != len(parts):
            raise ErasureError("personal parts changed while they were deleted")
        for key, kept in renewed:
            await store.add_key(connection, controller, key)
            await store.rekey(connection, controller, kept)

    async def _renewed(self, controller: str, doomed: _Doomed) -> list[tuple[WrappedKey, list[Part]]]:
        """Make a new key for each that goes while something under it is kept, and encrypt that anew."""
        renewed = []
        name = await self._keks.current()
        kek = await self._keks.key(name)
        for old in doomed.keys:
            kept = [one for one in doomed.survivors if one.person == old.person]
            if kept:
                old_key, new_key = unwrap(await self._keks.key(old.kek), old.wrapped), secrets.token_bytes(KEY_BYTES)
                new = WrappedKey(old.anchor, uuid4(), name, wrap(kek, new_key))
                renewed.append((new, [_rekeyed(one, controller, old_key, new_key, new.person) for one in kept]))
        return renewed

    async def _left(
        self, connection: Connection, head: Head, id_: int, facts: Sequence[Fact], now: datetime
    ) -> Changes:
        """Decide on a dossier of which only some facts are left."""
        await self._calls.load(connection)
        needs = newest_needs(await view.needs(connection))
        folder = Folder(self._register, needs, self._settings.partitions, self._calls)
        return await folder.fold(connection, head, (), [id_], now, {id_: facts})


def _announcement(doomed: _Doomed, controller: str, now: datetime) -> _Announced:
    evidence = Evidence(uuid4(), secrets.token_bytes(KEY_BYTES))
    said = {
        "controllers": [controller],
        "erasure": str(UUID(bytes=doomed.plan.cause.event_id)),
        "payloads": len(doomed.places),
        "digest": law.digest(evidence.salt, doomed.places),
    }
    value = build("erasure-carried-out", _SOURCE, now, said, id=evidence.event_id)
    return _Announced(evidence, doomed.plan.cause.place, doomed.places, value, time.monotonic())


def _lost(facts: Sequence[Fact], plan: Plan) -> set[bytes]:
    """Name the addresses of which something is not known any more on which an answer may rest."""
    after = {one.place: one for one in plan.facts}
    changed = [one for one in facts if one.place != plan.cause.place and after.get(one.place) != one]
    if not changed:
        return set()
    named = {token for one in changed for token in one.tokens}
    return named.union(token for _, token in plan.identifiers)


def _rekeyed(part: Part, controller: str, old: bytes, new: bytes, person: UUID) -> Part:
    context = payload_context(part.event_id, controller)
    return part._replace(person=person, ciphertext=encrypt(new, decrypt(old, part.ciphertext, context), context))
