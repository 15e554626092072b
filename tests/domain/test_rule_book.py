"""The rule book can be read beside the specification: every code, every row, and a scenario for each.

Seen to fail: a row missing at its code, or made up; a code without articles; the question after silence allowed a day
longer; a module of rules that does not name its section.
"""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from consent_ledger.domain.reasons import ARTICLES, PRECEDENCE, RULES
from consent_ledger.domain.scenario import evaluate

FILE: Final[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "scenarios.json").read_text(encoding="utf-8")
)
DOMAIN: Final = Path(__file__).parents[2] / "services" / "consent_ledger" / "domain"
RULE_MODULES: Final = ("rules_refusal", "rules_consent", "rules_basis", "rules_address")
_CODE: Final = re.compile(r"\b(?:[A-Z]+_)+[A-Z]+\b|\b(?:MINOR|RESTRICTED|ERASED|COMPLAINT|CONSENT|CONTRACT)\b")


def window_closed() -> dict[str, Any]:
    """The question after silence, thirty days late: the one code that no scenario of the file reports."""
    given: dict[str, Any] = next(one for one in FILE["scenarios"] if one["id"] == "S157")
    asked = next(one for one in given["expectations"] if one["reason"] == "REPERMISSION_ONCE")
    late = asked | {"at": "2025-05-01T09:00:00Z", "allow": False, "reason": "REPERMISSION_WINDOW_CLOSED"}
    events = [event for event in given["events"] if event["type"] != "repermission-sent"]
    return given | {"events": events, "expectations": [asked, late]}


def reported(scenarios: list[dict[str, Any]]) -> set[str]:
    return {one["reason"] for scenario in scenarios for one in scenario["expectations"]}


def test_the_question_after_silence_is_too_late_after_thirty_days() -> None:
    scenario = window_closed()

    assert evaluate(scenario) == [(one["allow"], one["reason"]) for one in scenario["expectations"]]


@pytest.mark.parametrize("code", RULES)
def test_every_code_has_a_meaning_articles_rows_and_a_scenario(code: str) -> None:
    rule = RULES[code]

    assert rule.text.endswith(".")
    assert rule.articles == ARTICLES[code]
    assert all(re.match(r"(Art\. \d|Rec\. \d|ePrivacy Art\. \d|WER )", article) for article in rule.articles)
    assert rule.articles
    assert rule.rows
    assert code in reported([*FILE["scenarios"], window_closed()])


def test_the_codes_that_suppress_come_first_and_in_precedence() -> None:
    assert [code for code in RULES if code in PRECEDENCE] == list(RULES)[: len(PRECEDENCE)] == list(PRECEDENCE)


@pytest.mark.parametrize("row", FILE["rows"])
def test_every_row_of_the_decision_tables_has_a_scenario(row: str) -> None:
    assert [scenario["id"] for scenario in FILE["scenarios"] if row in scenario["rows"]]


@pytest.mark.parametrize("row", FILE["rows"])
def test_every_row_that_names_a_code_stands_at_that_code(row: str) -> None:
    answer = FILE["rows"][row].rpartition("->")[2]
    named = {code for code in _CODE.findall(answer) if code in RULES}

    assert {code for code in named if row not in RULES[code].rows} == set()


def test_no_code_has_a_row_that_the_tables_do_not_have() -> None:
    assert {row for rule in RULES.values() for row in rule.rows} <= set(FILE["rows"])


@pytest.mark.parametrize("module", RULE_MODULES)
def test_every_module_of_rules_says_which_sections_and_rows_it_holds(module: str) -> None:
    told = (DOMAIN / f"{module}.py").read_text(encoding="utf-8").split('"""')[1]

    assert re.search(r"6\.\d+", told)
    assert re.search(r"rows? [A-Z]\d", told)
