"""The five example registers through the running service: every purpose, on every channel, in every state.

One installation holds all companies; in every state of the overview there is somebody of each company's own. What must
be answered is written in `walk`, and computed by nothing of the product.

Seen to fail: channels lost on the way to the dossier; a row of the view read in part.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

import walk
from consent_ledger.domain import register as registers
from through.reader import Told
from through.stage import Stage, staged

FILES: Final = sorted((Path(__file__).parents[2] / "deploy" / "registers").glob("*.json"))
QUESTIONS_MAX: Final = 10_000


class Asked(NamedTuple):
    """A question about somebody in a state, and the code that must be answered."""

    state: str
    question: dict[str, Any]
    code: str

    @property
    def expected(self) -> Told:
        """The whole answer."""
        return Told(self.code in walk.ALLOWED, self.code)


class Walked(NamedTuple):
    """All questions, and the answers of each way in the same order."""

    asked: list[Asked]
    told: dict[str, list[Told]]


@pytest.fixture(scope="module")
async def walked(kafka: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Walked:
    """Bring everybody into their state, and ask everything."""
    register: dict[str, Any] = {}
    for file in FILES:
        register = registers.merge(register, json.loads(file.read_text(encoding="utf-8")))
    asked, events = _walk(register)
    path, begin = tmp_path_factory.mktemp("walk"), walk.START - timedelta(days=1)
    async with staged(kafka, postgres, template, path, register=register, begin=begin) as stage:
        for now in sorted({event["recorded_at"] for event in events}):
            stage.set_clock(datetime.fromisoformat(now))
            await stage.record(*(walk.cloudevent(event) for event in events if event["recorded_at"] == now))
        stage.set_clock(walk.ASKED)
        await stage.settle()
        return await _ask(stage, asked)


def _walk(register: dict[str, Any]) -> tuple[list[Asked], list[walk.Event]]:
    asked: list[Asked] = []
    events = [walk.snapshot("dncm-feed", name) for name in register["dnc_registers"]]
    for number, (controller, purposes, state) in enumerate(walk.steps(register)):
        person = walk.Person(
            f"p{number}@example.be", f"+3247{number:07}", f"BE 1000 BRUSSEL, MARKT {number}", f"d-{number}",
            f"C-{number}",
        )  # fmt: skip
        events += walk.events(controller, purposes, state, person)
        again = walk.consented_anew(purposes)
        asked += [
            Asked(
                state,
                {"controller": controller, "subject": [person.on(channel)], "purpose": purpose["id"],
                 "channel": channel},
                walk.expected(purpose, channel, state, again),
            )
            for purpose in purposes
            for channel in purpose["channels"]
        ]  # fmt: skip
    return asked, events


async def _ask(stage: Stage, asked: Sequence[Asked]) -> Walked:
    questions = [one.question for one in asked]
    http: list[Told] = []
    for first in range(0, len(questions), QUESTIONS_MAX):
        http += await stage.from_http(questions[first : first + QUESTIONS_MAX])
    return Walked(
        list(asked), {"HTTP": http, "view": await stage.from_view(questions), "topic": stage.from_topic(questions)}
    )


@pytest.mark.parametrize("way", ["HTTP", "view", "topic"])
def test_every_purpose_answers_as_the_overview_says(walked: Walked, way: str) -> None:
    wrong = [
        (one.state, one.question, one.expected, told)
        for one, told in zip(walked.asked, walked.told[way], strict=True)
        if told != one.expected
    ]

    assert not wrong
