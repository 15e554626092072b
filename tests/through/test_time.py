"""Time alone changes answers: on the minute, once, in view, topic and HTTP alike, and beforehand as announced.

Seen to fail: what is due not decided; `valid_until` passed over by HTTP, or never said; changes by time kept from the
topic; the view's time falling with another viewer's clock; a clock that was set back changing nothing; a horizon that
stays ahead of such a clock; the machine's clock asked whether anything is due; due dates looked for without an index.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

import builders
from consent_ledger.domain.facts import Dossier
from consent_ledger.runtime.clock import Clock, SystemClock
from consent_ledger.store import statements, view
from consent_ledger.viewer.app import Viewer
from running import SettableClock, serving, until
from through import acts
from through.acts import ALLOWED, BEGIN, Act, after
from through.acts import acts as acts_of
from through.reader import Told
from through.stage import Stage, staged

BEFORE: Final = timedelta(seconds=20)


@pytest.fixture
async def stage(
    kafka: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """An installation at the begin, whose viewers the tests run."""
    path = tmp_path_factory.mktemp("time")
    async with staged(
        kafka, postgres, template, path, register=acts.REGISTER, begin=BEGIN, with_viewer=False, lease_seconds=1
    ) as made:
        yield made


@asynccontextmanager
async def viewing(stage: Stage, clock: Clock | None = None) -> AsyncIterator[None]:
    """Run a viewer as long as the block lasts."""
    async with serving(Viewer(stage.home.settings, stage.home.keks, clock or stage.home.clock).run()):
        yield


async def record(stage: Stage, played: list[Act]) -> None:
    """Let everything happen that the acts begin with."""
    await stage.record(*(event for act in played for event in act.events))
    await stage.settle()


async def answers(stage: Stage, played: list[Act]) -> dict[str, list[Told]]:
    questions = [act.question for act in played]
    return {
        "HTTP": await stage.from_http(questions),
        "view": await stage.from_view(questions),
        "topic": stage.from_topic(questions),
    }


def expected(played: list[Act], now: datetime) -> dict[str, list[Told]]:
    told = [Told(act.reason(now) in ALLOWED, act.reason(now)) for act in played]
    return dict.fromkeys(("HTTP", "view", "topic"), told)


class Versions:
    """How often rows of the view came to be another, since this was made."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._before = 0

    async def begin(self) -> None:
        self._before = await self._head()

    async def _head(self) -> int:
        return int((await self._stage.home.fetch("SELECT seq FROM view_head"))[0]["seq"])

    async def changed(self) -> tuple[int, int]:
        """Rows that changed, and versions that were made: as many, if each changed once."""
        (row,) = await self._stage.home.fetch("SELECT count(*) FROM view WHERE seq > $1", self._before)
        return row["count"], await self._head() - self._before


async def test_an_answer_changes_at_its_instant_once_and_was_announced(stage: Stage) -> None:
    played, versions = acts_of("an"), Versions(stage)
    async with viewing(stage):
        await record(stage, played)

        for now in sorted({change.instant for act in played for change in act.changes}):
            stage.set_clock(now - BEFORE)
            await stage.settle()
            assert await answers(stage, played) == expected(played, now - BEFORE)
            changing = [act for act in played if any(change.instant == now for change in act.changes)]
            ended = [act for act in changing if act.reason(now - BEFORE) in ALLOWED]
            announced = await stage.api.decide(*(act.question for act in ended))
            assert [datetime.fromisoformat(one["valid_until"]) for one in announced] == [now] * len(ended)

            # The viewer does not know yet what time it is; whoever asks does.
            stage.api.clock.instant = now
            questions = [act.question for act in changing]
            assert not any(told.allow for told in await stage.from_http(questions))
            assert not any(told.allow for told in stage.from_topic(questions, now))

            await versions.begin()
            stage.set_clock(now)
            await stage.settle()
            rows, made = await versions.changed()
            assert len(changing) <= rows == made
            assert await answers(stage, played) == expected(played, now)


async def test_what_came_due_while_no_viewer_ran_is_made_up_for_once(stage: Stage) -> None:
    played, versions, later = acts_of("an"), Versions(stage), after(45)
    async with viewing(stage):
        await record(stage, played)
        await versions.begin()

    stage.set_clock(later)
    async with viewing(stage):
        await stage.settle()
        rows, made = await versions.changed()
        told = await answers(stage, played)

    assert rows == made == 6
    assert told == expected(played, later)


