"""Mautic: who may not be written to over a channel gets an entry "do not contact" there, with the reason kept apart.

Mautic knows one yes or no for each channel of a contact and no purposes; so for each channel one purpose is named, the
one for which this Mautic sends. Entries are only ever added.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from consent_ledger.connectors.contacts import Contact, Off, Stop, Tool, Use
from consent_ledger.connectors.http import Api, read
from consent_ledger.connectors.outcome import RefusedError
from consent_ledger.connectors.settings import Name, Strict
from consent_ledger.connectors.tools import ContactTool
from consent_ledger.domain.learnt import Kind

UNSUBSCRIBED, BOUNCED, MANUAL = 1, 2, 3

_PAGE: Final = 200
_OVERLAP: Final = timedelta(minutes=1)
_GONE: Final = "status 404"
_OF_THE_PERSON: Final = frozenset(
    {"CONSENT_WITHDRAWN", "OBJECTION_DM", "OBJECTION_UPHELD", "OBJECTION_PENDING", "COMPLAINT"}
)
_KINDS: Final[Mapping[int, Kind]] = {UNSUBSCRIBED: "refused", BOUNCED: "bounced", MANUAL: "refused"}


class Sends(Strict, frozen=True, kw_only=True):
    """What this Mautic sends over one of its channels, and on whose behalf."""

    channel: Literal["email", "sms"]
    controller: Name
    purpose: Name


class Mautic(ContactTool, frozen=True, kw_only=True, tag_field="kind", tag="mautic"):
    """`url` such as https://mautic.example; `username` and the password are a user's, with basic authentication on."""

    sends: Annotated[tuple[Sends, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        channels = [one.channel for one in self.sends]
        if len(set(channels)) < len(channels):
            raise ValueError("a channel is named twice, and Mautic has one yes or no for each")

    def tool(self, api: Api) -> Tool:
        """See `ContactTool`."""
        return MauticTool(api, self.sends)


class _Entry(msgspec.Struct, frozen=True):
    channel: str
    reason: int


class _Fields(msgspec.Struct, frozen=True):
    all: Mapping[str, msgspec.Raw]


class _Contact(msgspec.Struct, frozen=True, rename="camel"):
    id: int
    date_added: datetime
    fields: _Fields
    do_not_contact: tuple[_Entry, ...]
    date_modified: datetime | None = None


class _Page(msgspec.Struct, frozen=True):
    # An empty page is a list, as PHP has it.
    contacts: dict[str, _Contact] | tuple[()]
    total: int | str


class _One(msgspec.Struct, frozen=True):
    contact: _Contact


class MauticTool:
    """Speaks Mautic's REST API. See `Tool`."""

    name = "mautic"

    def __init__(self, api: Api, sends: Sequence[Sends]) -> None:
        self.uses: Mapping[str, Use] = {one.channel: Use(one.controller, one.purpose, one.channel) for one in sends}
        self._api = api

    async def contacts(self, since: datetime | None = None) -> AsyncIterator[Sequence[Contact]]:
        """Give contacts by their numbers, or those that came or changed last."""
        if since is None:
            async for page in self._pages("id", "asc"):
                yield [self._contact(one) for one in page]
            return
        from_ = since - _OVERLAP
        for column in ("date_added", "date_modified"):
            async for page in self._pages(column, "desc"):
                yield [self._contact(one) for one in page]
                last = page[-1].date_added if column == "date_added" else page[-1].date_modified
                if last is None or last < from_:
                    break

    async def _pages(self, column: str, order: str) -> AsyncIterator[Sequence[_Contact]]:
        start, more = 0, True
        while more:
            # Visitors without an address are contacts too, and many.
            asked = {"search": "!is:anonymous", "start": start, "limit": _PAGE, "orderBy": column, "orderByDir": order}
            found = read(await self._api.get("/api/contacts", asked), _Page)
            page = list(found.contacts.values()) if isinstance(found.contacts, dict) else []
            if page:
                yield page
            start += len(page)
            more = bool(page) and start < int(found.total)

    def _contact(self, said: _Contact) -> Contact:
        named = {"email": _text(said.fields.all, "email"), "phone": _text(said.fields.all, "mobile", "phone")}
        addresses = {type_: value for type_, value in named.items() if value}
        off = {one.channel: Off(None, _KINDS.get(one.reason, "refused")) for one in said.do_not_contact}
        ours = {what: one for what, one in off.items() if what in self.uses}
        return Contact(
            str(said.id), addresses, frozenset(self.uses.keys() - ours), ours, said.date_modified or said.date_added
        )

    async def why(self, contact: str) -> Kind:  # noqa: ARG002 - nothing has to be looked up
        """See `Tool`: Mautic's entries say it themselves, so nobody asks."""
        return "refused"

    async def stop(self, stops: Sequence[Stop]) -> None:
        """Add entries where there are none: a reason that stands there is not written over."""
        for stop in stops:
            try:
                answer = await self._api.get(f"/api/contacts/{stop.contact}")
            except RefusedError as error:
                if str(error) == _GONE:
                    continue
                raise
            if stop.what in self._contact(read(answer, _One).contact).on:
                await self._add(stop)

    async def _add(self, stop: Stop) -> None:
        reason = reason_of(stop.reason)
        await self._api.change(
            "POST", f"/api/contacts/{stop.contact}/dnc/{stop.what}/add",
            json={"reason": reason, "comments": f"consent ledger: {stop.reason}"},
            told=f"add do-not-contact over {stop.what} (reason {reason}): contact {stop.contact} ({stop.reason})",
        )  # fmt: skip

    async def close(self) -> None:
        """See `Tool`."""
        await self._api.close()


def reason_of(reason: str) -> int:
    """Return which of Mautic's reasons a reason of the ledger is: the person's will, a dead address, or another."""
    if reason in _OF_THE_PERSON:
        return UNSUBSCRIBED
    return BOUNCED if reason == "HARD_BOUNCE" else MANUAL


def _text(fields: Mapping[str, msgspec.Raw], *names: str) -> str:
    """Return the first of the fields that holds a text; "" if none does."""
    for name in names:
        value = msgspec.json.decode(fields[name]) if name in fields else None
        if isinstance(value, str) and value:
            return value
    return ""
