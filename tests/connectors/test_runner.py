"""Whatever a tool does, what must arrive is applied or parked before the place moves, and nobody believes otherwise.

Seen to fail:
- the place moved before the call; one that fails asked for ever; a tool that is away given up;
- an earlier return than it asked for; everything parked with the one that cannot be;
- a parked refusal acknowledged; every partition held for one; a partition held for what is no refusal;
- redelivery that asks nobody, or everybody, or leaves what it delivered parked or asked for; two processes at once;
- a dry run that is kept.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from connectors.scripted import Scripted, items
from consent_ledger.client.copy import Place
from consent_ledger.connectors.outcome import AwayError, DeniedError, FailedError, RefusedError
from consent_ledger.connectors.records import MISSED
from consent_ledger.connectors.runner import Runner
from consent_ledger.connectors.state import BusyError, Item, State

PLACES = [Place(instant=1), Place(instant=2), Place(instant=3)]


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path)


class Acks:
    """Remembers which partitions were reported last."""

    def __init__(self) -> None:
        self.partitions: list[int] = []

    def applied(self, places: Sequence[Place]) -> None:
        self.partitions = [number for number, place in enumerate(places) if place.instant]


async def run(connector: Scripted, state: State, acks: Acks | None = None) -> None:
    await Runner("test", connector, state, acknowledger=acks, attempts=2, pause=0.001).run(once=True)


def refusing(*bad: str, error: type[Exception] = RefusedError) -> "Answers":
    return Answers(set(bad), error)


class Answers:
    """A tool that fails whenever one of the bad items is among those that it is asked for."""

    def __init__(self, bad: set[str], error: type[Exception]) -> None:
        self.bad = bad
        self._error = error

    def __call__(self, keys: Sequence[str]) -> None:
        if self.bad & set(keys):
            raise self._error("status 422")


async def test_a_connector_goes_on_where_it_was(state: State) -> None:
    await run(Scripted((["a", "b"], b"1"), (["c"], b"2")), state)
    second = Scripted((["a", "b"], b"1"), (["c"], b"2"), (["d"], b"3"))
    await run(second, state)

    assert (second.began_at, second.applied) == (b"2", ["d"])
    assert state.place == b"3"


async def test_a_tool_that_is_away_is_waited_for_as_long_as_it_takes(state: State) -> None:
    left = [AwayError("gone")] * 7 + [DeniedError("status 401")] * 2

    def answer(_: Sequence[str]) -> None:
        if left:
            raise left.pop()

    connector = Scripted((["a"], b"1"), answer=answer)
    await run(connector, state)

    assert (len(connector.asked), connector.applied, state.parked()) == (10, ["a"], [])


async def test_nobody_comes_back_earlier_than_a_tool_asks_for(state: State) -> None:
    times: list[float] = []

    def answer(_: Sequence[str]) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            raise AwayError("status 429", after=0.3)

    await run(Scripted((["a"], b"1"), answer=answer), state)

    assert times[1] - times[0] >= 0.3


async def test_only_what_cannot_be_is_parked(state: State) -> None:
    connector = Scripted((["a", "b", "c", "d", "e"], b"1"), answer=refusing("c"))
    await run(connector, state)

    assert sorted(connector.applied) == ["a", "b", "d", "e"]
    assert [(one.item.key, one.reason) for one in state.parked()] == [("c", "status 422")]
    assert state.place == b"1"


async def test_a_tool_that_always_fails_is_asked_a_few_times(state: State) -> None:
    connector = Scripted((["a"], b"1"), answer=refusing("a", error=FailedError))
    await run(connector, state)

    assert (len(connector.asked), [one.item.key for one in state.parked()]) == (2, ["a"])


async def test_the_same_is_parked_once(state: State) -> None:
    await run(Scripted((["a"], b"1"), (["a"], b"2"), answer=refusing("a")), state)

    assert [one.item.key for one in state.parked()] == ["a"]


async def test_what_arrives_later_is_parked_no_more(state: State) -> None:
    answer = refusing("a")
    await run(Scripted((["a"], b"1"), answer=answer), state)
    answer.bad.clear()
    await run(Scripted((["a"], b"2"), answer=answer), state)

    assert state.parked() == []


async def test_a_parked_refusal_is_not_acknowledged_where_it_came_from(state: State) -> None:
    answer, acks = refusing("b@1"), Acks()
    await run(Scripted((["a@0", "b@1"], b"1"), answer=answer, places=PLACES), state, acks)
    held = acks.partitions
    state.ask_again()
    answer.bad.clear()
    await run(Scripted((["a@0", "b@1"], b"1"), answer=answer, places=PLACES), state, acks)

    assert (held, acks.partitions) == ([0, 2], [0, 1, 2])


async def test_a_refusal_of_which_it_is_not_known_whence_holds_everything(state: State) -> None:
    acks = Acks()
    await run(Scripted((["a"], b"1"), answer=refusing("a"), places=PLACES), state, acks)

    assert acks.partitions == []


async def test_what_is_no_refusal_holds_nothing(state: State) -> None:
    acks = Acks()
    state.advance(None, parked=[(Item(key="a", refusal=False), "status 422")])
    await run(Scripted(((), b"1"), places=PLACES), state, acks)

    assert acks.partitions == [0, 1, 2]
    assert state.count_parked() == (0, 1)


async def test_what_is_parked_is_tried_again_only_when_somebody_asks(state: State) -> None:
    answer = refusing("a", "b")
    connector = Scripted((["a", "b"], b"1"), answer=answer)
    await run(connector, state)
    await run(connector, state)
    before = len(connector.asked)
    answer.bad.discard("a")
    state.ask_again(["a", "b"])
    await run(connector, state)

    assert before == 3
    assert [(one.item.key, one.again) for one in state.parked()] == [("b", False)]
    assert connector.applied == ["a"]


def test_only_what_is_named_is_asked_for_again(state: State) -> None:
    state.advance(None, parked=[(one, "no") for one in items("a", "b")])

    assert state.ask_again(["b", "c"]) == 1
    assert [one.item.key for one in state.parked() if one.again] == ["b"]


def test_one_process_runs_a_connector(tmp_path: Path, state: State) -> None:
    state.hold()

    with pytest.raises(BusyError):
        State(tmp_path).hold()
    assert State(tmp_path).is_held()
    state.close()
    assert not State(tmp_path).is_held()


async def test_a_dry_run_is_not_kept(tmp_path: Path, state: State) -> None:
    await run(Scripted((["a"], b"1"), answer=refusing("a")), state)
    dry = State(tmp_path, dry=True)
    await run(Scripted((["a"], b"1"), (["b"], b"2"), answer=refusing("b")), dry)

    assert (dry.place, len(dry.parked())) == (b"2", 2)
    assert (state.place, len(state.parked())) == (b"1", 1)


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from connectors.scripted import Scripted
from consent_ledger.connectors.records import MISSED
from consent_ledger.connectors.runner import Runner
from consent_ledger.connectors.state import State

directory, fatal = Path(sys.argv[1]), sys.argv[2]

def answer(keys):
    with (directory / "calls").open("a") as calls:
        calls.write(" ".join(keys) + "\\n")
    if fatal in keys:
        os.kill(os.getpid(), signal.SIGKILL)

connector = Scripted((["a", "b"], b"1"), (["c"], b"2"), (["d"], b"3"), answer=answer)
asyncio.run(Runner("test", connector, State(directory)).run(once=True))
"""


def test_who_is_killed_between_a_call_and_its_place_makes_the_same_call_again(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    for fatal in ("a", "c", "d", "none"):
        ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), fatal], check=False, env=environment)
        assert ended.returncode == (0 if fatal == "none" else -9)

    calls = (tmp_path / "calls").read_text().split("\n")
    assert calls == ["a b", "a b", "c", "c", "d", "d", ""]
    assert State(tmp_path).place == b"3"


def test_alerts_are_about_metrics_that_exist() -> None:
    alerts = (Path(__file__).parents[2] / "deploy" / "alerts" / "connectors.yml").read_text("utf-8")
    known = {metric.name for metric in REGISTRY.collect()}

    named = {name.removesuffix("_total") for name in re.findall(r"\bconsent_connector_[a-z_]+", alerts)}

    assert MISSED
    assert named <= known
    assert len(named) == 4
