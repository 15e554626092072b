"""The five example registers, walked through: every purpose on every channel in every state of the overview.

Seen to fail: an objection that lists a consent purpose without effect; legal claims stopped while an objection is
assessed; a bounce for every channel; profiling out of the reach of a complaint by e-mail; a sale ending an erasure for
marketing; a report of minority for purposes with an age limit only; a consent for every purpose of its controller;
every refusal widened to the group.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import walk
from consent_ledger.domain import register as registers
from consent_ledger.domain.events import Event, decode
from consent_ledger.domain.scenario import Ledger

PERSON = walk.Person()
REGISTERS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parents[2] / "deploy" / "registers").glob("*.json"))
}
STEPS = [
    pytest.param(name, controller, state, id=f"{controller}: {state}")
    for name, document in REGISTERS.items()
    for controller, _, state in walk.steps(document)
]


def purposes_of(document: Mapping[str, Any], controller: str) -> list[dict[str, Any]]:
    return [purpose for purpose in document["purposes"] if purpose["controller"] == controller]


def walked(document: Mapping[str, Any], controller: str, state: str) -> Ledger:
    snapshots = [walk.snapshot("dncm-feed", name) for name in document["dnc_registers"]]
    events = walk.events(controller, purposes_of(document, controller), state, PERSON)
    return Ledger(registers.parse(document), [*snapshots, *events])


def answers(ledger: Ledger, controller: str, purposes: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[bool, str]]:
    return {
        (purpose["id"], channel): (decision.allow, decision.reason)
        for purpose in purposes
        for channel in purpose["channels"]
        for decision in [
            ledger.answer(
                {
                    "controller": controller, "purpose": purpose["id"], "channel": channel,
                    "subject": [PERSON.on(channel)], "at": walk.ASKED.isoformat(),
                },
                None,
            )
        ]
    }  # fmt: skip


def told(purposes: list[dict[str, Any]], state: str, again: str | None) -> dict[tuple[str, str], tuple[bool, str]]:
    codes = {
        (purpose["id"], channel): walk.expected(purpose, channel, state, again)
        for purpose in purposes
        for channel in purpose["channels"]
    }
    return {pair: (code in walk.ALLOWED, code) for pair, code in codes.items()}


@pytest.mark.parametrize(("name", "controller", "state"), STEPS)
def test_every_purpose_answers_as_the_overview_says(name: str, controller: str, state: str) -> None:
    purposes = purposes_of(REGISTERS[name], controller)

    found = answers(walked(REGISTERS[name], controller, state), controller, purposes)

    assert found == told(purposes, state, walk.consented_anew(purposes))


@pytest.mark.parametrize(("name", "controller", "state"), STEPS)
def test_at_every_other_controller_there_is_nothing_on_record(name: str, controller: str, state: str) -> None:
    document = REGISTERS[name]
    ledger = walked(document, controller, state)
    for other, entity in document["controllers"].items():
        # An objection that says no scope is for the whole group; joint controllers share what is refused.
        grouped = entity.get("group") and entity["group"] == document["controllers"][controller].get("group")
        if other == controller or (grouped and state.startswith(("objection", "situation"))):
            continue
        purposes = [purpose for purpose in purposes_of(document, other) if not purpose.get("joint_with")]

        found = answers(ledger, other, purposes)

        assert found == told(purposes, "nothing", None)


@pytest.mark.parametrize("state", walk.STATES)
def test_publishers_can_send_every_event_of_the_walk(state: str) -> None:
    for name, document in REGISTERS.items():
        for event in walk.events(name, purposes_of(document, next(iter(document["controllers"]))), state, PERSON):
            sent = json.dumps(walk.cloudevent(event)).encode()

            assert isinstance(decode(None, sent, ()), Event), event
