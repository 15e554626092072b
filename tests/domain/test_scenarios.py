"""Every acceptance scenario gives the answer that stands beside it, by the general way and by that of one address.

Seen to fail: refusals of joint controllers left out; the PT5M of doubt dropped, or kept on one clock; the default
scope of the group ignored, or used for withdrawals; voidings bound to the instant of the question, or to no time of
recording; by one person, or by the source of a stranger; consents of strangers and consents dated ahead counted;
occurrence alone taken for the order; imports ending objections; an address left retired after a new consent; a run
of listings not broken; contact after the expiry restarting the clock; the clock running in a relationship; an
upheld objection reversed; no precedence.
Of the record of an address: named purposes, withdrawal groups, wide refusals, clocks, questions after silence not
asked anew; purposes told alike by their basis only.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from consent_ledger.domain import register
from consent_ledger.domain.decision import CHANNELS_OF, Decision, decide, decide_address
from consent_ledger.domain.durations import instant
from consent_ledger.domain.scenario import Ledger, evaluate

FILE = json.loads((Path(__file__).parents[1] / "data" / "scenarios.json").read_text(encoding="utf-8"))
SCENARIOS = [pytest.param(scenario, id=scenario["id"]) for scenario in FILE["scenarios"]]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_gives_the_expected_answers(scenario: dict[str, Any]) -> None:
    expected = [(one["allow"], one["reason"]) for one in scenario["expectations"]]

    assert evaluate(scenario) == expected


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_register_of_a_scenario_may_be_loaded(scenario: dict[str, Any]) -> None:
    assert register.parse(scenario["register"]).document == scenario["register"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_record_of_an_address_says_the_same_as_the_answer_to_each_question(scenario: dict[str, Any]) -> None:
    compiled = register.compile(scenario["register"], 1)
    ledger = Ledger(compiled, scenario["events"])
    for controller in compiled.controllers:
        for kind, token in _identifiers(ledger, controller):
            facts = ledger.dossier(controller, [token])
            now = max([instant("2026-11-01T09:00:00Z"), *(fact.recorded for fact in facts)])
            record = decide_address(
                compiled, facts, controller=controller, type=kind, token=token, at=now, dnc=ledger.snapshots
            )

            asked: dict[tuple[str, str], Decision] = {
                (purpose.id, channel): decide(
                    compiled, facts, controller=controller, identifiers=[(kind, token)], purpose=purpose.id,
                    channel=channel, at=now, dnc=ledger.snapshots,
                )
                for purpose in compiled.purposes_of(controller)
                for channel in purpose.channels if channel in CHANNELS_OF[kind]
            }  # fmt: skip
            assert record == asked


def _identifiers(ledger: Ledger, controller: str) -> list[tuple[str, bytes]]:
    every = ledger.dossier(
        controller, (node for fact in ledger.facts(controller) for _, _, node, _ in fact.identifiers)
    )
    return sorted({(kind, token) for fact in every for _, kind, token, _ in fact.identifiers})
