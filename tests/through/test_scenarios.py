"""Every acceptance scenario through the running service: Kafka in; view, HTTP and topic out; and the ledger read back.

All scenarios happen in one installation and one time. The clock goes once from the first instant to the last; whatever
is recorded then is published then, and a question is put when the clock stands at its instant. What only later
knowledge can answer is put to HTTP with `at`, when everything is known that may be, and to the ledger's entries alone.

Seen to fail: `at` passed over; records of the topic without what is the address's own; personal fields on which rules
rest not read; what is due not decided.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, TypeAlias

import pytest

from consent_ledger.viewer.rebuild import Rebuild, Report
from through.reader import NO, Told
from through.replayed import Replayed, replay
from through.stage import Stage, staged
from through.world import Expectation, World, scenarios, world

BEGIN: Final = datetime(2018, 1, 1, tzinfo=UTC)

GATES: Final = frozenset({"UNKNOWN_CONTROLLER", "UNKNOWN_PURPOSE", "CHANNEL_NOT_COVERED", "NO_ADDRESS"})

Way: TypeAlias = str
VIEW, HTTP, TOPIC = "view", "HTTP", "topic"
PAST, AUDIT, LEDGER = "HTTP with at", "HTTP with at and as_of", "ledger read back"


class Journey:
    """What every way said to each expectation."""

    def __init__(self) -> None:
        self.told: dict[Way, list[tuple[Expectation, Told]]] = defaultdict(list)
        self.rebuilt: Report | None = None

    def note(self, way: Way, asked: Iterable[Expectation], told: Iterable[Told]) -> None:
        self.told[way].extend(zip(asked, told, strict=True))

    def wrong(self, way: Way) -> list[tuple[str, str, Told]]:
        """What was said and should not have been. View and topic hold nothing for what cannot be asked of them."""
        return [
            (one.scenario, f"{one.at}, {one.question}: {one.expected}", told)
            for one, told in self.told[way]
            if told != one.expected and not (told == NO and one.reason in GATES and not one.allow)
        ]


@pytest.fixture(scope="module")
async def journey(kafka: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """Take all scenarios through one installation."""
    told, made = world(scenarios()), Journey()
    path = tmp_path_factory.mktemp("through")
    async with staged(kafka, postgres, template, path, register=told.register, begin=BEGIN) as stage:
        for now in told.instants():
            stage.set_clock(now)
            events = [one.event for one in told.recorded if one.recorded_at == now]
            await stage.record(*events)
            if any(one["type"] == "erasure-executed" for one in events):
                # Until it is carried out, what was known goes: no answer as of then could be given again.
                await stage.erase()
            await _ask(stage, told, made, now)
        await _ask_auditor(stage, told, made)
        _ask_the_ledger(stage, await replay(stage.home), told, made)
        made.rebuilt = await Rebuild(stage.home.settings, stage.home.keks, processes=1).run(swap=False)
    return made


async def _ask(stage: Stage, told: World, made: Journey, now: datetime) -> None:
    live = [one for one in told.expectations if one.is_live and one.at == now]
    past = [one for one in told.expectations if one.as_of == now]
    if not live and not past:
        return
    await stage.settle()
    questions = [one.question for one in live]
    made.note(HTTP, live, await stage.from_http(questions))
    made.note(PAST, past, await stage.from_http([{**one.question, "at": one.at.isoformat()} for one in past]))
    single = [one for one in live if len(one.question["subject"]) == 1]
    made.note(VIEW, single, await stage.from_view([one.question for one in single]))
    made.note(TOPIC, single, stage.from_topic([one.question for one in single]))


async def _ask_auditor(stage: Stage, told: World, made: Journey) -> None:
    await stage.settle()
    for as_of in sorted({one.as_of for one in told.expectations}):
        asked = [one for one in told.expectations if one.as_of == as_of]
        questions = [{**one.question, "at": one.at.isoformat()} for one in asked]
        made.note(AUDIT, asked, await stage.from_http(questions, as_of=as_of.isoformat()))


def _ask_the_ledger(stage: Stage, replayed: Replayed, told: World, made: Journey) -> None:
    for one in told.expectations:
        said = one.question
        decision = replayed.answer(
            said["controller"], stage.identifiers(said), said["purpose"], said["channel"], at=one.at, as_of=one.as_of
        )
        made.note(LEDGER, [one], [Told(decision.allow, decision.reason)])


@pytest.mark.parametrize("way", [VIEW, HTTP, TOPIC, PAST, AUDIT, LEDGER])
def test_a_scenario_is_answered_as_expected(journey: Journey, way: Way) -> None:
    assert journey.told[way]

    assert not journey.wrong(way)


def test_a_view_made_anew_is_the_live_one(journey: Journey) -> None:
    assert journey.rebuilt is not None
    assert journey.rebuilt.found == []
    assert journey.rebuilt.addresses > 100


def test_every_expectation_is_checked_and_most_in_all_ways(journey: Journey) -> None:
    ways = Counter(one for answers in journey.told.values() for one, _ in answers)

    print({way: len(answers) for way, answers in journey.told.items()})  # noqa: T201 - seen with -rP
    every = world(scenarios()).expectations
    assert len(ways) == len(every)
    assert sum(count == len(journey.told) for count in ways.values()) > 0.8 * len(every)
