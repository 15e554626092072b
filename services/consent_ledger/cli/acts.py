"""The acts of the demo, on a running installation: events and how fast they act, one refusal, the kills, the proof."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx
import msgspec

from consent_ledger.cli.installation import Installation
from consent_ledger.cli.post import Post
from consent_ledger.cli.story import Cast, Said, asked_erasure, garbled, gave, objected, withdrew
from consent_ledger.cli.watch import Asked, Watcher
from consent_ledger.runtime.local.server import LocalServer
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import log

_PER_KIND: Final = 40
_WARM_UP: Final = 5
_LATE: Final = 20
_TWICE: Final = 20
_PACE_SECONDS: Final = 0.01
_BESIDE_SECONDS: Final = 0.04
_ARRIVES_SECONDS: Final = 120.0
_QUESTION_SECONDS: Final = 0.2
_MILLI: Final = 1_000.0

Report = Callable[[str], None]


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """How long events of one type took from publishing to their answer on the suppressions topic."""

    kind: str
    events: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One refusal: the answers before and after, and how soon after publishing it HTTP and the topic said no."""

    http_before: str
    topic_before: str
    http_after: str
    topic_after: str
    http_ms: float
    topic_ms: float


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """A process killed. `back_after_s`: until a refusal published at that moment was a no again.

    For the sealer: until it was in the log as well.
    """

    what: str
    how: str
    back_after_s: float


class Questions(msgspec.Struct, kw_only=True):
    """Questions about people who had refused, asked all the while. `wrong`: answered yes."""

    asked: int = 0
    unanswered: int = 0
    wrong: int = 0


class Stage:
    """What the acts play on."""

    def __init__(self, installation: Installation, watcher: Watcher, client: httpx.AsyncClient, post: Post) -> None:
        self.installation = installation
        self.watcher = watcher
        self.client = client
        self.post = post
        self.cast = Cast()
        # Everybody of whom the topic has said no: from here on, a yes is wrong.
        self.refused: list[Asked] = []

    async def ask(self, people: list[Asked]) -> list[tuple[bool, str]]:
        """Ask over HTTP. Raises `httpx.HTTPError` while the API is away."""
        questions = [
            {
                "controller": one.controller,
                "subject": [{"type": one.type, "value": one.value}],
                "purpose": one.purpose,
                "channel": one.channel,
            }
            for one in people
        ]
        answer = await self.client.post("/v1/decisions", json={"questions": questions})
        answer.raise_for_status()
        return [(one["allow"], one["reason"]) for one in answer.json()["decisions"]]

    async def is_sealed(self, said: Said) -> None:
        """Wait until the log has the entry of an event. Raises `TimeoutError`."""
        connection = await connect(self.installation.settings.dsn, "consent_operator")
        try:
            async with asyncio.timeout(_ARRIVES_SECONDS):
                while (place := await log.place_of(connection, said.id)) is None or (
                    await log.index_of(connection, *place)
                ) is None:
                    await asyncio.sleep(0.02)
        finally:
            await connection.close()

    async def turned(self, person: Asked) -> float:
        """Return when the topic says no, by the steady clock."""
        seen = await self.watcher.until(person, allow=False, timeout_seconds=_ARRIVES_SECONDS)
        self.refused.append(person)
        return seen.at


# -- act one: events of all kinds, in a steady stream


async def publish_all(stage: Stage) -> list[Kind]:
    """Publish the stream, and measure each event until its answer is on the topic."""
    await _warm_up(stage)
    people = stage.cast.people(3 * _PER_KIND)
    kinds = [await _measure(stage, "consent-given", [(person, list(gave(person))) for person in people], allow=True)]
    for number, (kind, refuse) in enumerate(
        (("consent-withdrawn", withdrew), ("objection-raised", objected), ("erasure-requested", asked_erasure))
    ):
        group = people[number * _PER_KIND : (number + 1) * _PER_KIND]
        kinds.append(await _measure(stage, kind, [(person, [refuse(person)]) for person in group], allow=False))
        stage.refused.extend(group)
    return kinds


