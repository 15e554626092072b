"""`consent evaluate`: the answers to a file of scenarios, by the rules of the service and without any server."""

import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from msgspec import UNSET

from consent_ledger.cli.terminal import NO, USAGE, AsJson, err, fail, out, say_json, table
from consent_ledger.domain import scenario_file
from consent_ledger.domain.scenario_file import Answered, Case
from consent_ledger.domain.screening import ScenarioError


class _Evaluated(NamedTuple):
    answers: list[Answered]
    cases: list[Case]
    errors: list[str]
    remarks: list[str]

    @property
    def differences(self) -> int:
        """How many answers are not as expected."""
        return sum(one.differs for one in self.answers) + sum(case.differs for case in self.cases)


def evaluate(
    *,
    file: Annotated[Path, typer.Argument(help="JSON: scenarios, each with register, events and expectations.")],
    as_json: AsJson = False,
) -> None:
    """Answer the questions of scenarios offline, and compare with the answers the file expects, if it does.

    Exit status 1 for a difference; 2 for what cannot be evaluated, after everything else has been.
    """
    try:
        found = _evaluate(scenario_file.parts(_read(file)))
    except ScenarioError as error:
        fail(f"{file} holds no scenarios: {error}", USAGE)
    if as_json:
        for one in found.answers:
            say_json(one)
        for case in found.cases:
            say_json({"case": case.case, "answer": case.answer})
    else:
        _say(found)
    for remark in found.remarks:
        err.print(f"consent: {remark}", markup=False, soft_wrap=True)
    for told in found.errors:
        err.print(f"consent: not evaluated: {told}", markup=False, style="red", soft_wrap=True)
    if found.errors:
        raise typer.Exit(USAGE)
    if found.differences:
        raise typer.Exit(NO)


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        fail(f"{file}: {error.strerror}", USAGE)
    except (ValueError, RecursionError):
        raise ScenarioError("not JSON") from None


def _evaluate(parts: scenario_file.File) -> _Evaluated:
    found = _Evaluated([], [], [], [])
    for place, scenario in enumerate(parts.scenarios):
        try:
            found.answers.extend(scenario_file.answers(scenario, place, found.remarks.append))
        except ScenarioError as error:
            found.errors.append(str(error))
    found.cases.extend(scenario_file.deadline(case, place) for place, case in enumerate(parts.deadline_cases))
    found.cases.extend(scenario_file.evidence(case, place) for place, case in enumerate(parts.evidence_cases))
    told = [(f"scenario {one.scenario}", one.error) for one in found.answers]
    told += [(f"case {one.case}", one.error) for one in found.cases]
    found.errors.extend(dict.fromkeys(f"{where}: {error}" for where, error in told if error is not UNSET))
    return found


def _say(found: _Evaluated) -> None:
    plain = [one for one in found.answers if one.expected_allow is None and one.expected_reason is None]
    if plain:
        rows = [(one.scenario, one.index, *_answer(one)) for one in plain]
        out.print(table("Answers", "scenario", "question", "", "reason", rows=rows, right=(1,)))
    other = [
        (one.scenario, one.index, *_answer(one), _yes(one.expected_allow), one.expected_reason)
        for one in found.answers if one.differs
    ]  # fmt: skip
    if other:
        columns = ("scenario", "question", "", "reason", "expected", "")
        out.print(table("Other answers than expected", *columns, rows=other, right=(1,)))
    days = [(one.case, one.answer, one.expected) for one in found.cases if one.differs or one.expected is None]
    if days:
        out.print(table("Days", "case", "last day", "expected", rows=days))
    scenarios = len({one.scenario for one in found.answers})
    out.print(
        f"{len(found.answers):,} answers to {scenarios:,} scenarios and {len(found.cases):,} cases: "
        f"{found.differences:,} not as expected, {len(found.errors):,} errors"
    )


def _answer(one: Answered) -> tuple[str | None, str | None]:
    return (None, None) if one.reason is None else (_yes(one.allow), one.reason)


def _yes(allow: bool | None) -> str | None:  # noqa: FBT001 - it is what is written
    return None if allow is None else "yes" if allow else "no"
