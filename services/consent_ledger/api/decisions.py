"""`POST /v1/decisions`: whether addresses may be used, as far as the ledger knew when it was asked."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final, NamedTuple
from uuid import uuid4

import msgspec
from fastapi import Request, Response

from consent_ledger.api import answers, campaign, known, questions
from consent_ledger.api.access import Access
from consent_ledger.api.answers import Asked, Ground, Item, Said, Several
from consent_ledger.api.body import json_response, preferred_wait, read_body
from consent_ledger.api.database import Database
from consent_ledger.api.explained import looked_at
from consent_ledger.api.known import Known
from consent_ledger.api.looks import WAIT_SECONDS, Looks
from consent_ledger.api.problems import ProblemError, forbidden
from consent_ledger.api.questions import Question
from consent_ledger.domain import durations
from consent_ledger.domain import register as registers
from consent_ledger.domain.decision import CallRegisters
from consent_ledger.domain.durations import moment
from consent_ledger.domain.explain import NOT_REPRODUCIBLE
from consent_ledger.domain.facts import Dossier, Fact
from consent_ledger.domain.register import Register
from consent_ledger.runtime.clock import Clock
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import campaigns, keys, view
from consent_ledger.store.api_keys import Scope
from consent_ledger.store.decisions import BehindError, Snapshot, behind_barrier

BODY_MAX_BYTES: Final = 8 * 1_048_576
ANSWERS_MAX: Final = 100_000
EXPLAINED_MAX: Final = 100

# How many questions are worked on before other requests get their turn.
_AT_A_TIME: Final = 50
# Where the horizon stands before the view has caught up with Kafka once.
_NO_HORIZON: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an answer: decisions in the order of the questions.

    A question with purpose and channel is answered by one decision, any other by `{"decisions": […]}` with one for each
    purpose and channel that its addresses can serve. `known`: the positions on which the answers rest, for a later
    replay; read nothing into it. `horizon`: everything that Kafka held at this instant is among what is known.
    """

    decisions: list[Item | Several]
    known: str | None
    horizon: datetime | None


class _Rules(NamedTuple):
    """A register, and the keys under which its controllers know addresses."""

    register: Register
    keys: dict[str, bytes]


class _Read(NamedTuple):
    """What was read in one snapshot: answers where the view was enough, facts for the other questions.

    `as_of`: nothing recorded later counts (microseconds); None: everything counts that was read.
    """

    asked: list[Asked]
    said: list[list[Said] | None]
    facts: dict[int, list[Fact]]
    ground: Ground
    calls: Mapping[str, CallRegisters]
    known: Known | None
    horizon: datetime | None
    keys: Mapping[str, bytes] = MappingProxyType({})
    as_of: int | None = None


