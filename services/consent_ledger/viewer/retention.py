"""One run of retention: dossier by dossier, what may go is deleted and taken out of the view in one transaction.

The viewer's lock is held for each such transaction, so the view has one writer at a time as ever. A run that is cut off
is taken up where it stood; what it deleted before is counted once.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

import msgspec

from consent_ledger.domain import durations, holds, retention
from consent_ledger.domain import register as registers
from consent_ledger.domain.deadlines import evidence_until
from consent_ledger.domain.facts import Dossier, EventId, Fact
from consent_ledger.domain.requests import Calendar
from consent_ledger.domain.retention import NO_FILES, NOTHING, Answered, Plan
from consent_ledger.runtime.calendars import of_controllers
from consent_ledger.runtime.clock import Clock
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import campaigns, rebuild, requests, view
from consent_ledger.store import retention as store
from consent_ledger.store.retention import Doomed, StoredDossier
from consent_ledger.viewer.calls import Calls
from consent_ledger.viewer.fold import FACTS_MAX, Folder, newest_needs

_ROWS_PER_STATEMENT = 1_000


class Counts(msgspec.Struct, kw_only=True):
    """What a run deleted, or would. `consents`: those whose time is over, by `controller/purpose`.

    `payloads`: personal parts of consents, sales, contacts, withdrawals and of the files of answered requests. `kept`:
    consents whose index rows stay, because refusals rest on them. `campaign_answers`: of CONSENT_CAMPAIGN_RETENTION.
    """

    payloads: int = 0
    index_rows: int = 0
    quarantined: int = 0
    kept: int = 0
    campaign_answers: int = 0
    consents: dict[str, int] = msgspec.field(default_factory=dict)

    def take(self, controller: str, plan: Plan) -> None:
        """Count the consents of one dossier."""
        self.kept += plan.kept
        names = Counter(f"{controller}/{purpose}" for purpose in plan.purposes)
        self.consents = dict(sorted((Counter(self.consents) + names).items()))


class FilesKept(msgspec.Struct, frozen=True, kw_only=True):
    """Files of requests under one article at one controller whose time is over, and whose index rows are still there.

    `refuses`: somebody may refuse something by them, so the rows stay. The others go with the next run, unless a legal
    hold or somebody else's refusal rests on them. `oldest`: the day of the first answer.
    """

    controller: str
    article: str
    refuses: bool
    files: int
    index_rows: int
    oldest: date


class RebuildUnderWayError(Exception):
    """The view is being made anew, and what was read for that must not go meanwhile."""


class Report(NamedTuple):
    """A whole run. `id` None: nothing was deleted, only counted."""

    id: UUID | None
    began_at: datetime
    counts: Counts


class _Found(NamedTuple):
    """A dossier with something to do."""

    id: int
    controller: str
    facts: tuple[Fact, ...]
    plan: Plan
    payloads: frozenset[Doomed]

    @property
    def left(self) -> list[Fact]:
        """What is left of the dossier."""
        return retention.left(self.facts, self.plan)


class Retention:
    """Runs retention over one connection in the role that may delete."""

    def __init__(
        self, settings: Settings, keks: KeyEncryptionKeys, clock: Clock, connection: Connection, *, chunk: int = 200,
        progress: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._clock = clock
        self._connection = connection
        self._calls = Calls(keks, settings.partitions)
        self._chunk = chunk
        self._progress = progress
        self._register = registers.compile({}, 0)
        self._since = 0
        self._files: list[requests.File] = []
        self._answered: dict[str, Answered] = {}
        self._calendar_of: Callable[[str], Calendar] = of_controllers(self._register)

    async def count(self) -> Report:
        """Count what a run would delete now, and delete nothing."""
        now = await self._now()
        await self._use_register()
        await self._use_files(now)
        counts = Counts()
        counted: set[Doomed] = set()
        next_dossier = 0
        while stored := await store.dossiers_from(self._connection, next_dossier, self._chunk):
            for found in await self._plan(stored, now):
                counts.take(found.controller, found.plan)
                counts.payloads += len(found.payloads)
                counts.index_rows += sum(len(f.identifiers) for f in found.facts if f.place in found.plan.facts)
                counted |= found.payloads.intersection((found.controller, *place) for place in found.plan.files)
            next_dossier = stored[-1].id + 1
            await self._report_progress(next_dossier)
        counts.payloads += sum([len(set(batch) - counted) async for batch in self._request_files(now)])
        counts.quarantined = await store.count_old_quarantine(self._connection, _quarantine_end(now))
        counts.campaign_answers = await campaigns.count_old(self._connection, self._campaigns_end(now))
        return Report(None, now, counts)

    async def run(self) -> Report:
        """Delete what may go, and say how much.

        Raises `FencedError` when the register or the viewer has changed, and `RebuildUnderWayError`.
        """
        now = await self._now()
        await self._use_register()
        await self._use_files(now)
        run = await store.begin(self._connection, uuid4(), now)
        counts = msgspec.convert(run.counts, Counts)
        next_dossier = run.next_dossier
        while stored := await store.dossiers_from(self._connection, next_dossier, self._chunk):
            next_dossier = stored[-1].id + 1
            ids = [found.id for found in await self._plan(stored, now)]
            async with self._destroying():
                if ids:
                    await self._forget(ids, counts, now)
                await store.advance(self._connection, run.id, next_dossier, msgspec.to_builtins(counts))
            await self._report_progress(next_dossier)
        await self._delete_rest(run.id, next_dossier, counts, now)
        return Report(run.id, run.began_at, counts)

    @asynccontextmanager
    async def _destroying(self) -> AsyncIterator[None]:
        async with self._connection.transaction():
            if not await rebuild.may_destroy(self._connection):
                raise RebuildUnderWayError
            yield

    async def review_files(self) -> list[FilesKept]:
        """Tell which files of requests have outlived their time, by controller and article. Deletes nothing."""
        await self._use_register()
        await self._use_files(await self._now())
        rows = await store.request_rows(
            self._connection, {(one.controller, id_) for one in self._files for id_ in one.steps}
        )
        kept: dict[tuple[str, str, bool], list[tuple[date, int]]] = {}
        for file in self._files:
            if left := sum(rows.get((file.controller, id_), 0) for id_ in file.steps):
                key = (file.controller, file.article, not file.is_paper)
                kept.setdefault(key, []).append((file.answered, left))
        return [
            FilesKept(
                controller=controller, article=article, refuses=refuses, files=len(some),
                index_rows=sum(left for _, left in some), oldest=min(answered for answered, _ in some),
            )
            for (controller, article, refuses), some in sorted(kept.items())
        ]  # fmt: skip

    async def close(self, report: Report) -> None:
        """End a run, once it is recorded."""
        if report.id is not None:
            await store.end(self._connection, report.id, await self._now())

    async def _now(self) -> datetime:
        return self._clock.now(await store.database_now(self._connection))

    async def _use_register(self) -> None:
        version = await store.register_version(self._connection)
        if version:
            self._register = await view.compiled(self._connection, version)
            self._since = durations.instant(await store.register_since(self._connection, version))
        self._calendar_of = of_controllers(self._register)

    async def _use_files(self, now: datetime) -> None:
        """Find the requests answered so long ago that their files may go."""
        instant = durations.instant(now)
        self._files = [
            file for file in await requests.files(self._connection, instant)
            if self._calendar_of(file.controller).day(instant) > evidence_until(file.answered, retention.REQUEST_FILE)
        ]  # fmt: skip
        of: dict[str, list[tuple[frozenset[EventId], bool]]] = {}
        for file in self._files:
            of.setdefault(file.controller, []).append((frozenset(id_.bytes for id_ in file.steps), file.is_paper))
        self._answered = {
            controller: Answered(
                {id_: steps for steps, _ in files for id_ in steps},
                frozenset[EventId]().union(*(steps for steps, is_paper in files if is_paper)),
            )
            for controller, files in of.items()
        }  # fmt: skip

    async def _report_progress(self, next_dossier: int) -> None:
        self._progress(next_dossier, await store.last_dossier(self._connection))

    async def _plan(self, stored: Sequence[StoredDossier], now: datetime) -> list[_Found]:
        """Find the dossiers of which something may go that is still there."""
        planned = []
        for dossier in stored:
            facts = Dossier.loads(dossier.facts).facts
            plan = self._plan_of(dossier.controller, facts, now)
            if plan is not NOTHING:
                planned.append((dossier, facts, plan))
        doomed = {(dossier.controller, *place) for dossier, _, plan in planned for place in plan.payloads}
        present = await store.present_payloads(self._connection, doomed)
        found = [
            _Found(
                dossier.id, dossier.controller, facts, plan,
                frozenset(one for place in plan.payloads if (one := (dossier.controller, *place)) in present),
            )
            for dossier, facts, plan in planned
        ]  # fmt: skip
        return [one for one in found if one.payloads or one.left != [*one.facts]]

    def _plan_of(self, controller: str, facts: Sequence[Fact], now: datetime) -> Plan:
        if len(facts) > FACTS_MAX:
            # It answers no to everything, and judging it costs more than keeping it.
            return NOTHING
        return retention.plan(
            self._register, facts, controller, self._calendar_of(controller), durations.instant(now), self._since,
            self._answered.get(controller, NO_FILES),
        )  # fmt: skip

    async def _forget(self, ids: Sequence[int], counts: Counts, now: datetime) -> None:
        """Plan once more under the viewer's lock, and do it."""
        head = await view.open_head(self._connection, await store.epoch(self._connection))
        if head.register_version != self._register.version:
            raise view.FencedError
        found = await self._plan(await store.dossiers_at(self._connection, ids), now)
        doomed = [(one.controller, *place) for one in found for place in one.plan.facts]
        needs = newest_needs(await view.needs(self._connection))
        await self._calls.load(self._connection)
        folder = Folder(self._register, needs, self._settings.partitions, self._calls)
        left = {one.id: one.left for one in found if one.left != [*one.facts]}
        changes = await folder.fold(self._connection, head, (), list(left), max(now, head.instant), left)
        empty = [id_ for id_, facts in left.items() if not facts]
        for id_ in empty:
            del changes.dossiers[id_]
        await view.put(self._connection, head, changes, timedelta(seconds=self._settings.lease_seconds))
        await self._note([one for one in found if one.plan.facts], empty, now)
        counts.index_rows += await store.delete_index_rows(self._connection, doomed)
        counts.payloads += await store.delete_payloads(
            self._connection, [place for one in found for place in one.payloads]
        )
        for one in found:
            counts.take(one.controller, one.plan)

    async def _note(self, touched: Iterable[_Found], empty: Sequence[int], now: datetime) -> None:
        addresses: list[tuple[str, bytes]] = []
        gone: list[bytes] = []
        for one in touched:
            lost = _tokens(fact for fact in one.facts if fact.place in one.plan.facts)
            said = _tokens(fact for fact in one.facts if fact.place in one.plan.facts - one.plan.unsaid)
            addresses += [(one.controller, token) for token in said]
            gone += lost - _tokens(fact for fact in one.facts if fact.place not in one.plan.facts)
        await store.forget(self._connection, addresses, gone, empty, now)

    async def _request_files(self, now: datetime) -> AsyncIterator[list[Doomed]]:
        """Give the personal parts that are still there of files that may go, also of those that refusals rest on."""
        instant = durations.instant(now)
        held = await self._held(instant)
        steps = [
            (file.controller, id_)
            for file in self._files
            if held.isdisjoint((file.controller, id_.bytes) for id_ in file.steps)
            for id_ in file.steps
        ]
        for first in range(0, len(steps), _ROWS_PER_STATEMENT):
            part = steps[first : first + _ROWS_PER_STATEMENT]
            yield sorted(await store.present_request_payloads(self._connection, part))

    async def _held(self, instant: int) -> set[tuple[str, bytes]]:
        """Name the events, by controller, that are about people under a legal hold."""
        return {
            (one.controller, event)
            for one in await store.held(self._connection)
            for event in holds.events(self._register, Dossier.loads(one.facts).facts, one.controller, instant)
        }

    async def _delete_rest(self, id_: UUID, next_dossier: int, counts: Counts, now: datetime) -> None:
        async for batch in self._request_files(now):
            async with self._destroying():
                counts.payloads += await store.delete_payloads(self._connection, batch)
                await store.advance(self._connection, id_, next_dossier, msgspec.to_builtins(counts))
        deleted = 1
        while deleted:
            async with self._connection.transaction():
                deleted = await store.delete_old_quarantine(self._connection, _quarantine_end(now), _ROWS_PER_STATEMENT)
                counts.quarantined += deleted
                await store.advance(self._connection, id_, next_dossier, msgspec.to_builtins(counts))
        await self._delete_campaigns(id_, next_dossier, counts, now)

    async def _delete_campaigns(self, id_: UUID, next_dossier: int, counts: Counts, now: datetime) -> None:
        deleted = 1
        while deleted:
            async with self._connection.transaction():
                deleted = await campaigns.delete_old(self._connection, self._campaigns_end(now))
                counts.campaign_answers += deleted
                await store.advance(self._connection, id_, next_dossier, msgspec.to_builtins(counts))

    def _campaigns_end(self, now: datetime) -> datetime:
        """Give the instant before which no answer to a campaign is kept."""
        return durations.before(now, self._settings.campaign_retention)


def _tokens(facts: Iterable[Fact]) -> set[bytes]:
    return {token for fact in facts for _, _, token, _ in fact.identifiers}


def _quarantine_end(now: datetime) -> datetime:
    return now - timedelta(days=retention.QUARANTINE_DAYS)
