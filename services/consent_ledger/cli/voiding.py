"""A voiding by two people: one proposes, another approves; then it is published, and what it changed is looked up."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from consent_ledger.cli import recorded
from consent_ledger.cli.terminal import NO, USAGE, fail
from consent_ledger.domain import events
from consent_ledger.domain.cloudevents import build, uuid7
from consent_ledger.domain.facts import Fact, fact
from consent_ledger.domain.register import Register
from consent_ledger.domain.suppression import default_answers, expand
from consent_ledger.domain.voiding import concerned, obstacle
from consent_ledger.runtime.keys import KeyEncryptionKeys, KeyFile
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import history, view
from consent_ledger.store.decisions import BehindError, Snapshot, behind_barrier
from consent_ledger.store.desk import Desk, Proposal
from consent_ledger.store.history import Recorded

_CATCH_UP: Final = timedelta(seconds=20)
# Stands for whoever will approve, while nobody has.
_SOMEBODY: Final = "\0somebody else"

Answer = tuple[bool, str]
Asked = tuple[str, str, bytes, str, str]


class Office(NamedTuple):
    """What the desk works with."""

    settings: Settings
    connection: Connection
    keks: KeyEncryptionKeys
    desk: Desk


class Target(NamedTuple):
    """The event to be voided, under the register in force, with its identifiers by controller (type and hash)."""

    event_id: UUID
    fact: Fact
    register: Register
    subjects: dict[str, list[tuple[str, bytes]]]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One answer that a voiding changed."""

    controller: str
    type: str
    purpose: str
    channel: str
    before: str
    after: str


class Proposed(msgspec.Struct, frozen=True, kw_only=True):
    """A voiding that waits for another person."""

    voids: UUID
    event_id: UUID
    source: str


class Voided(msgspec.Struct, frozen=True, kw_only=True):
    """A voiding that the ledger has, and the answers that it changed."""

    voids: UUID
    event_id: UUID
    shard: int
    position: int
    changes: list[Change]


@asynccontextmanager
async def office(settings: Settings) -> AsyncIterator[Office]:
    """Open the desk with an officer's rights."""
    keks = KeyFile(settings.key_file)
    connection = await connect(settings.dsn, "consent_officer")
    try:
        yield Office(settings, connection, keks, await Desk.open(connection, keks))
    finally:
        await connection.close()


async def propose(office: Office, voids: UUID, *, entered_by: str, reason: str, source: str | None) -> Proposed:
    """Keep a voiding for another person to approve. One that could have no effect ends the command."""
    target = await _target(office, voids)
    chosen = source or _source(target)
    _require(target, chosen, entered_by, _SOMEBODY)
    event_id = uuid7(datetime.now(UTC))
    await office.desk.propose(voids, event_id, chosen, entered_by=entered_by, reason=reason)
    return Proposed(voids=voids, event_id=event_id, source=chosen)


async def approve(office: Office, voids: UUID, *, approved_by: str) -> Voided:
    """Publish what another person proposed, and say what it changed. What could have no effect ends the command."""
    target = await _target(office, voids)
    proposal = await office.desk.proposal(voids)
    if proposal is None:
        fail("nobody has proposed to void this event: the first person does so without --approve", NO)
    _require(target, proposal.source, proposal.entered_by, approved_by)
    if await history.place(office.connection, proposal.event_id) is not None:
        fail("this event is voided already", NO)
    before = await _answers(office, target)
    entry = await publish_recorded(office, _event(target, proposal, approved_by), proposal.event_id)
    said = {"entered_by": proposal.entered_by, "approved_by": approved_by, "reason": proposal.reason}
    await office.desk.resolve_entry(target.fact.place, voids, proposal.event_id, said)
    after = await _answers(office, target)
    return Voided(
        voids=voids,
        event_id=proposal.event_id,
        shard=entry.shard,
        position=entry.position,
        changes=_changes(before, after),
    )


async def publish_recorded(office: Office, value: bytes, event_id: UUID) -> Recorded:
    """Publish an event and return its place in the ledger."""
    return await recorded.publish_recorded(office.settings, office.connection, value, event_id)


# -- the event to be voided