class Decisions:
    """Answers questions, under the register to which the view has come."""

    def __init__(
        self, access: Access, database: Database, looks: Looks, keks: KeyEncryptionKeys, clock: Clock,
        settings: Settings,
    ) -> None:  # fmt: skip
        self._access = access
        self._looks = looks
        self._database = database
        self._keks = keks
        self._clock = clock
        self._patience = timedelta(milliseconds=settings.barrier_ms)
        self._max_staleness = timedelta(seconds=settings.max_staleness)
        self._rules = _Rules(registers.compile({}, 0), {})

    async def post(self, request: Request) -> Response:
        """Answer one request. What the key may not ask about is refused whole, whether it exists or not."""
        key = await self._access.require(request)
        asked = questions.read(await read_body(request, BODY_MAX_BYTES))
        scope: Scope = "decide" if asked.as_of is None else "audit"
        if scope not in key.scopes or not all(map(key.acts_for, {question.controller for question in asked.questions})):
            raise forbidden()
        past = None if asked.as_of is None else known.read(asked.as_of)
        explain = _is_asked_why(request)
        if explain and asked.reason is None:
            raise ProblemError(422, "invalid", "an explanation shows what is on record: give the reason of the look")
        read, answered = await self._answer(asked.questions, past, explain=explain)
        if explain and (seen := looked_at(asked, read.asked, read.keys, answered.decisions, key.id)):
            await self._looks.record(seen, preferred_wait(request) or WAIT_SECONDS)
        if asked.campaign is not None and asked.questions:
            # Before the answer is given, so that every answer on which somebody acted can be shown.
            await self._remember(asked.campaign, key.id, read.asked, answered)
        return json_response(answered)

    async def answer(self, asked: Sequence[Question], past: Known | None = None, *, explain: bool = False) -> Answered:
        """Answer questions from one snapshot, taken behind the barrier; by what was known in the past, if it says so.

        Raises `ProblemError` 503, 422, 413.
        """
        return (await self._answer(asked, past, explain=explain))[1]

    async def _remember(self, name: str, api_key: str, asked: Sequence[Asked], answered: Answered) -> None:
        rows = campaign.rows(asked, answered.decisions)
        request = campaigns.Request(uuid4(), name, api_key, answered.known, answered.horizon, rows)
        await self._database.read(lambda connection: campaigns.remember(connection, request))

    async def _answer(self, asked: Sequence[Question], past: Known | None, *, explain: bool) -> tuple[_Read, Answered]:
        read = await self._database.read(lambda connection: self._read(connection, asked, past, explain=explain))
        items: list[Item | Several] = []
        for index, (one, said) in enumerate(zip(read.asked, read.said, strict=True)):
            if explain or index % _AT_A_TIME == 0:
                await asyncio.sleep(0)
            calls = read.calls.get(one.controller)
            if explain:
                found = answers.explained(one, read.ground, read.facts.get(index, ()), said, calls, as_of=read.as_of)
            elif said is None:
                found = answers.from_dossiers(one, read.ground, read.facts[index], calls, as_of=read.as_of)
            else:
                found = said
            items.append(answers.item(one, found, read.ground.register))
        known_ = None if read.known is None else read.known.dumps()
        return read, Answered(decisions=items, known=known_, horizon=read.horizon)

    async def _read(
        self, connection: Connection, asked: Sequence[Question], past: Known | None, *, explain: bool
    ) -> _Read:
        try:
            async with behind_barrier(connection, self._patience, self._clock) as snapshot:
                if past is not None:
                    return await self._read_past(connection, snapshot, asked, past, explain=explain)
                rules = await self._rules_of(connection, snapshot.register_version)
                return await self._read_snapshot(
                    snapshot, rules, _prepare(asked, rules, explain=explain), explain=explain
                )
        except BehindError:
            # Without a register a process that has just begun refuses all the same, but knows whom it was asked about.
            rules = self._rules if self._rules.keys else await _rules(connection, self._keks, 0)
            prepared = _prepare(asked, rules, explain=explain)
            ground = Ground(rules.register, {}, {}, 0)
            return _Read(prepared, [answers.refuse(one, "STALE") for one in prepared], {}, ground, {}, None, None)

    async def _rules_of(self, connection: Connection, version: int) -> _Rules:
        """Return the register of a snapshot, and the keys of its controllers, which were there before it."""
        rules = self._rules
        if version != rules.register.version:
            self._rules = rules = await _rules(connection, self._keks, version)
        return rules

    async def _read_snapshot(self, snapshot: Snapshot, rules: _Rules, prepared: list[Asked], *, explain: bool) -> _Read:
        now = self._clock.now(snapshot.now)
        hashes = {one.addresses[0][1] for one in prepared if one.addresses and len(one.addresses) == 1}
        needs = await snapshot.needs({one.controller for one in prepared})
        ground = Ground(rules.register, needs, await snapshot.rows(hashes), durations.instant(now))
        if snapshot.horizon < now - self._max_staleness:
            said: list[list[Said] | None] = [answers.refuse(one, "STALE") for one in prepared]
        elif explain:
            said = [None if one.addresses else answers.from_view(one, ground) for one in prepared]
        else:
            said = [answers.from_view(one, ground) for one in prepared]
        dated = [one for one in prepared if one.at is not None]
        said = await _without_gone(snapshot, prepared, said, ground.now) if dated else said
        open_ = {index: prepared[index] for index, one in enumerate(said) if one is None}
        facts = await _facts(snapshot, open_)
        calls = await _calls(snapshot, open_.values())
        horizon = snapshot.horizon if snapshot.horizon > _NO_HORIZON else None
        rests_on = Known(ground.now, tuple(snapshot.applied), rules.register.version)
        return _Read(prepared, said, facts, ground, calls, rests_on, horizon, rules.keys)

    async def _read_past(
        self, connection: Connection, snapshot: Snapshot, asked: Sequence[Question], past: Known, *, explain: bool
    ) -> _Read:
        """Read what was known then. A dossier holds all that its parts held before they were joined."""
        now = durations.instant(self._clock.now(snapshot.now))
        if past.instant > now or not past.is_within(snapshot.applied, snapshot.register_version):
            raise ProblemError(422, "invalid", "as_of is later than anything that is known")
        version = past.register_version
        if version is None:
            version = await snapshot.register_version_at(moment(past.instant))
        rules = await _rules(connection, self._keks, version)
        prepared = _prepare(asked, rules, explain=explain)
        said = [answers.refuse(one, "NO_ADDRESS") if one.addresses is None else None for one in prepared]
        said = await _without_gone(snapshot, prepared, said, past.instant)
        everything = await _facts(snapshot, dict(enumerate(prepared)))
        facts = {index: [one for one in found if past.holds(one)] for index, found in everything.items()}
        # What was recorded in the order of the places that were known may be dated after the instant.
        as_of = max([past.instant, *(one.recorded for found in facts.values() for one in found)])
        ground = Ground(rules.register, {}, {}, past.instant)
        calls = await _calls(snapshot, prepared)
        return _Read(prepared, said, facts, ground, calls, past, None, rules.keys, as_of)


