"""listmonk (versions 5 and 6): which list is which purpose is configuration, and a no unsubscribes from its lists.

A refusal of one purpose stops the lists of that purpose, and one of all marketing the lists of all purposes that it
reaches, because the ledger says no to each of them. Subscribers are found by listmonk's own numbers.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from consent_ledger.connectors.contacts import Contact, Off, Stop, Tool, Use
from consent_ledger.connectors.hooks import LISTMONK
from consent_ledger.connectors.http import Api, read
from consent_ledger.connectors.outcome import RefusedError
from consent_ledger.connectors.settings import Name, Strict
from consent_ledger.connectors.tools import ContactTool
from consent_ledger.domain.learnt import Kind

# Newer versions give at most this many at once, whatever they are asked for.
_PAGE: Final = 50
_IDS_MAX: Final = 500
_SHOWN: Final = 20
_OVERLAP: Final = timedelta(minutes=1)
_ADDRESS_IS_GONE: Final = frozenset({"ERASED", "ERASURE_REQUESTED"})


class ListOf(Strict, frozen=True, kw_only=True):
    """A list of listmonk by its number, and what is sent to it on whose behalf."""

    id: int
    controller: Name
    purpose: Name


class Listmonk(ContactTool, frozen=True, kw_only=True, tag_field="kind", tag="listmonk"):
    """`url` such as https://lists.example; `username` and the password are an API user and its token.

    `blocklist`: whose data are to be erased is put on listmonk's blocklist too, so that no import brings him back.
    """

    calls = LISTMONK

    lists: Annotated[tuple[ListOf, ...], Meta(min_length=1)]
    blocklist: bool = False

    def __post_init__(self) -> None:
        ids = [one.id for one in self.lists]
        if len(set(ids)) < len(ids):
            raise ValueError("a list is named twice")

    def tool(self, api: Api) -> Tool:
        """See `ContactTool`."""
        return ListmonkTool(api, self.lists, blocklist=self.blocklist)


class _Subscription(msgspec.Struct, frozen=True):
    id: int
    subscription_status: Literal["unconfirmed", "confirmed", "unsubscribed"]
    subscription_updated_at: datetime | None = None


class _Subscriber(msgspec.Struct, frozen=True):
    id: int
    email: str
    status: Literal["enabled", "disabled", "blocklisted"]
    updated_at: datetime
    lists: tuple[_Subscription, ...]


class _Found(msgspec.Struct, frozen=True):
    results: tuple[_Subscriber, ...]
    total: int
    page: int
    per_page: int


class _Bounce(msgspec.Struct, frozen=True):
    type: Literal["soft", "hard", "complaint"]


class _Page(msgspec.Struct, frozen=True):
    data: _Found


class _One(msgspec.Struct, frozen=True):
    data: _Subscriber


class _Bounces(msgspec.Struct, frozen=True):
    data: tuple[_Bounce, ...] | None


class ListmonkTool:
    """Speaks listmonk's API. See `Tool`."""

    name = "listmonk"
    # Its noes look alike, whoever said them.
    mark = ""

    def __init__(self, api: Api, lists: Sequence[ListOf], *, blocklist: bool) -> None:
        self.uses: Mapping[str, Use] = {_named(one.id): Use(one.controller, one.purpose, "email") for one in lists}
        self._ids = {_named(one.id): one.id for one in lists}
        self._api = api
        self._blocklist = blocklist

    async def contacts(self, since: datetime | None = None) -> AsyncIterator[Sequence[Contact]]:
        """Give subscribers in the order in which they were made, or the other way round those that changed last."""
        order = (
            {"order_by": "created_at", "order": "ASC"} if since is None else {"order_by": "updated_at", "order": "DESC"}
        )
        number, more = 1, True
        while more:
            answer = await self._api.get("/api/subscribers", {"page": number, "per_page": _PAGE, **order})
            found = read(answer, _Page).data
            # Nothing is taken out here: what is a little older is only looked at twice.
            yield [self._contact(one) for one in found.results]
            more = bool(found.results) and found.page * found.per_page < found.total
            more = more and (since is None or found.results[-1].updated_at >= since - _OVERLAP)
            number += 1

    def _contact(self, said: _Subscriber) -> Contact:
        known = {_named(one.id): one for one in said.lists if _named(one.id) in self.uses}
        sends = said.status == "enabled"
        on = {name for name, one in known.items() if sends and one.subscription_status != "unsubscribed"}
        off = {
            name: Off(one.subscription_updated_at, None if said.status == "blocklisted" else "refused")
            for name, one in known.items() if one.subscription_status == "unsubscribed" or said.status == "blocklisted"
        }  # fmt: skip
        return Contact(str(said.id), {"email": said.email}, frozenset(on), off, said.updated_at)

    async def contact(self, id_: str) -> Contact | None:
        """See `Tool`."""
        try:
            answer = await self._api.get(f"/api/subscribers/{id_}")
        except RefusedError:
            return None
        return self._contact(read(answer, _One).data)

    async def why(self, contact: str) -> Kind:
        """Part those on the blocklist for a bounce from those who wanted it, which listmonk's status does not."""
        answer = await self._api.get(f"/api/subscribers/{contact}/bounces")
        types = {one.type for one in read(answer, _Bounces).data or ()}
        return "complained" if "complaint" in types else "bounced" if "hard" in types else "refused"

    async def stop(self, stops: Sequence[Stop]) -> None:
        """Unsubscribe from lists: for each list all its subscribers at once."""
        of_list: dict[str, list[Stop]] = {}
        for stop in stops:
            of_list.setdefault(stop.what, []).append(stop)
        for name, some in of_list.items():
            for first in range(0, len(some), _IDS_MAX):
                await self._unsubscribe(name, some[first : first + _IDS_MAX])
        if self._blocklist:
            await self._block(stops)

    async def _unsubscribe(self, name: str, stops: Sequence[Stop]) -> None:
        ids = [int(one.contact) for one in stops]
        body = {"ids": ids, "action": "unsubscribe", "target_list_ids": [self._ids[name]]}
        await self._api.change(
            "PUT", "/api/subscribers/lists", json=body, told=_would(f"unsubscribe from {name}", stops)
        )
        if not self._api.dry:
            await self._require_stopped(name, ids)

    async def _require_stopped(self, name: str, ids: Sequence[int]) -> None:
        """Look at one of them: listmonk passes over lists that a user may not manage, and says that all is well."""
        for id_ in ids:
            contact = await self.contact(str(id_))
            if contact is None:
                # Deleted meanwhile: the next one tells as well.
                continue
            if name in contact.on:
                raise RefusedError(f"listmonk did not unsubscribe from {name}: may its user manage it?")
            return

    async def _block(self, stops: Sequence[Stop]) -> None:
        gone = [one for one in stops if one.reason in _ADDRESS_IS_GONE]
        ids = sorted({int(one.contact) for one in gone})
        for first in range(0, len(ids), _IDS_MAX):
            body = {"ids": ids[first : first + _IDS_MAX]}
            await self._api.change("PUT", "/api/subscribers/blocklist", json=body, told=_would("blocklist", gone))

    async def close(self) -> None:
        """See `Tool`."""
        await self._api.close()


def _named(id_: int) -> str:
    return f"list {id_}"


def _would(what: str, stops: Sequence[Stop]) -> str:
    """Say by listmonk's numbers what would be done, and how often for which reason."""
    reasons = Counter(one.reason for one in stops)
    some = ", ".join(str(one.contact) for one in stops[:_SHOWN])
    more = f" and {len(stops) - _SHOWN} more" if len(stops) > _SHOWN else ""
    return f"{what}: subscribers {some}{more} ({', '.join(f'{reason} {count}' for reason, count in reasons.items())})"