async def test_a_clock_that_was_set_back_takes_back_what_it_gave_too_early(stage: Stage) -> None:
    played, now = acts_of("an"), after(2)
    async with viewing(stage):
        await record(stage, played)
        stage.set_clock(after(45))
        await stage.settle()
        early = await answers(stage, played)

        stage.set_clock(now)
        await stage.settle()
        told = await answers(stage, played)
        await until(lambda: horizon_is_at(stage, now))

    assert early == expected(played, after(45))
    assert told == expected(played, now)


async def horizon_is_at(stage: Stage, now: datetime) -> bool:
    """Whether no more is claimed to be known than there may be."""
    return bool((await stage.home.fetch("SELECT instant = $1 AS there FROM horizon", now))[0]["there"])


async def test_no_answer_swings_between_two_viewers_whose_clocks_differ(stage: Stage) -> None:
    played, versions, due = acts_of("an"), Versions(stage), after(7)
    behind, ahead = SettableClock(due - timedelta(minutes=2)), SettableClock(due + timedelta(minutes=1))
    (week,) = (act for act in played if act.purpose == "week")
    async with viewing(stage):
        await record(stage, played)
    stage.set_clock(due - timedelta(minutes=2))
    async with viewing(stage, ahead):
        await until(lambda: has_reason(stage, week, "CONSENT_EXPIRED"))
    await versions.begin()

    async with viewing(stage, behind):
        await stage.record(acts.given(week.address, "letter"))
        await stage.settle()
        told = await stage.from_view([week.question, {**week.question, "purpose": "letter"}])

    assert told == [Told(allow=False, reason="CONSENT_EXPIRED"), Told(allow=True, reason="CONSENT")]
    assert await versions.changed() == (1, 1)


async def has_reason(stage: Stage, act: Act, reason: str) -> bool:
    """Whether the view's row says so."""
    return (await stage.from_view([act.question]))[0].reason == reason


async def test_the_time_of_the_database_counts_whatever_a_viewer_has_for_a_clock(stage: Stage) -> None:
    person = builders.email("an@example.be")
    stage.set_clock(None)
    week = acts.given(person, "week", at=datetime.now(UTC) - timedelta(days=7, seconds=-5))
    question = {"controller": acts.SHOP, "subject": [person], "purpose": "week", "channel": "email"}

    async with viewing(stage, SlowMachine()):
        await stage.record(week)
        await until(lambda: says(stage, question, "CONSENT"))
        await until(lambda: says(stage, question, "CONSENT_EXPIRED"))


class SlowMachine:
    """The clock of a service on a machine that is some minutes behind."""

    def now(self, database_now: datetime | None = None) -> datetime:
        """As the clock of production."""
        return SystemClock().now(database_now) - (timedelta(minutes=4) if database_now is None else timedelta())


async def says(stage: Stage, question: dict[str, Any], reason: str) -> bool:
    """Whether the view's row says so."""
    return (await stage.from_view([question]))[0].reason == reason


async def test_what_is_due_later_costs_nothing_until_then(stage: Stage) -> None:
    await stage.home.fetch(
        "INSERT INTO dossier (id, controller, facts, due_at)"
        " SELECT n, $1, $2, $3::timestamptz + n * interval '1 minute' FROM generate_series(1000000, 1050000) n",
        acts.SHOP, Dossier().dumps(), BEGIN,
    )  # fmt: skip
    await stage.home.fetch("ANALYZE dossier")

    due = await touched(stage, "due", BEGIN, 500)
    news = await read_for_news(stage)

    assert due == 0
    assert news <= 1


async def read_for_news(stage: Stage) -> int:
    """Say how many rows of dossiers the server reads to tell what is new, in a function that no plan shows."""
    read = (
        "SELECT seq_tup_read + idx_tup_fetch AS rows FROM pg_stat_xact_user_tables"
        " WHERE relid = 'consent.dossier'::regclass"
    )
    at_once = timedelta()
    async with stage.home.superuser.transaction():
        epoch = await stage.home.superuser.fetchval("SELECT epoch FROM consent.view_head")
        await view.look(stage.home.superuser, epoch, stage.home.clock, pause=at_once, patience=at_once)
        (row,) = await stage.home.fetch(read)
    return int(row["rows"])


async def touched(stage: Stage, statement: str, *values: object) -> int:
    """Say how many rows of dossiers a statement of the viewer's reads, whether it uses them or not."""
    text = statements.load(view.__file__)[statement]
    (row,) = await stage.home.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", *values)
    (plan,) = json.loads(row[0])
    return sum(
        int(node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0))
        for node in nodes(plan["Plan"])
        if node.get("Relation Name") == "dossier"
    )


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """List a plan and all its parts."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)
