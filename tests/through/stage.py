"""A whole installation under one clock, and the three ways in which it says whether an address may be used."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import builders
from api.served import Api, served
from consent_ledger.domain import register as registers
from consent_ledger.domain.identifiers import normalise_or_raw
from consent_ledger.domain.register import Register
from consent_ledger.domain.suppression import CALL_REGISTER, PURPOSES, Answer, expand
from consent_ledger.relay.app import Relay
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import keys, view
from running import Installation, Place, SettableClock, installation, serving, until
from through.reader import NO, Reader, Told, following, hashed

Json = dict[str, Any]


@dataclass(kw_only=True)
class Stage:
    """An installation whose recorder, viewer, relay and API run, and a reader of its topic."""

    home: Installation
    api: Api
    reader: Reader
    recorder: asyncio.Task[None]
    keys: dict[str, bytes]
    register: Register
    # Where every row that was compared with the topic stands.
    _compared: int = field(default=0)

    def set_clock(self, now: datetime | None) -> None:
        """Say what time it is, to all services; None: they go by the clock again."""
        self.api.clock.instant = self.home.clock.instant = now

    @property
    def now(self) -> datetime:
        """What time it is."""
        return self.home.clock.now()

    async def record(self, *events: Json) -> None:
        """Publish events, alternately on the two partitions, and wait until they are entries."""
        sent = []
        for number, event in enumerate(events):
            topic, partition = self.home.partition(1 + number % 2)
            sent.append(await self.home.producer.send(topic, builders.encode(event), partition=partition))
        places = [Place(1 + one.partition, one.offset) for one in await asyncio.gather(*sent)]
        await self.home.recorded(*places, service=self.recorder)

    async def settle(self) -> None:
        """Wait until all that is recorded or due is in the view and read from the topic, and all know the time."""
        await until(self._is_current)
        await until(self._has_settled)
        await until(self._is_read)

    async def erase(self) -> None:
        """Wait until everything whose erasure is recorded and may be carried out is gone."""
        await until(self._has_settled)
        await until(self._has_erased)

    async def _is_current(self) -> bool:
        (row,) = await self.home.fetch("SELECT instant >= $1 AS there FROM horizon", self.now)
        return bool(row["there"]) and self.reader.watermark >= self.now

    async def _has_settled(self) -> bool:
        untold = await self.home.fetch("SELECT FROM dnc_snapshot WHERE state = 'active' AND NOT announced")
        at_once = timedelta()
        epoch = await self.home.superuser.fetchval("SELECT epoch FROM consent.view_head")
        news, _ = await view.look(self.home.superuser, epoch, self.home.clock, pause=at_once, patience=at_once)
        return not untold and not any(news)

    async def _has_erased(self) -> bool:
        return not await self.home.fetch("SELECT FROM erasing WHERE NOT held")

    async def _is_read(self) -> bool:
        rows = await self.home.fetch(
            "SELECT controller, type, hash, seq FROM view WHERE seq > $1 AND type <> $2", self._compared, CALL_REGISTER
        )
        for row in rows:
            said = self.reader.records.get(_key(row["controller"], row["type"], row["hash"]))
            if said is None or said["version"] < row["seq"]:
                return False
        self._compared = max((row["seq"] for row in rows), default=self._compared)
        return True

    def identifiers(self, question: Json) -> list[tuple[str, bytes]]:
        """The identifiers of a question as the ledger has them."""
        return [
            (kind, bytes.fromhex(hashed(self._hash_key(question), kind, value))) for kind, value in normal(question)
        ]

    def _hash_key(self, question: Json) -> bytes:
        # What is asked of a controller that is not registered finds nothing, whatever the key.
        return self.keys.get(question["controller"], b"unregistered")

    async def from_http(self, questions: Sequence[Json], **more: Any) -> list[Told]:
        """What the API says."""
        answer = await self.api.ask(*questions, **more)
        assert answer.status_code == 200, answer.text
        return [Told(said["allow"], said["reason"]) for said in answer.json()["decisions"]]

    async def from_view(self, questions: Sequence[Json]) -> list[Told]:
        """What the view's row of each address says, or what holds where it has none."""
        asked = [self.identifiers(question)[0] for question in questions]
        rows = await self.home.fetch(
            "SELECT hash, decisions FROM view WHERE hash = ANY($1)", [hash_ for _, hash_ in asked]
        )
        known = {row["hash"]: row["decisions"] for row in rows}
        dates = await self.home.fetch("SELECT controller, decisions FROM view WHERE type = $1", CALL_REGISTER)
        fresh = {
            row["controller"]
            for row in dates
            if self.now < datetime.fromisoformat(json.loads(row["decisions"])["valid_until"])
        }
        return [
            self._of_row(question, kind, known.get(hash_, b"{}"), fresh)
            for question, (kind, hash_) in zip(questions, asked, strict=True)
        ]

    def _of_row(self, question: Json, kind: str, decisions: bytes, fresh: Collection[str]) -> Told:
        answers = expand(self.register, question["controller"], kind, decisions)
        said: Answer | None = answers.get(question["purpose"], {}).get(question["channel"])
        if said is None:
            return NO
        if said.allow and said.needs_dnc is not None and said.needs_dnc not in fresh:
            return Told(allow=False, reason="DNC_STALE")
        return Told(said.allow, said.reason)

    def from_topic(self, questions: Sequence[Json], now: datetime | None = None) -> list[Told]:
        """What a reader of the topic makes of it."""
        return [
            self.reader.answer(
                now or self.now, question["controller"], *normal(question)[0], question["purpose"], question["channel"]
            )
            for question in questions
        ]


def normal(question: Json) -> list[tuple[str, str]]:
    """The identifiers of a question in their one form."""
    return [(one["type"], normalise_or_raw(one["type"], one["value"])[0]) for one in question["subject"]]


def _key(controller: str, kind: str, hash_: bytes) -> str:
    return f"{PURPOSES}/{controller}" if kind == PURPOSES else f"{controller}/{kind}/{hash_.hex()}"


@asynccontextmanager
async def staged(
    kafka: str,
    postgres: str,
    template: str,
    path: Path,
    *,
    register: Json,
    begin: datetime,
    with_viewer: bool = True,
    **settings: Any,
) -> AsyncIterator[Stage]:
    """Run everything from an instant on, with a register in force; the viewer only if wanted."""
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(installation(kafka, postgres, template, path, **settings))
        home.clock.instant = begin
        recorder = await stack.enter_async_context(serving(home.recorder().run()))
        if with_viewer:
            await stack.enter_async_context(serving(home.viewer().run()))
        await stack.enter_async_context(serving(Relay(home.settings, home.keks, SettableClock()).run()))
        api = await stack.enter_async_context(served(home, barrier_ms=10_000))
        await home.recorded(await home.load_register(register), service=recorder)
        hash_keys = await _hash_keys(home)
        reader = await stack.enter_async_context(following(home, hash_keys))
        stage = Stage(
            home=home, api=api, reader=reader, recorder=recorder, keys=hash_keys,
            register=registers.compile(register, 1),
        )  # fmt: skip
        stage.set_clock(begin)
        yield stage


async def _hash_keys(home: Installation) -> dict[str, bytes]:
    connection = await connect(home.settings.dsn, "consent_operator")
    try:
        return {controller: key.key for controller, key in (await keys.controller_keys(connection, home.keks)).items()}
    finally:
        await connection.close()
