"""A person as an officer is shown them: entries, identifiers and marks, from one snapshot behind the barrier."""

import base64
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from consent_ledger.api.answers import Place
from consent_ledger.domain import privacy
from consent_ledger.domain.facts import Fact
from consent_ledger.domain.identifiers import normalise_or_raw
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.domain.reach import addressed
from consent_ledger.domain.register import Register
from consent_ledger.domain.timeline import Timeline, timeline
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import history, view
from consent_ledger.store.decisions import Snapshot
from consent_ledger.store.history import InQuarantine, Line, Named

# Fields of the body that are told apart from the others, or told otherwise.
_TOLD: Final = frozenset({"source", "personal", "malformed", "conflicts_with"})

# References lead from an event to its target; longer chains than this are nobody's honest work.
_CHAIN_MAX: Final = 8


class Address(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An identifier in an entry. `value` None: it cannot be read any more, only recognised.

    `shared`: there if the entry says that several people use it. `hash`: there instead of the value, if openings were
    asked for.
    """

    role: str
    type: str
    value: str | None
    shared: bool = False
    hash: str | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry. Instants: when it happened and when the ledger recorded it.

    `personal`: `shown`, and then it is among `said`; `erased`, and it is gone for ever; `elsewhere`, because this
    controller was reached without being addressed and holds no copy; `none`, nothing of that kind was ever kept.
    `opening`: there if it was asked for and can be read: in base64, the 32 bytes of salt and the personal fields of the
    event, to whose SHA-256 the log commits.
    """

    event_id: UUID
    type: str
    source: str
    occurred_at: datetime
    recorded_at: datetime
    position: Place
    register_version: int
    entered_by: str | None
    identifiers: list[Address]
    personal: str
    said: dict[str, Any]
    voided: bool
    malformed: bool
    waits_for: UUID | None
    conflicts_with: str | None
    in_quarantine: list[InQuarantine]
    opening: str | UnsetType = UNSET


class Identifier(msgspec.Struct, frozen=True, kw_only=True):
    """An identifier of the person, and the entries by which it is known. `value` None: it cannot be read any more."""

    type: str
    value: str | None
    asked: bool
    positions: list[Place]


class Suppression(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept to go on suppressing an identifier: a keyed hash, and the entry that last changed its record."""

    type: str
    value: str | None
    hash: str
    position: Place
    recorded_at: datetime


class Person(NamedTuple):
    """All that was found. `anchors`: identifiers, by hash, under which the person's keys are found."""

    entries: list[Entry]
    identifiers: list[Identifier]
    suppression: list[Suppression]
    anchors: dict[bytes, tuple[str, str]]


class Reader:
    """Reads persons of one controller under one register; `key` is that under which it hashes addresses.

    `openings`: with what opens the log's commitments to the personal fields.
    """

    def __init__(
        self, connection: Connection, keks: KeyEncryptionKeys, register: Register, controller: str, key: bytes, *,
        openings: bool = False,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._keks = keks
        self._register = register
        self._controller = controller
        self._key = key
        self._openings = openings
        self._registers = {register.version: register}

    async def by_event(self, event_id: UUID) -> tuple[list[tuple[str, bytes]], Line | None]:
        """Find the identifiers of an event, or of the one that it refers to, and the event's own entry."""
        first: Line | None = None
        found: list[tuple[str, bytes]] = []
        wanted: UUID | None = event_id
        for _ in range(_CHAIN_MAX):
            # A request may be referred to by a name that is no event.
            places = await view.places(self._connection, [] if wanted is None or found else [wanted])
            lines = await self._lines(places.values())
            if not lines:
                break
            first = first or lines[0]
            found = [(named.type, named.hash) for named in lines[0].identifiers]
            referred = privacy.references(lines[0].body, privacy.PLACES[lines[0].type])
            wanted = referred[0] if referred and referred[0] != wanted else None
        named = first is not None and (first.identifiers or self._controller in (first.body.get("controllers") or ()))
        return found, first if named else None

    async def person(
        self, snapshot: Snapshot, asked: Sequence[tuple[str, bytes]], given: dict[bytes, str], alone: Line | None
    ) -> Person:
        """Read everything about the person of these identifiers; `alone` is an entry that leads to nobody."""
        facts = await self._facts(snapshot, {hash_ for _, hash_ in asked})
        names = await history.request_names(
            self._connection, [fact.place for fact in facts if fact.type == "request-received"]
        )
        found = timeline(self._register, self._controller, asked, facts, names)
        looks = await history.looks(self._connection, found.identifiers)
        places = {fact.place for fact in found.facts} | set(looks) | ({alone.place} if alone else set())
        lines = await self._lines(places)
        values = given | _values(lines, self._key)
        return Person(
            entries=await self._entries(lines, found, values),
            identifiers=[
                Identifier(
                    type=kind,
                    value=values.get(token),
                    asked=(kind, token) in asked,
                    positions=[Place(*place) for place in known],
                )
                for token, (kind, known) in found.identifiers.items()
            ],
            suppression=await self._suppression(snapshot, found, values),
            anchors={
                line.identifiers[0].hash: (line.identifiers[0].type, values[line.identifiers[0].hash])
                for line in lines
                if line.personal is not None and line.identifiers and line.identifiers[0].hash in values
            },
        )

    async def _facts(self, snapshot: Snapshot, hashes: Collection[bytes]) -> list[Fact]:
        dossiers = dict((await snapshot.dossiers(hashes)).values())
        return [fact for dossier in dossiers.values() for fact in dossier.facts]

    async def _lines(self, places: Collection[tuple[int, int]]) -> list[Line]:
        return await history.lines(self._connection, self._keks, self._controller, places)

    async def _entries(self, lines: Sequence[Line], found: Timeline, values: dict[bytes, str]) -> list[Entry]:
        references = [
            (reference, *line.place)
            for line in lines
            for reference in privacy.references(line.body, privacy.PLACES[line.type])
        ]
        waiting = await history.waiting(self._connection, references)
        quarantined = await history.quarantined(self._connection, {line.event_id for line in lines})
        return [
            Entry(
                event_id=line.event_id,
                type=line.type,
                source=line.body["source"],
                occurred_at=line.occurred_at,
                recorded_at=line.recorded_at,
                position=Place(*line.place),
                register_version=line.register_version,
                entered_by=(line.personal or {}).get("entered_by"),
                identifiers=[
                    self._address(named, values.get(named.hash) if line.opening else None) for named in line.identifiers
                ],
                personal=await self._state(line),
                said=_said(line),
                voided=line.place in found.voided,
                malformed=line.body.get("malformed") is True,
                waits_for=waiting.get(line.place),
                conflicts_with=line.body.get("conflicts_with"),
                in_quarantine=quarantined.get(line.event_id, []),
                opening=base64.b64encode(line.opening).decode() if self._openings and line.opening else UNSET,
            )
            for line in lines
        ]

    def _address(self, named: Named, value: str | None) -> Address:
        hash_ = named.hash.hex() if self._openings and value is None else None
        return Address(role=named.role, type=named.type, value=value, shared=named.shared, hash=hash_)

    async def _state(self, line: Line) -> str:
        if line.personal is not None:
            return "shown"
        if not line.kept:
            return "none"
        known = await self._register_of(line.register_version)
        controllers = line.body.get("controllers")
        named = tuple(controllers) if isinstance(controllers, list) else None
        scope = line.body.get("controller_scope")
        whom = addressed(known, line.type, line.body["source"], named, scope).ungrouped
        return "erased" if self._controller in whom else "elsewhere"

    async def _register_of(self, version: int) -> Register:
        if version not in self._registers:
            self._registers[version] = await view.compiled(self._connection, version)
        return self._registers[version]

    async def _suppression(self, snapshot: Snapshot, found: Timeline, values: dict[bytes, str]) -> list[Suppression]:
        rows = await snapshot.rows(found.identifiers)
        return [
            Suppression(
                type=kind,
                value=values.get(token),
                hash=token.hex(),
                position=Place(rows[token].shard, rows[token].pos),
                recorded_at=rows[token].recorded_at,
            )
            for token, (kind, _) in found.identifiers.items()
            if token in rows
        ]


def _said(line: Line) -> dict[str, Any]:
    """Give all fields that the event had, in clear where they can be read."""
    said = {name: value for name, value in line.body.items() if name not in _TOLD}
    return said | {name: value for name, value in (line.personal or {}).items() if name != "subject"}


def _values(lines: Sequence[Line], key: bytes) -> dict[bytes, str]:
    """Give the clear values of identifiers by their hashes, as entries that can be read have them."""
    values: dict[bytes, str] = {}
    for personal in (line.personal for line in lines if line.personal is not None):
        given = [*personal.get("subject", ()), *(personal[role] for role in ("old", "new") if role in personal)]
        for said in given:
            value, _ = normalise_or_raw(said["type"], said["value"])
            values[address_hash(key, said["type"], value)] = value
    return values
