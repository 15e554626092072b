"""Makes of raw records what the ledger appends: decoded, addressed to controllers, hashed, encrypted.

All of this happens outside the append transaction, under the register then in force; when a register is loaded
meanwhile, the append refuses the batch and it is prepared again.
"""

import hashlib
import os
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consent_ledger.domain import events, leaf, register, register_schedule, signing
from consent_ledger.domain.catalogue import CALL_SNAPSHOT, VIEWED
from consent_ledger.domain.events import KINDS, Event, Rejection
from consent_ledger.domain.keyedhash import address_hash, keyed_hash
from consent_ledger.domain.reach import reach
from consent_ledger.runtime.keys import KeyEncryptionKeys, encrypt
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.shards import CONTROL_SHARD
from consent_ledger.store import keys, schedule
from consent_ledger.store.ledger import Draft, Duplicate, Quarantined, RegisterLoad

_CONTROL_TYPES = frozenset({"register-loaded", "purpose-registered"})
_PERSONS_CACHED = 100_000
_SALT_BYTES = 32
_NONCE_BYTES = 12
_AT_ONCE = datetime.min.replace(tzinfo=UTC)


class Record(Protocol):
    """What is needed of a Kafka record; header keys that are not UTF-8 come as bytes."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str | bytes, bytes | None]]


class _Person(NamedTuple):
    person: uuid.UUID
    key: bytes
    cipher: AESGCM


class _Decoded(NamedTuple):
    """One record after decoding; `event` None means rejected."""

    record: Record
    event: Event | None
    rejection: Rejection | None
    # Keyed hashes of the event's identifiers, by controller reached.
    hashes: Mapping[str, tuple[bytes, ...]] = MappingProxyType({})
    # The anchors of the keys to encrypt under, by controller addressed.
    anchors: Mapping[str, bytes] = MappingProxyType({})


class Preparer:
    """Prepares batches under one register and the keys that belong to it; `refresh` fetches both anew."""

    def __init__(self, keks: KeyEncryptionKeys, *, production: bool) -> None:
        self._keks = keks
        self._production = production
        self._persons: OrderedDict[bytes, _Person] = OrderedDict()
        self._document: dict[str, Any] = {}
        self._schedule: list[register_schedule.Ahead] = []
        self._register = register.compile({}, 0)
        self._service: dict[str, bytes] = {}
        self._controllers: dict[str, bytes] = {}
        self._erasures = 0
        self._newest_erasure: datetime | None = None
        # Addresses that were found to be erased, and up to when.
        self._erased: dict[bytes, datetime] = {}

    @property
    def version(self) -> int:
        """The version of the register under which batches are prepared; 0 before any was loaded."""
        return self._register.version

    @property
    def erasures(self) -> int:
        """How many erasures had destroyed keys when the oldest of the keys at hand was fetched."""
        return self._erasures

    async def refresh(self, connection: Connection, version: int, document: dict[str, Any]) -> None:
        """Prepare under another register from here on, and with keys that are fetched anew if any were destroyed."""
        # Asked before any key is fetched: what is destroyed after this shows when the batch is appended.
        erasures = await keys.erasures(connection)
        if erasures != self._erasures:
            self._persons.clear()
            self._erased.clear()
            self._erasures, self._newest_erasure = erasures, await keys.newest_erasure(connection)
        self._document, self._register = document, register.compile(document, version)
        self._schedule = [
            register_schedule.Ahead(one.valid_from, one.document) for one in await schedule.pending(connection)
        ]
        self._service = await keys.service_keys(connection, self._keks)
        found = await keys.controller_keys(connection, self._keks)
        self._controllers = {controller: key.key for controller, key in found.items()}

    async def prepare(
        self, connection: Connection, shard: int, records: Sequence[Record]
    ) -> tuple[list[Draft], list[Quarantined]]:
        """Make drafts of what can be an entry, and keep the rest as it came. Order of offsets is kept in both."""
        (prepared,) = await self.prepare_all(connection, {shard: records})
        return prepared

    async def prepare_all(
        self, connection: Connection, records: Mapping[int, Sequence[Record]]
    ) -> list[tuple[list[Draft], list[Quarantined]]]:
        """Prepare the records of several shards; keys of persons are fetched for all of them together."""
        decoded = [[self._decode(shard, record) for record in found] for shard, found in records.items()]
        await self._fetch_persons(connection, [item for items in decoded for item in items])
        return [await self._drafts(connection, items) for items in decoded]

    async def _drafts(
        self, connection: Connection, decoded: Sequence[_Decoded]
    ) -> tuple[list[Draft], list[Quarantined]]:
        drafts: list[Draft] = []
        rejected: list[Quarantined] = []
        for item in decoded:
            if item.event is None:
                rejected.append(self._quarantine(item.record, item.rejection))
            elif item.event.type in _CONTROL_TYPES:
                await self._load(connection, item, drafts, rejected)
            else:
                drafts.append(self._draft(item, item.event))
        return drafts, rejected

    def _decode(self, shard: int, record: Record) -> _Decoded:
        said = self._proved(events.decode(record.key, record.value, record.headers), record)
        if isinstance(said, Rejection):
            return _Decoded(record, None, said)
        event, rejection = said if isinstance(said, tuple) else (said, None)
        if (event.type in _CONTROL_TYPES) != (shard == CONTROL_SHARD):
            detail = "registers are loaded on the control topic, everything else on the events topic"
            return _Decoded(record, None, Rejection(reason="WRONG_TOPIC", detail=detail, event_id=event.id))
        reached, addressed = self._reach(event)
        rejection = rejection or _doubt(event, reached)
        hashes = {controller: self._hashes(event, controller) for controller in reached}
        anchors = {controller: self._anchor(event, controller, hashes) for controller in addressed}
        return _Decoded(record, event, rejection, hashes, anchors)

    def _proved(
        self, said: Event | Rejection | tuple[Event, Rejection], record: Record
    ) -> Event | Rejection | tuple[Event, Rejection]:
        """Look at the signature of an event whose source has keys; a malformed refusal counts without."""
        if not isinstance(said, Event) or said.source not in self._register.source_keys:
            return said
        flaw = signing.flaw(record.value, record.headers, self._register.source_keys[said.source])
        return said if flaw is None else events.unproved(said, flaw)

    def _reach(self, event: Event) -> tuple[tuple[str, ...], tuple[str, ...]]:
        body = event.body
        known = self._controllers
        if event.type == CALL_SNAPSHOT:
            # A list of numbers is about no person; whoever must ask it keeps the numbers, if there are any.
            return (), tuple(c for c in self._register.callers(body["register"]) if c in known)
        reached, addressed = reach(
            self._register,
            type=event.type,
            source=event.source,
            controllers=event.controllers,
            controller_scope=body.get("controller_scope"),
        )
        return tuple(c for c in reached if c in known), tuple(c for c in addressed if c in known)

    # -- keys of persons

    def _hashes(self, event: Event, controller: str) -> tuple[bytes, ...]:
        key = self._controllers[controller]
        return tuple(address_hash(key, identifier.type, identifier.value) for _, identifier in event.identifiers)

    def _anchor(self, event: Event, controller: str, hashes: Mapping[str, tuple[bytes, ...]]) -> bytes:
        """The keyed hash by which a person's key is found: of the first identifier, else of what is referred to."""
        if hashes.get(controller):
            return hashes[controller][0]
        reference = event.references[0] if event.references else event.id
        return address_hash(self._controllers[controller], "event", str(reference))

    async def _fetch_persons(self, connection: Connection, decoded: Sequence[_Decoded]) -> None:
        personal = [item for item in decoded if item.event is not None and item.event.personal]
        await self._find_erased(connection, personal)
        looks = [item for item in personal if item.event is not None and item.event.type == VIEWED]
        if looks:
            await self._look_up(connection, {anchor for item in looks for anchor in item.anchors.values()})
        wanted: dict[bytes, str] = {}
        for item in personal:
            if item.event is not None and item.event.type != VIEWED:
                for controller, anchor in self._anchors_of(item):
                    if anchor in self._persons:
                        self._persons.move_to_end(anchor)
                    else:
                        wanted[anchor] = controller
        if wanted:
            self._remember(await keys.person_keys(connection, self._keks, wanted))
        # What this batch needs stays until it is written; the oldest go afterwards.
        while len(self._persons) > _PERSONS_CACHED + len(decoded):
            self._persons.popitem(last=False)

    async def _find_erased(self, connection: Connection, personal: Sequence[_Decoded]) -> None:
        """Find which addresses of events that happened before the latest erasure were erased; most events are newer."""
        newest = self._newest_erasure
        if newest is not None:
            older = [
                item for item in personal if item.event and item.event.occurred_at and item.event.occurred_at <= newest
            ]
            hashes = {one for item in older for hashes in item.hashes.values() for one in hashes}
            if hashes:
                self._erased |= await keys.erased(connection, hashes)

    def _anchors_of(self, item: _Decoded) -> list[tuple[str, bytes]]:
        """Give the anchors of the keys to encrypt under; none at a controller that erased the person since."""
        occurred = item.event.occurred_at if item.event is not None else None
        if occurred is None or not self._erased:
            return list(item.anchors.items())
        return [
            (controller, anchor)
            for controller, anchor in item.anchors.items()
            if not any(occurred <= self._erased[one] for one in item.hashes.get(controller, ()) if one in self._erased)
        ]

    async def _look_up(self, connection: Connection, anchors: set[bytes]) -> None:
        """Fetch keys as they are now and make none, so that a look does not bring back a person who was erased."""
        found = await keys.existing_person_keys(connection, self._keks, anchors)
        for anchor in anchors - found.keys():
            self._persons.pop(anchor, None)
        self._remember(found)

    def _remember(self, found: Mapping[bytes, keys.PersonKey]) -> None:
        for anchor, one in found.items():
            self._persons[anchor] = _Person(one.person, one.key, AESGCM(one.key))

    # -- drafts

    def _draft(self, item: _Decoded, event: Event) -> Draft:
        body, personal, content = events.written(event)
        digest = keyed_hash(self._service["digest"], content)
        subjects = tuple(
            (controller, ordinal, role, identifier.type, identifier.shared, hash_)
            for controller, hashes in item.hashes.items()
            for ordinal, ((role, identifier), hash_) in enumerate(zip(event.identifiers, hashes, strict=True))
        )
        commitment, tags = leaf.NOTHING_PERSONAL, b""
        payloads: tuple[tuple[str, uuid.UUID, bytes], ...] = ()
        if persons := self._persons_of(item, event):
            # Drawn at once, because each call goes to the kernel.
            random = os.urandom(_SALT_BYTES + _NONCE_BYTES * len(persons))
            salt = random[:_SALT_BYTES]
            commitment = leaf.payload_commit(salt, personal)
            tags = leaf.join_tags(leaf.tag(person.key, event.id) for _, person in persons)
            payloads = tuple(
                (controller, person.person, _seal(person.cipher, nonce, salt + personal, event.id, controller))
                for nonce, (controller, person) in zip(_nonces(random), persons, strict=True)
            )
        return Draft(
            offset=item.record.offset, event_id=event.id, digest=digest, type=event.type,
            occurred_at=event.occurred_at, body=body, commitment=commitment, tags=tags, subjects=subjects,
            payloads=payloads, quarantined=self._quarantine(item.record, item.rejection) if item.rejection else None,
        )  # fmt: skip

    def _persons_of(self, item: _Decoded, event: Event) -> list[tuple[str, _Person]]:
        """Give the keys for the personal fields, by controller. Of a look these are not kept where there is no key."""
        if not event.personal:
            return []
        return [
            (controller, self._persons[anchor])
            for controller, anchor in self._anchors_of(item)
            if event.type != VIEWED or anchor in self._persons
        ]

    async def _load(
        self, connection: Connection, item: _Decoded, drafts: list[Draft], rejected: list[Quarantined]
    ) -> None:
        """Draft a register load; what is wrong with the register rejects it whole."""
        event = item.event
        assert event is not None  # noqa: S101 - the caller has looked
        valid_from = event.body.get("valid_from")
        loaded = register_document(event)
        ahead = register_schedule.Ahead(datetime.fromisoformat(valid_from) if valid_from else _AT_ONCE, loaded)
        try:
            document = register_schedule.fit(self._document, self._schedule, ahead, production=self._production)
        except Exception as error:  # noqa: BLE001 - a fault of ours in one register must not stop the shard for ever
            known = isinstance(error, register.RegisterError)
            detail = str(error) if known else f"{type(error).__name__} while reading the register"
            rejected.append(self._quarantine(item.record, Rejection("BAD_REGISTER", detail, event.id)))
            return
        await keys.add_controller_keys(connection, self._keks, document["controllers"])
        load = RegisterLoad(
            version=self.version + 1,
            digest=hashlib.sha256(events.canonical(document)).digest(),
            valid_from=ahead.valid_from if valid_from else None,
            document=document,
            loaded=loaded,
        )
        drafts.append(msgspec.structs.replace(self._draft(item, event), load=load))

    def _quarantine(self, record: Record, rejection: Rejection | None) -> Quarantined:
        assert rejection is not None  # noqa: S101 - every record without an event has one
        raw = msgspec.msgpack.encode((record.key, record.value, list(record.headers), record.timestamp))
        return Quarantined(
            offset=record.offset,
            reason=rejection.reason,
            detail=rejection.detail,
            event_id=rejection.event_id,
            record=encrypt(self._service["quarantine"], raw, b"quarantine"),
        )

    # -- same id, other content (domain.md 6.3)

    def settle(
        self, drafts: Sequence[Draft], taken: Mapping[uuid.UUID, bytes], records: Mapping[int, Record], shard: int
    ) -> tuple[list[Draft], list[Duplicate], list[Quarantined]]:
        """Sort out repeated ids: the same content once; a refusal under an id of its own; a permission not at all."""
        known = dict(taken)
        kept: list[Draft] = []
        duplicates: list[Duplicate] = []
        rejected: list[Quarantined] = []
        for draft in drafts:
            original = draft.event_id
            if original in known and known[original] != draft.digest and KINDS.get(draft.type) == "R":
                draft = self._rename(draft, records[draft.offset], shard)  # noqa: PLW2901 - the same entry, renamed
            digest = known.get(draft.event_id)
            if digest is None:
                known[draft.event_id] = draft.digest
                kept.append(draft)
            elif digest == draft.digest:
                duplicates.append(Duplicate(offset=draft.offset, event_id=original))
            else:
                detail = "the id belongs to another event"
                rejection = Rejection(reason="ID_REUSED", detail=detail, event_id=draft.event_id)
                rejected.append(self._quarantine(records[draft.offset], rejection))
        return kept, duplicates, rejected

    def _rename(self, draft: Draft, record: Record, shard: int) -> Draft:
        item = self._decode(shard, record)
        assert item.event is not None  # noqa: S101 - it has been decoded before
        event = msgspec.structs.replace(
            item.event,
            id=uuid.uuid5(draft.event_id, draft.digest.hex()),
            body={**item.event.body, "conflicts_with": str(draft.event_id)},
        )
        return msgspec.structs.replace(self._draft(item, event), digest=draft.digest)


def _doubt(event: Event, reached: Sequence[str]) -> Rejection | None:
    """Say why an event that becomes an entry is kept in quarantine all the same, for somebody to look at."""
    if event.identifiers and not reached:
        return Rejection("NO_CONTROLLER", "no controller of the register is named or served by the source", event.id)
    if event.warning is not None:
        return Rejection(event.warning, "the entry binds an address that could not be normalised", event.id)
    return None


def register_document(event: Event) -> dict[str, Any]:
    """The part of a register that a control event brings: a whole document, or one purpose."""
    if event.type == "register-loaded":
        return dict(event.body["document"])
    return {"purposes": [event.body["purpose"]]}


def _nonces(random: bytes) -> Iterator[bytes]:
    """Cut what was drawn after the salt; no part of it serves twice."""
    return (random[start : start + _NONCE_BYTES] for start in range(_SALT_BYTES, len(random), _NONCE_BYTES))


def _seal(cipher: AESGCM, nonce: bytes, plaintext: bytes, event_id: uuid.UUID, controller: str) -> bytes:
    return nonce + cipher.encrypt(nonce, plaintext, keys.payload_context(event_id, controller))
