"""Connectors for tools that keep contacts of their own: who may not be written to is stopped there.

The tool's contacts are hashed by the keys of the consumer and found in the view; the hash of a record leads to the
contact, never back to an address. Changes of the view are applied as they come; sweeps through all contacts put both
sides in line: where the ledger says no and the tool would send, the tool is called; where the tool says no and the
ledger yes, an event says so. Nobody is ever subscribed again by this.
"""

import asyncio
import logging
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol

from consent_ledger.client.copy import Place
from consent_ledger.client.local import Changes, Decision, LocalView
from consent_ledger.connectors.index import Hashed, Index
from consent_ledger.connectors.outcome import AwayError, FailedError, RefusedError
from consent_ledger.connectors.runner import Batch
from consent_ledger.connectors.state import Item
from consent_ledger.domain.decision import ADDRESS_OF
from consent_ledger.domain.errors import ConsentError
from consent_ledger.domain.learnt import Kind, event_of
from consent_ledger.domain.suppression import suppression_key
from consent_ledger.domain.unsubscribe import Claim
from consent_ledger.runtime.topics import partitions_of

log = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 900.0
NEWS_SECONDS: Final = 5.0
_REST_SECONDS: Final = 1.0
_PAUSE_MAX_SECONDS: Final = 60.0
_NAMESPACE: Final = uuid.UUID("0d3c1c0a-3f3b-5a52-8f0e-0b7f6b2f4a11")
# A no for want of knowledge stops nobody for ever; the rest of the noes do.
_CANNOT_TELL: Final = frozenset({"UNKNOWN_CONTROLLER", "UNKNOWN_PURPOSE", "CHANNEL_NOT_COVERED", "DNC_STALE"})


class Use(NamedTuple):
    """What a tool does with an address: for whom, for what, over which channel."""

    controller: str
    purpose: str
    channel: str

    @property
    def type(self) -> str:
        """The type of address that it takes."""
        return ADDRESS_OF.get(self.channel) or "email"


class Off(NamedTuple):
    """That a tool sends something no more: since when, and why, as far as it says so at once.

    `mark` tells one no from another, where a tool lets one be told; that of a connector's own is `Tool.mark`.
    """

    since: datetime | None = None
    kind: Kind | None = None
    mark: str = ""


class Contact(NamedTuple):
    """A contact as its tool has it now. Uses are named by the tool's own words, such as `list 3`.

    `on`: what the tool would send. `off`: what it has been told not to. `changed_at`: when the contact last changed,
    by the tool's clock.
    """

    id: str
    addresses: Mapping[str, str]
    on: frozenset[str] = frozenset()
    off: Mapping[str, Off] = {}
    changed_at: datetime | None = None


class Stop(NamedTuple):
    """Something that a tool must not do any more to a contact, with the ledger's reason."""

    contact: str
    what: str
    reason: str


class Tool(Protocol):
    """A tool with contacts. All raise the errors of `outcome`."""

    name: str
    mark: str
    uses: Mapping[str, Use]

    def contacts(self, since: datetime | None = None) -> AsyncIterator[Sequence[Contact]]:
        """Give all contacts page by page, or those that have changed since an instant of the tool's clock."""

    async def contact(self, id_: str) -> Contact | None:
        """Give one contact; None: there is none of that number."""

    async def why(self, contact: str) -> Kind:
        """Find out why a contact gets nothing more, where the page did not say."""

    async def stop(self, stops: Sequence[Stop]) -> None:
        """Stop, and begin nothing. What is stopped already stays as it is; a contact that is gone needs nothing."""

    async def close(self) -> None:
        """Let go of connections."""


class Declared(NamedTuple):
    """A refusal that a tool knows and the ledger does not, as an event."""

    id: uuid.UUID
    type: str
    occurred_at: datetime
    data: Mapping[str, object]