async def _target(office: Office, voids: UUID) -> Target:
    found = await history.place(office.connection, voids)
    if found is None:
        fail("the ledger has no event of this id", NO)
    place = (found.shard, found.position)
    (entry,) = await view.entries_at(office.connection, [place])
    personal = await _personal(office, place, list(entry.subjects))
    register = await _register(office.connection)
    made = fact(
        event_id=entry.event_id, type=entry.type, source=events.read_body(entry.body)["source"],
        occurred_at=entry.occurred_at, recorded_at=entry.recorded_at, shard=entry.shard, pos=entry.pos,
        register_version=entry.register_version, identifiers=(), body=events.read_body(entry.body), personal=personal,
    )  # fmt: skip
    subjects = {name: [(one.type, one.hash) for one in named] for name, named in entry.subjects.items()}
    return Target(voids, made, register, subjects)


async def _personal(office: Office, place: tuple[int, int], controllers: Sequence[str]) -> dict[str, object]:
    """Find the personal fields of an entry with whichever controller still has them: they are the same at all."""
    for controller in controllers:
        for line in await history.lines(office.connection, office.keks, controller, [place]):
            if line.personal is not None:
                return line.personal
    return {}


async def _register(connection: Connection) -> Register:
    async with _snapshot(connection) as snapshot:
        version = snapshot.register_version
        return await view.compiled(connection, version)


def _require(target: Target, source: str, entered_by: str, approved_by: str) -> None:
    voiding = fact(
        event_id=target.event_id, type="event-voided", source=source, occurred_at=0, recorded_at=0, shard=0, pos=0,
        register_version=0, identifiers=(), body={"voids": str(target.event_id)},
        personal={"entered_by": entered_by, "approved_by": approved_by},
    )  # fmt: skip
    if why := obstacle(target.register, target.fact, voiding):
        fail(f"this event cannot be voided: {why}", NO)


def _source(target: Target) -> str:
    """Find the one source that serves every controller concerned."""
    whom = concerned(target.register, target.fact)
    able = sorted(name for name, serves in target.register.sources.items() if whom <= serves)
    if len(able) != 1:
        listed = ", ".join(able) if able else "none, so the register must name one first"
        fail(
            f"say with --source for whom you speak; sources that serve all of {', '.join(sorted(whom))}: {listed}",
            USAGE,
        )
    return able[0]


def _event(target: Target, proposal: Proposal, approved_by: str) -> bytes:
    """Make the voiding: the same bytes whenever the same person approves, so that it counts once."""
    return build(
        "event-voided",
        proposal.source,
        proposal.proposed_at,
        {
            # Named, because who did it is encrypted for those who are.
            "controllers": sorted(concerned(target.register, target.fact)),
            "voids": str(target.event_id),
            "reason": proposal.reason,
            "entered_by": proposal.entered_by,
            "approved_by": approved_by,
        },
        proposal.event_id,
    )


# -- what it changes


@asynccontextmanager
async def _snapshot(connection: Connection) -> AsyncIterator[Snapshot]:
    try:
        async with behind_barrier(connection, _CATCH_UP) as snapshot:
            yield snapshot
    except BehindError:
        fail("the view does not catch up with the ledger: see whether a viewer runs (`consent doctor`)")


async def _answers(office: Office, target: Target) -> dict[Asked, Answer]:
    """Give the stored answers of every address of the event, at every controller."""
    hashes = [hash_ for named in target.subjects.values() for _, hash_ in named]
    async with _snapshot(office.connection) as snapshot:
        rows = await snapshot.rows(hashes)
    answers: dict[Asked, Answer] = {}
    for controller, named in target.subjects.items():
        for kind, hash_ in named:
            if hash_ in rows:
                all_ = expand(target.register, controller, kind, rows[hash_].decisions)
            else:
                all_ = default_answers(target.register, controller, kind)
            for purpose, channels in all_.items():
                for channel, one in channels.items():
                    answers[controller, kind, hash_, purpose, channel] = (one.allow, one.reason)
    return answers


def _changes(before: dict[Asked, Answer], after: dict[Asked, Answer]) -> list[Change]:
    return [
        Change(
            controller=asked[0],
            type=asked[1],
            purpose=asked[3],
            channel=asked[4],
            before=_words(before.get(asked)),
            after=_words(after.get(asked)),
        )
        for asked in sorted(before.keys() | after.keys())
        if before.get(asked) != after.get(asked)
    ]


def _words(answer: Answer | None) -> str:
    return "-" if answer is None else f"{'yes' if answer[0] else 'no'}, {answer[1]}"