async def _rules(connection: Connection, keks: KeyEncryptionKeys, version: int) -> _Rules:
    found = await keys.controller_keys(connection, keks)
    register = await view.compiled(connection, version)
    return _Rules(register, {controller: key.key for controller, key in found.items()})


async def _without_gone(
    snapshot: Snapshot, prepared: Sequence[Asked], said: Sequence[list[Said] | None], instant: int
) -> list[list[Said] | None]:
    """Refuse what would be a guess, for what was known at the time of the question has been deleted since."""
    hashes = {token for one in prepared for _, token in one.addresses or ()}
    forgotten = {hash_: durations.instant(until) for hash_, until in (await snapshot.forgotten(hashes)).items()}
    return [
        answers.refuse(one, NOT_REPRODUCIBLE) if answers.is_gone(one, forgotten, instant) else found
        for one, found in zip(prepared, said, strict=True)
    ]


def _is_asked_why(request: Request) -> bool:
    wanted = request.query_params.get("explain", "false")
    if wanted not in ("true", "false"):
        raise ProblemError(422, "invalid", "explain is true or false")
    return wanted == "true"


def _prepare(asked: Sequence[Question], rules: _Rules, *, explain: bool) -> list[Asked]:
    prepared = [answers.ask(rules.register, rules.keys, question) for question in asked]
    most = EXPLAINED_MAX if explain else ANSWERS_MAX
    if sum(len(one.pairs) for one in prepared) > most:
        what = "answers to explain" if explain else "answers"
        raise ProblemError(413, "too-many", f"the questions have more than {most} {what}")
    return prepared


async def _facts(snapshot: Snapshot, asked: dict[int, Asked]) -> dict[int, list[Fact]]:
    """Return, for each question, the facts of all dossiers to which its addresses belong."""
    if not asked:
        return {}
    tokens = {index: [token for _, token in one.addresses or ()] for index, one in asked.items()}
    dossiers = await snapshot.dossiers({token for found in tokens.values() for token in found})
    facts = {}
    for index, found in tokens.items():
        mine: dict[int, Dossier] = dict(dossiers[token] for token in found if token in dossiers)
        facts[index] = [fact for dossier in mine.values() for fact in dossier.facts]
    return facts


async def _calls(snapshot: Snapshot, asked: Iterable[Asked]) -> Mapping[str, CallRegisters]:
    """Return, by controller, what do-not-call registers say of the numbers asked about."""
    phones = [(one.controller, token) for one in asked for kind, token in one.addresses or () if kind == "phone"]
    if not phones:
        return {}
    return await snapshot.call_histories({controller for controller, _ in phones}, {token for _, token in phones})