async def _warm_up(stage: Stage) -> None:
    """Let every process do once what it is about to be measured at."""
    people = stage.cast.people(_WARM_UP)
    await asyncio.gather(*(_send_all(stage.post, gave(person)) for person in people))
    for person in people:
        await stage.watcher.until(person, allow=True, timeout_seconds=_ARRIVES_SECONDS)


async def _measure(stage: Stage, kind: str, stream: list[tuple[Asked, list[Said]]], *, allow: bool) -> Kind:
    async def one(person: Asked, said: list[Said]) -> float:
        began = time.perf_counter()
        for event in said:
            await stage.post.send(event)
        seen = await stage.watcher.until(person, allow=allow, timeout_seconds=_ARRIVES_SECONDS)
        return (seen.at - began) * _MILLI

    tasks = []
    for person, said in stream:
        tasks.append(asyncio.create_task(one(person, said)))
        await asyncio.sleep(_PACE_SECONDS)
    took = sorted(await asyncio.gather(*tasks))
    return Kind(
        kind=kind,
        events=len(took),
        p50_ms=round(took[len(took) // 2], 1),
        p99_ms=round(took[min(len(took) - 1, len(took) * 99 // 100)], 1),
        max_ms=round(took[-1], 1),
    )


async def publish_oddities(stage: Stage) -> Asked:
    """Publish what comes late, what comes twice, and one malformed refusal; return whom the last one is about."""
    late = stage.cast.people(_LATE)
    long_ago = datetime.now(UTC) - timedelta(days=90)
    for person in late:
        # The refusal comes first, and months later the consent that it takes back.
        await stage.post.send(withdrew(person, datetime.now(UTC) - timedelta(days=1)))
    for person in late:
        await _send_all(stage.post, gave(person, long_ago))
    for said in stage.post.acknowledged[:_TWICE]:
        await stage.post.send(said)
    victim = stage.cast.person()
    await _send_all(stage.post, gave(victim))
    await stage.watcher.until(victim, allow=True, timeout_seconds=_ARRIVES_SECONDS)
    await stage.post.send(garbled(victim))
    await stage.turned(victim)
    stage.refused.extend(late)
    return victim


async def _send_all(post: Post, events: Iterable[Said]) -> None:
    for said in events:
        await post.send(said)


# -- act two: one refusal, seen from both sides


async def turn(stage: Stage) -> Turn:
    """Ask about one person, publish the refusal, and ask until the answer is no."""
    person = stage.cast.person()
    await _send_all(stage.post, gave(person))
    before = await stage.watcher.until(person, allow=True, timeout_seconds=_ARRIVES_SECONDS)
    http_before = await stage.ask([person])
    began = time.perf_counter()
    await stage.post.send(withdrew(person))
    http_after, http_at = await _until_no(stage, person)
    topic_at = await stage.turned(person)
    after = stage.watcher.answer(person)
    return Turn(
        http_before=_words(*http_before[0]), topic_before=_words(before.allow, before.reason),
        http_after=_words(*http_after), topic_after=_words(after.allow, after.reason) if after else "",
        http_ms=round((http_at - began) * _MILLI, 1), topic_ms=round((topic_at - began) * _MILLI, 1),
    )  # fmt: skip


async def _until_no(stage: Stage, person: Asked) -> tuple[tuple[bool, str], float]:
    async with asyncio.timeout(_ARRIVES_SECONDS):
        while True:
            with suppress(httpx.HTTPError):
                allow, reason = (await stage.ask([person]))[0]
                if not allow:
                    return (allow, reason), time.perf_counter()
                # At once again: the answer turns within milliseconds.
                await asyncio.sleep(0)


def _words(allow: bool, reason: str) -> str:  # noqa: FBT001 - an answer as it stands in every record
    return f"{'yes' if allow else 'no'}, {reason}"


# -- act three: everything is killed once


async def kill_everything(stage: Stage, report: Report) -> tuple[list[Kill], Questions]:
    """Kill each process while events go on and questions are asked; each comes back by itself."""
    victims = [
        (name, "kill -9", _service_killer(stage, name)) for name in ("recorder", "viewer", "relay", "sealer", "api")
    ]
    for server, how, number in (
        (stage.installation.postgres, "immediate shutdown", signal.SIGQUIT),
        (stage.installation.kafka, "kill -9", signal.SIGKILL),
    ):
        if server is not None:
            victims.append((server.name, how, _server_killer(server, number)))
    probes = stage.cast.people(len(victims))
    for probe in probes:
        await _send_all(stage.post, gave(probe))
    for probe in probes:
        await stage.watcher.until(probe, allow=True, timeout_seconds=_ARRIVES_SECONDS)
    questions = Questions()
    kills: list[Kill] = []
    done = asyncio.Event()
    beside = [
        asyncio.create_task(_keep_publishing(stage, done)),
        asyncio.create_task(_keep_asking(stage, questions, done)),
    ]
    try:
        for (what, how, strike), probe in zip(victims, probes, strict=True):
            took = await _recovery(stage, strike, probe, sealed=what == "sealer")
            kills.append(Kill(what=what, how=how, back_after_s=took))
            report(f"{what}: {how}, back after {kills[-1].back_after_s:.1f} s")
    finally:
        done.set()
        await asyncio.gather(*beside)
    return kills, questions


def _service_killer(stage: Stage, name: str) -> Callable[[], Awaitable[None]]:
    async def strike() -> None:
        pid = stage.installation.services.pid(name)
        stage.installation.services.kill(name)
        await _gone(lambda: stage.installation.services.pid(name) != pid)

    return strike


def _server_killer(server: LocalServer, number: signal.Signals) -> Callable[[], Awaitable[None]]:
    async def strike() -> None:
        pid = server.pid
        if pid is not None:
            os.kill(pid, number)
        await _gone(lambda: server.pid != pid)

    return strike


async def _gone(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_ARRIVES_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def _recovery(stage: Stage, strike: Callable[[], Awaitable[None]], probe: Asked, *, sealed: bool) -> float:
    """Kill, publish a refusal, and return the seconds until topic and HTTP say no; `sealed`: and the log has it."""
    began = time.perf_counter()
    await strike()
    refusal = withdrew(probe)
    await stage.post.send(refusal)
    await stage.turned(probe)
    async with asyncio.timeout(_ARRIVES_SECONDS):
        # A no while nothing can be looked up is right, but proves no recovery.
        while await _answer(stage, probe) != "CONSENT_WITHDRAWN":
            await asyncio.sleep(0.02)
    if sealed:
        await stage.is_sealed(refusal)
    return round(time.perf_counter() - began, 2)


async def _answer(stage: Stage, person: Asked) -> str | None:
    with suppress(httpx.HTTPError):
        return (await stage.ask([person]))[0][1]
    return None


async def _keep_publishing(stage: Stage, done: asyncio.Event) -> None:
    """Publish consents and refusals all the while."""
    while not done.is_set():
        person = stage.cast.person()
        await _send_all(stage.post, gave(person))
        await asyncio.sleep(_BESIDE_SECONDS)
        await stage.post.send(withdrew(person))
        await asyncio.sleep(_BESIDE_SECONDS)


async def _keep_asking(stage: Stage, questions: Questions, done: asyncio.Event) -> None:
    """Ask about people who have refused."""
    while not done.is_set():
        people = stage.refused[-50:]
        try:
            answers = await stage.ask(people)
        except httpx.HTTPError:
            questions.unanswered += len(people)
        else:
            questions.asked += len(people)
            questions.wrong += sum(allow for allow, _ in answers)
        await asyncio.sleep(_QUESTION_SECONDS)
