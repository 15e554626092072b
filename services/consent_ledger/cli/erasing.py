"""The steps of an erasure: who it is about, what stands against it, the events, the notices, the certificate."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from consent_ledger.cli.terminal import NO, USAGE, fail
from consent_ledger.domain import durations, events, holds, identity
from consent_ledger.domain.cloudevents import build, uuid7
from consent_ledger.domain.facts import Fact
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.domain.notices import Notice
from consent_ledger.domain.register import Register
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.publish import publishing
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import EVENTS
from consent_ledger.runtime.topics import kept_for
from consent_ledger.store import erasure as store
from consent_ledger.store import keys, log, proofs, requests, view
from consent_ledger.store.decisions import BehindError, behind_barrier
from consent_ledger.verifier import certificate

T = TypeVar("T")
Place = tuple[int, int]
Addresses = Sequence[tuple[str, str]]

_WAIT_SECONDS: Final = 60.0
_ASK_SECONDS: Final = 0.05
_PATIENCE: Final = timedelta(seconds=20)


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Whom an erasure is about. `holds`: legal holds in force. `exempt`: purposes that go on (Art. 17(3))."""

    entries: int
    consents: int
    identifiers: int
    holds: list[UUID]
    exempt: list[str]


class Desk(NamedTuple):
    """What erasures are worked on with: an officer's connection, and one that may read the log."""

    settings: Settings
    officer: Connection
    operator: Connection
    controller: str
    source: str
    by: str


@asynccontextmanager
async def desk(settings: Settings, controller: str, source: str, by: str) -> AsyncIterator[Desk]:
    """Open what is worked with."""
    officer = await connect(settings.dsn, "consent_officer")
    try:
        operator = await connect(settings.dsn, "consent_operator")
        try:
            yield Desk(settings, officer, operator, controller, source, by)
        finally:
            await operator.close()
    finally:
        await officer.close()


async def find(at: Desk, addresses: Addresses) -> Person:
    """Find the person of addresses at the controller; ends the command where the source does not speak for it."""
    found = (await keys.controller_keys(at.officer, KeyFile(at.settings.key_file))).get(at.controller)
    if found is None:
        fail(f"no register that was ever loaded names the controller {at.controller}", NO)
    hashes = {address_hash(found.key, kind, value) for kind, value in addresses}
    try:
        async with behind_barrier(at.officer, _PATIENCE) as snapshot:
            version = snapshot.register_version
            register = await view.compiled(at.officer, version)
            dossiers = dict((await snapshot.dossiers(hashes)).values())
            now = durations.instant(snapshot.now)
    except BehindError:
        fail("the view does not catch up with the ledger: look at the viewer, then try again")
    if not register.serves(at.source, at.controller):
        fail(f"the register has no source {at.source} that speaks for {at.controller}", USAGE)
    facts = [fact for dossier in dossiers.values() for fact in dossier.facts]
    return _person(register, at.controller, facts, frozenset(hashes), now)


def _person(register: Register, controller: str, facts: Sequence[Fact], asked: frozenset[bytes], now: int) -> Person:
    seen = identity.seen(register, facts, now, now)
    shared = identity.shared(register, controller, seen)
    tokens = identity.person(register, controller, frozenset(), asked, seen, shared)
    mine = identity.about(facts, tokens)
    held = holds.held(register, facts, controller, now)
    standing = holds.in_force(register, facts, controller, now) if not held.isdisjoint(tokens | asked) else []
    return Person(
        entries=len(mine),
        consents=sum(one.type == "consent-given" for one in mine),
        identifiers=len(tokens),
        holds=[UUID(bytes=one.event_id) for one in standing if one in mine],
        exempt=[one.id for one in register.purposes_of(controller) if one.terms.erasure_exempt],
    )


async def say(at: Desk, type: str, data: Mapping[str, Any], id_: UUID | None = None) -> tuple[UUID, Place]:
    """Publish an event of the controller, and return its id and where the ledger has it. The same id counts once."""
    now = datetime.now(UTC)
    event = id_ or uuid7(now)
    async with publishing(at.settings.kafka(), f"{at.settings.topic_prefix}{EVENTS}") as publisher:
        await publisher.send(None, build(type, at.source, now, {"controllers": [at.controller], **data}, id=event))
    return event, await _until(lambda: log.place_of(at.officer, event), "the ledger does not take the event in")


async def carried_out(at: Desk, place: Place) -> store.CarriedOut:
    """Wait until an erasure is carried out."""
    what = "the erasure is recorded, and waits for the viewer to carry it out"
    return await _until(lambda: store.carried_out(at.officer, place, at.controller), what)


async def notices(at: Desk, request: UUID) -> list[Notice]:
    """List the recipients who are to be told (Art. 19)."""
    duties = await requests.duties(at.officer, durations.instant(datetime.now(UTC)))
    return [one for one in duties.notices if (one.about, one.controller) == (request, at.controller)]


async def told(at: Desk, request: UUID, recipient: str) -> None:
    """Record that a recipient was told."""
    await say(at, "recipient-notified", {"request_id": request, "article": "19", "recipient": recipient})


async def certify(at: Desk, erasure: UUID) -> dict[str, Any]:
    """Answer the request with the digest of what was destroyed, and certify both by the log."""
    place = await log.place_of(at.officer, erasure)
    done = None if place is None else await store.carried_out(at.officer, place, at.controller)
    if place is None or done is None:
        fail(f"no erasure of this id was carried out at {at.controller}", NO)
    claims = _claims(at.controller, done)
    # One answer per erasure, however often it is asked for: what is claimed does not change any more.
    answer = uuid.uuid5(erasure, f"answer|{at.controller}")
    said = await log.place_of(at.officer, answer)
    if said is None:
        answered = {"request_id": claims["request_id"], "article": "17", "outcome": "erased"}
        _, said = await say(at, "request-answered", answered | {"digest": certificate.digest(claims)}, answer)
    proofs_ = {name: await _proof(at, where) for name, where in (("erasure", place), ("answer", said))}
    return {"format": certificate.FORMAT, "claims": claims, "proofs": proofs_}


def _claims(controller: str, done: store.CarriedOut) -> dict[str, Any]:
    """Say what was destroyed, what is left where, and for how long."""
    recorded = done.recorded_at
    ends = {name: durations.rfc3339(recorded + kept_for(name)) for name in ("events", "rejected")}
    return {
        "controller": controller,
        "erasure": str(done.event_id),
        "request_id": events.read_body(done.body)["request_id"],
        "recorded_at": durations.rfc3339(recorded),
        "carried_out_at": durations.rfc3339(done.done_at),
        "whole": done.whole,
        "keys": done.keys,
        "personal_parts": done.payloads,
        "index_rows": done.index_rows,
        "kept_under_new_keys": done.rekeyed,
        "backups_open_until_retired": done.keks,
        "clear_text_in_topics_until": ends,
    }


async def _proof(at: Desk, place: Place) -> str:
    what = "the event is in no checkpoint yet: look at the sealer, then ask again with --certify"
    return (
        await _until(lambda: proofs.proof(at.operator, *place, cosigned=at.settings.witness_quorum > 0), what)
    ).decode()


async def _until(question: Callable[[], Awaitable[T | None]], otherwise: str) -> T:
    deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
    while (answer := await question()) is None:
        if asyncio.get_running_loop().time() > deadline:
            fail(otherwise)
        await asyncio.sleep(_ASK_SECONDS)
    return answer
