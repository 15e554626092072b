"""`POST /v1/decisions`: whether addresses may be used, as far as the ledger knew when it was asked."""

import asyncio
import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec
from fastapi import Request, Response

from consent_ledger.api import answers, questions
from consent_ledger.api.access import Access
from consent_ledger.api.answers import Asked, Ground, Item, Said, Several
from consent_ledger.api.body import json_response, read_body
from consent_ledger.api.database import Database
from consent_ledger.api.problems import ProblemError, forbidden
from consent_ledger.api.questions import Question
from consent_ledger.domain import durations
from consent_ledger.domain import register as registers
from consent_ledger.domain.facts import Dossier, Fact
from consent_ledger.domain.register import Register
from consent_ledger.runtime.clock import Clock
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import keys, view
from consent_ledger.store.decisions import BehindError, Snapshot, behind_barrier

BODY_MAX_BYTES: Final = 8 * 1_048_576
ANSWERS_MAX: Final = 100_000

# How many questions are worked on before other requests get their turn.
_AT_A_TIME: Final = 50
_KNOWN_FORMAT: Final = 2
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
    """What was read in one snapshot: answers where the view was enough, facts for the other questions."""

    asked: list[Asked]
    said: list[list[Said] | None]
    facts: dict[int, list[Fact]]
    ground: Ground
    known: str | None
    horizon: datetime | None


class Decisions:
    """Answers questions, under the register to which the view has come."""

    def __init__(
        self, access: Access, database: Database, keks: KeyEncryptionKeys, clock: Clock, settings: Settings
    ) -> None:
        self._access = access
        self._database = database
        self._keks = keks
        self._clock = clock
        self._patience = timedelta(milliseconds=settings.barrier_ms)
        self._max_staleness = timedelta(seconds=settings.max_staleness)
        self._rules = _Rules(registers.compile({}, 0), {})

    async def post(self, request: Request) -> Response:
        """Answer one request. What the key may not ask about is refused whole, whether it exists or not."""
        key = await self._access.require(request, "decide")
        asked = questions.read(await read_body(request, BODY_MAX_BYTES))
        if not all(map(key.acts_for, {question.controller for question in asked.questions})):
            raise forbidden()
        if asked.as_of is not None:
            raise ProblemError(422, "invalid", "as_of is not answered here")
        return json_response(await self.answer(asked.questions))

    async def answer(self, asked: Sequence[Question]) -> Answered:
        """Answer questions from one snapshot, taken behind the barrier. Raises `ProblemError` 503, 413."""
        read = await self._database.read(lambda connection: self._read(connection, asked))
        items: list[Item | Several] = []
        for index, (one, said) in enumerate(zip(read.asked, read.said, strict=True)):
            if index % _AT_A_TIME == 0:
                await asyncio.sleep(0)
            found = answers.from_dossiers(one, read.ground, read.facts[index]) if said is None else said
            items.append(answers.item(one, found, read.ground.register))
        return Answered(decisions=items, known=read.known, horizon=read.horizon)

    async def _read(self, connection: Connection, asked: Sequence[Question]) -> _Read:
        try:
            async with behind_barrier(connection, self._patience, self._clock) as snapshot:
                rules = await self._rules_of(connection, snapshot.register_version)
                return await self._read_snapshot(snapshot, rules, _prepare(asked, rules))
        except BehindError:
            prepared = _prepare(asked, self._rules)
            ground = Ground(self._rules.register, {}, {}, 0)
            return _Read(prepared, [answers.refuse(one, "STALE") for one in prepared], {}, ground, None, None)

    async def _rules_of(self, connection: Connection, version: int) -> _Rules:
        """Return the register of a snapshot, and the keys of its controllers, which were there before it."""
        rules = self._rules
        if version != rules.register.version:
            found = await keys.controller_keys(connection, self._keks)
            register = registers.compile(await view.register(connection, version), version)
            self._rules = rules = _Rules(register, {controller: key.key for controller, key in found.items()})
        return rules

    async def _read_snapshot(self, snapshot: Snapshot, rules: _Rules, prepared: list[Asked]) -> _Read:
        now = self._clock.now(snapshot.now)
        hashes = {one.addresses[0][1] for one in prepared if one.addresses and len(one.addresses) == 1}
        needs = await snapshot.needs({one.controller for one in prepared})
        ground = Ground(rules.register, needs, await snapshot.rows(hashes), durations.instant(now))
        if snapshot.horizon < now - self._max_staleness:
            said: list[list[Said] | None] = [answers.refuse(one, "STALE") for one in prepared]
        else:
            said = [answers.from_view(one, ground) for one in prepared]
        facts = await _facts(snapshot, {index: prepared[index] for index, one in enumerate(said) if one is None})
        horizon = snapshot.horizon if snapshot.horizon > _NO_HORIZON else None
        return _Read(prepared, said, facts, ground, _known(snapshot), horizon)


def _prepare(asked: Sequence[Question], rules: _Rules) -> list[Asked]:
    prepared = [answers.ask(rules.register, rules.keys, question) for question in asked]
    if sum(len(one.pairs) for one in prepared) > ANSWERS_MAX:
        raise ProblemError(413, "too-many", f"the questions have more than {ANSWERS_MAX} answers")
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


def _known(snapshot: Snapshot) -> str:
    return (
        base64.urlsafe_b64encode(msgspec.msgpack.encode((_KNOWN_FORMAT, snapshot.applied, snapshot.register_version)))
        .decode()
        .rstrip("=")
    )
