"""Do-not-call registers as the viewer keeps them: activates snapshots, asks them, tells readers their dates.

Stored decisions take the register to be fresh and name it; its age is judged where a decision is used, so that a new
snapshot changes only the rows of numbers whose listing changed. Those rows come before the new date, on each partition.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from prometheus_client import Counter

from consent_ledger.domain import durations
from consent_ledger.domain.calls import CallHistory, FreshCalls, Step, split
from consent_ledger.domain.catalogue import CALL_SNAPSHOT, Listed
from consent_ledger.domain.decision import CallRegisters
from consent_ledger.domain.durations import moment
from consent_ledger.domain.events import read_body
from consent_ledger.domain.identifiers import normalise_or_raw
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.domain.register import Register
from consent_ledger.domain.suppression import CALL_REGISTER, call_register_hash, call_register_state
from consent_ledger.runtime.keys import KeyEncryptionKeys, decrypt
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import dnc, keys, view
from consent_ledger.store.dnc import Brought, Newest
from consent_ledger.store.keys import payload_context
from consent_ledger.store.view import Changes, Entry, Head, Row

log = logging.getLogger(__name__)

SNAPSHOTS = Counter(
    "consent_dnc_snapshots_total", "Snapshots of do-not-call registers by what became of them", ["outcome"]
)

# More than this is not looked up number by number; the dossiers of the controller are gone through instead.
_MARKED_MAX: Final = 50_000
# What one entry brings is hashed and counted within the transaction that folds it.
_INLINE_MAX: Final = 50_000
_INLINE_BASE_MAX: Final = 100_000


class _Personal(msgspec.Struct):
    """The personal part of a snapshot, as it was checked when it came in."""

    numbers: list[Listed]


class Calls:
    """All do-not-call registers, as far as entries have been folded."""

    def __init__(self, keks: KeyEncryptionKeys, partitions: int) -> None:
        self._keks = keks
        self._partitions = partitions
        self._steps: dict[dnc.Key, list[Step]] = {}
        self._newest: dict[str, Newest] = {}
        self._registers: dict[str, CallRegisters] = {}
        self._has_moved = False

    async def load(self, connection: Connection) -> None:
        """Take up what the database has."""
        self._steps = await dnc.steps(connection)
        self._newest = await dnc.newest(connection)

    @property
    def has_news(self) -> bool:
        """Whether readers have still to be told of a snapshot."""
        return any(newest.news for newest in self._newest.values())

    # -- asking

    async def read(self, connection: Connection, phones: Collection[bytes]) -> None:
        """Fetch what is known of these numbers, for `of`."""
        self._registers = {}
        if not self._steps or not phones:
            return
        changes = await dnc.changes(connection, phones)
        found: dict[str, dict[str, FreshCalls]] = {}
        for (register, controller), steps in self._steps.items():
            if self._is_covered((register, controller)):
                found.setdefault(controller, {})[register] = FreshCalls(CallHistory(steps, changes))
        self._registers = dict(found)

    def of(self, controller: str) -> CallRegisters | None:
        """The registers that a controller may ask about the numbers last read; None: there is none."""
        return self._registers.get(controller)

    # -- activating

    async def take(self, connection: Connection, head: Head, entries: Sequence[Entry]) -> None:
        """Activate the snapshots that entries bring, and have the answers made again that they change."""
        for entry in entries:
            if entry.type == CALL_SNAPSHOT:
                await self._activate(connection, head, entry)

    async def _activate(self, connection: Connection, head: Head, entry: Entry) -> None:
        body = read_body(entry.body)
        if "numbers" in body:
            await self._load_inline(connection, entry, body)
        snapshot = await dnc.snapshot(connection, entry.event_id)
        if snapshot is None or snapshot.state != "loaded":
            self._ignore(entry, "nothing is loaded under its id")
            return
        snapshot_at = min(entry.occurred_at, entry.recorded_at)
        brought = await dnc.brought(connection, entry.event_id)
        problem = self._problem(entry.event_id, brought, snapshot.register, durations.instant(snapshot_at))
        loaded = (snapshot.register, snapshot.numbers, snapshot.digest)
        if "numbers" not in body and loaded != (body["register"], body.get("count"), body.get("digest")):
            problem = "the entry speaks of another list than was loaded"
        if problem is not None:
            await dnc.refuse(connection, entry.event_id, problem)
            self._ignore(entry, problem)
            return
        await dnc.activate(
            connection, entry.event_id, snapshot_at=snapshot_at, recorded_at=entry.recorded_at, place=entry.place
        )
        await self._decide_again(connection, head, snapshot.register, brought)
        await self.load(connection)
        self._has_moved = True
        SNAPSHOTS.labels("active").inc()
        log.info("snapshot active", extra={"register": snapshot.register, "count": snapshot.numbers})

    def _ignore(self, entry: Entry, problem: str) -> None:
        SNAPSHOTS.labels("refused").inc()
        log.warning("snapshot refused", extra={"shard": entry.shard, "position": entry.pos, "problem": problem})

    def _problem(self, id_: UUID, brought: Sequence[Brought], name: str, snapshot_at: int) -> str | None:
        """Say why what was counted when a snapshot was loaded no longer holds."""
        for one in brought:
            if one.snapshot != id_:
                continue
            before, after = split(self._steps.get((name, one.controller), ()), snapshot_at)
            onward = [other.snapshot for other in brought if other.base == one.id]
            if one.base != (before[-1].id if before else None) or onward != [step.snapshot for step in after[:1]]:
                return "another snapshot was activated since it was loaded: import it again"
        return None

    async def _decide_again(self, connection: Connection, head: Head, name: str, brought: Sequence[Brought]) -> None:
        """Only numbers whose listing changed can have another answer; all, where a controller comes or goes."""
        covered = {key[1] for key in self._steps if key[0] == name and self._is_covered(key)}
        large = {one.controller for one in brought if one.changes > _MARKED_MAX}
        swept = large | (covered ^ {one.controller for one in brought})
        few = [one.id for one in brought if one.controller not in swept]
        if few:
            await dnc.mark_dossiers(connection, few)
        if swept:
            head.sweep_controllers = sorted(swept.union(head.sweep_controllers))
            head.sweep_from = 0

    def _is_covered(self, key: dnc.Key) -> bool:
        """Whether the newest snapshot of a register holds for a controller; else no list of it could be fresh."""
        return self._steps[key][-1].snapshot == self._newest[key[0]].id

    # -- small snapshots, whose numbers are in the event

    async def _load_inline(self, connection: Connection, entry: Entry, body: Mapping[str, Any]) -> None:
        name = body["register"]
        snapshot_at = min(entry.occurred_at, entry.recorded_at)
        if name in self._newest and self._newest[name].numbers > _INLINE_BASE_MAX:
            return
        payloads = (await view.payloads(connection, [entry.place])).get(entry.place, [])
        if len(payloads) * body["numbers"] > _INLINE_MAX or await dnc.snapshot(connection, entry.event_id) is not None:
            return
        await dnc.add_snapshot(
            connection, entry.event_id, register=name, source=body["source"], snapshot_at=snapshot_at,
            numbers=body["numbers"], digest="",
        )  # fmt: skip
        for controller, numbers in (await self._numbers(connection, entry, payloads)).items():
            await dnc.load(connection, entry.event_id, controller, numbers)
            known = self._steps.get((name, controller), ())
            await dnc.add_steps(connection, entry.event_id, name, controller, snapshot_at, known)
        await dnc.finish_loading(connection, entry.event_id, numbers=body["numbers"], digest="")

    async def _numbers(
        self, connection: Connection, entry: Entry, payloads: Sequence[tuple[str, UUID, bytes]]
    ) -> dict[str, list[tuple[bytes, datetime | None]]]:
        """Decrypt the numbers of an entry and hash them as each controller that keeps them does."""
        persons = await keys.keys_of_persons(connection, self._keks, {person for _, person, _ in payloads})
        controllers = await keys.controller_keys(connection, self._keks)
        found = {}
        for controller, person, ciphertext in payloads:
            try:
                plaintext = decrypt(persons[person], ciphertext, payload_context(entry.event_id, controller))
            except (KeyError, InvalidTag):
                continue
            # The salt of the commitment comes first.
            listed = msgspec.json.decode(plaintext[32:], type=_Personal).numbers
            found[controller] = [_hashed(controllers[controller].key, one) for one in listed]
        return found

    # -- telling readers

    async def announce(
        self, connection: Connection, head: Head, changes: Changes, register: Register, *, done: bool
    ) -> None:
        """Write the dates of new snapshots once every answer that they change is written (`done`).

        Until then, from the very commit that makes one count, no yes that needs its register counts.
        """
        for name, newest in self._newest.items():
            if newest.news and done:
                valid_until = _valid_until(newest, register.call_registers.get(name))
                self._put(head, changes, newest, valid_until)
                await dnc.set_announced(connection, name)
                self._newest[name] = newest._replace(news=False)
            elif newest.news and self._has_moved:
                self._put(head, changes, newest, newest.recorded_at)
        self._has_moved = False

    def _put(self, head: Head, changes: Changes, newest: Newest, valid_until: datetime) -> None:
        state = call_register_state(newest.snapshot_at, valid_until)
        for q in range(self._partitions):
            head.seq += 1
            changes.rows.append(
                Row(
                    call_register_hash(newest.register, q), newest.register, CALL_REGISTER, q, head.seq,
                    head.register_version, newest.shard, newest.pos, newest.recorded_at, state,
                )
            )  # fmt: skip

    async def renew(self, connection: Connection) -> None:
        """Have all dates told again, for the register may now say otherwise how long they count."""
        await dnc.announce_again(connection)
        await self.load(connection)


def _valid_until(newest: Newest, max_age: str | None) -> datetime:
    if max_age is None:
        return newest.recorded_at
    return moment(durations.after(durations.instant(newest.snapshot_at), max_age))


def _hashed(key: bytes, listed: Listed) -> tuple[bytes, datetime | None]:
    value, _ = normalise_or_raw("phone", listed.value)
    return address_hash(key, "phone", value), listed.registered_at