class ContactConnector:
    """Keeps one tool in line with a view. `declare` publishes what the tool has learnt; None: it is only counted.

    `index` is the connector's memory of contacts; `sweep_seconds`: how long between two sweeps; `news_seconds`: between
    two looks for new contacts, None where one sweep is all.
    """

    def __init__(
        self,
        tool: Tool,
        view: LocalView,
        index: Index,
        *,
        declare: Callable[[Declared], object] | None = None,
        sweep_seconds: float = SWEEP_SECONDS,
        news_seconds: float | None = NEWS_SECONDS,
        is_fresh: Callable[[], bool] = lambda: True,
        is_parked: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._tool = tool
        self._view = view
        self._index = index
        self._declare = declare
        self._sweep_seconds = sweep_seconds
        self._news_seconds = news_seconds
        self._is_fresh = is_fresh
        self._is_parked = is_parked
        self._newest: datetime | None = None
        self._sweep = index.last_sweep()
        self._sweeping: AsyncIterator[Sequence[Contact]] | None = None
        # Whether everything up to `_position` among the view's changes is done, or only a sweep will tell.
        self._complete = False
        self._position: str | None = None
        self._sweep_at = self._news_at = 0.0
        self._pause = 0.0
        self._hinted: dict[str, None] = {}
        self._woken = asyncio.Event()

    def look_at(self, ids: Collection[str]) -> None:
        """Look at these contacts at once, for their tool says that something has changed; at all, without a number.

        A hint that is lost with this process does no harm, because every start sweeps.
        """
        self._hinted |= dict.fromkeys(ids)
        if not ids:
            self._sweep_at = 0.0
        self._woken.set()

    # -- what is to be done

    async def batches(self, place: bytes | None) -> AsyncIterator[Batch]:
        """Give the contacts of which something has changed, and in between all of them, page by page."""
        # What has changed since is done at once, but who has come to the tool meanwhile is not known before a sweep.
        self._position = None if place is None else place.decode()
        while True:
            if not self._is_fresh():
                yield Batch()
                await asyncio.sleep(_REST_SECONDS)
                continue
            places, changes = self._places(), self._changes()
            found = self._index.contacts_of(changes.hashes or ())
            try:
                found += await self._news()
                found += await self._page()
            except (AwayError, FailedError, RefusedError) as error:
                # The same changes are found again: nothing may be acknowledged without knowing the new contacts.
                yield Batch(self._items(found, len(places)))
                await self._wait(error)
                continue
            items = self._items(found, len(places))
            self._position, self._pause = changes.position, 0.0
            last = self._sweeping is None and not items
            yield Batch(items, self._position.encode(), places, last) if self._complete else Batch(items)
            if last:
                await self._rest()

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_REST_SECONDS):
                await self._woken.wait()
        self._woken.clear()

    def _changes(self) -> Changes:
        changes = self._view.changed_since(self._position)
        if self._position is None or changes.hashes is None:
            # What is not known one by one is known after a sweep, and counts only then.
            self._complete, self._sweeping, self._sweep_at = False, None, 0.0
        return changes

    async def _news(self) -> list[str]:
        """Learn which contacts have come or changed since the last look, and about those that the tool has named."""
        found = []
        while self._hinted:
            id_ = next(iter(self._hinted))
            contact = await self._tool.contact(id_)
            found += [] if contact is None else await self._take([contact])
            del self._hinted[id_]
        if self._newest is None or self._news_seconds is None or time.monotonic() < self._news_at:
            return found
        async for page in self._tool.contacts(self._newest):
            found += await self._take(page)
        self._news_at = time.monotonic() + self._news_seconds
        return found

    async def _page(self) -> list[str]:
        """Go on with a sweep by a page, if there is one or it is time for one."""
        if self._sweeping is None:
            if time.monotonic() < self._sweep_at:
                return []
            self._sweeping, self._sweep = self._tool.contacts(), self._sweep + 1
        page = await anext(self._sweeping, None)
        if page is not None:
            return await self._take(page)
        self._index.forget_unseen(self._sweep)
        self._sweeping, self._complete = None, True
        self._sweep_at = time.monotonic() + self._sweep_seconds
        self.counts["sweeps"] += 1
        return []

    async def _wait(self, error: ConsentError) -> None:
        """Begin the sweep anew, later."""
        log.warning("contacts cannot be compared", extra={"tool": self._tool.name, "why": str(error)})
        self._sweeping = None
        self._pause = min(_PAUSE_MAX_SECONDS, max(_REST_SECONDS, 2 * self._pause))
        after = error.after if isinstance(error, AwayError) else None
        await asyncio.sleep(self._pause * random.uniform(0.5, 1) + (after or 0.0))  # noqa: S311 - spreads readers

    def _places(self) -> Sequence[Place]:
        with self._view.copy().reading() as reading:
            return reading.head().places

    def _items(self, ids: Sequence[str], partitions: int) -> list[Item]:
        return [
            Item(key=_key(id_), value=id_.encode(), partitions=self._partitions(id_, partitions))
            for id_ in dict.fromkeys(ids)
        ]

    def _partitions(self, id_: str, count: int) -> tuple[int, ...]:
        """Return the partitions of the topic where the records of a contact's addresses stand."""
        known = [one for one in self._index.addresses_of(id_) if one.hash]
        keys = [suppression_key(one.controller, one.type, one.hash) for one in known]
        return tuple(sorted(set(partitions_of(keys, count))))

    async def _take(self, page: Sequence[Contact]) -> list[str]:
        """Learn contacts as they are now, and find those of which tool and ledger differ.

        Raises `AwayError` while the view cannot tell.
        """
        self._index.put([(one.id, self._hashed(one)) for one in page], self._sweep)
        self._index.unsettle([(one.id, what) for one in page for what in one.on])
        stamps = [one.changed_at for one in page if one.changed_at is not None]
        self._newest = max([*stamps, self._newest or datetime.min.replace(tzinfo=UTC)])
        differing: dict[str, None] = {}
        agreed: list[tuple[str, str, str]] = []
        for what, use in self._tool.uses.items():
            concerned = [one for one in page if use.type in one.addresses and (what in one.on or what in one.off)]
            for contact, decision in zip(concerned, self._decide(use, concerned), strict=True):
                if what in contact.on and not decision:
                    self.counts["to be stopped"] += 1
                    differing[contact.id] = None
                elif what in contact.off and decision:
                    await self._tell(contact, what, use)
                elif what in contact.off:
                    # The ledger says no as well: a consent that comes later is not ended by this.
                    agreed.append((contact.id, what, contact.off[what].mark))
        self._index.settle(agreed)
        self.counts["contacts"] += len(page)
        # What is parked waits for somebody, or for another change of the person's record.
        return [id_ for id_ in differing if not self._is_parked(_key(id_))]

    def _hashed(self, contact: Contact) -> list[Hashed]:
        found = []
        for controller, type_ in sorted({(use.controller, use.type) for use in self._tool.uses.values()}):
            if type_ in contact.addresses:
                hash_ = self._view.hash_of(controller, contact.addresses[type_], type_)
                found.append(Hashed(hash_ or b"", controller, type_))
        return found

    def _decide(self, use: Use, contacts: Sequence[Contact]) -> list[Decision]:
        hashes = [self._view.hash_of(use.controller, one.addresses[use.type], use.type) for one in contacts]
        return [
            _certain(one)
            for one in self._view.decide_hashes(use.controller, hashes, use.purpose, use.channel, type=use.type)
        ]

    async def _tell(self, contact: Contact, what: str, use: Use) -> None:
        """Declare a refusal that only the tool knows; one of the connector's own is none."""
        since, kind, mark = contact.off[what]
        if self._index.is_settled(contact.id, what, mark):
            return
        self.counts["to be declared"] += 1
        if self._declare is None:
            return
        claim = Claim(
            controller=use.controller, purpose=use.purpose, channel=use.channel, address=contact.addresses[use.type]
        )
        type_, data = event_of(kind or await self._tool.why(contact.id), claim, self._tool.name)
        id_ = uuid.uuid5(_NAMESPACE, f"{self._tool.name}/{contact.id}/{what}/{since}")
        self._declare(Declared(id_, type_, since or datetime.now(UTC), data))
        self._index.settle([(contact.id, what, mark)])

    # -- doing it

    async def apply(self, items: Sequence[Item]) -> None:
        """Stop what the view says no to now, whatever it said when the items were found."""
        stops = [stop for item in items for stop in self._stops(item.value.decode())]
        # First, so that after a crash the tool's no is not taken for the person's.
        self._index.settle([(stop.contact, stop.what, self._tool.mark) for stop in stops])
        if stops:
            await self._tool.stop(stops)
            self.counts["stopped"] += len(stops)

    def _stops(self, id_: str) -> list[Stop]:
        found = []
        known = {(one.controller, one.type): one.hash for one in self._index.addresses_of(id_)}
        for what, use in self._tool.uses.items():
            hash_ = known.get((use.controller, use.type))
            if hash_ is None:
                continue
            # What is no address has no yes either.
            asked = [hash_ or None]
            (decision,) = self._view.decide_hashes(use.controller, asked, use.purpose, use.channel, type=use.type)
            if not _certain(decision):
                found.append(Stop(id_, what, decision.reason))
        return found


def _key(id_: str) -> str:
    return f"contact/{id_}"


def _certain(decision: Decision) -> Decision:
    """Pass a decision on which one can act. Raises `AwayError`."""
    if not decision and (not decision.final or decision.reason in _CANNOT_TELL):
        raise AwayError(f"the view cannot tell: {decision.reason}")
    return decision
