"""A file of acceptance scenarios: questions with or without expected answers, and cases of deadlines and retention."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from consent_ledger.domain import durations, register_checks
from consent_ledger.domain import register as registers
from consent_ledger.domain.deadlines import art12_due, evidence_until
from consent_ledger.domain.errors import ConsentError
from consent_ledger.domain.reliance import DEFAULT
from consent_ledger.domain.scenario import Ledger
from consent_ledger.domain.screening import ScenarioError, screen

_FAULTS: Final = (ConsentError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What a part of a file may raise that has not the form of one: a file may hold anything."""
_NAMES: Final = ("controller", "purpose", "channel")


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one question of a scenario, beside the one expected; null where the file expects none.

    `reason` null: there is no answer, for the `error`; then `allow` is false.
    """

    scenario: str
    index: int
    allow: bool
    reason: str | None
    expected_allow: bool | None
    expected_reason: str | None
    error: str | UnsetType = UNSET

    @property
    def differs(self) -> bool:
        """Whether another answer was expected."""
        return (self.expected_allow is not None and self.expected_allow != self.allow) or (
            self.expected_reason is not None and self.expected_reason != self.reason
        )


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """The last day that a case asks for, beside the one expected. `answer` null: no end, or an `error`."""

    case: str
    answer: str | None
    expected: str | None
    error: str | UnsetType = UNSET

    @property
    def differs(self) -> bool:
        """Whether another day was expected."""
        return self.expected is not None and self.expected != self.answer


class File(msgspec.Struct, frozen=True):
    """The parts of a file, unread."""

    scenarios: Sequence[Any]
    deadline_cases: Sequence[Any] = ()
    evidence_cases: Sequence[Any] = ()


def parts(document: object) -> File:
    """Find the scenarios and cases of a file. Raises `ScenarioError` where it holds none."""
    if isinstance(document, list):
        return File(document)
    if not isinstance(document, dict):
        raise ScenarioError("must be an object or a list of scenarios")
    if "expectations" in document:
        return File([document])
    found = {name: document[name] for name in File.__struct_fields__ if document.get(name) is not None}
    if not found:
        raise ScenarioError("no `scenarios`, no `expectations`, and no cases")
    for name, value in found.items():
        if not isinstance(value, list):
            raise ScenarioError(f"{name}: must be a list")
    return File(**{"scenarios": [], **found})


def answers(scenario: object, place: int, remark: Callable[[str], None]) -> Iterator[Answered]:
    """Answer the questions of a scenario, each for itself; `remark` is told what the ledger would leave out or change.

    Raises `ScenarioError` where there are no questions to answer.
    """
    if not isinstance(scenario, Mapping):
        raise ScenarioError(f"scenario {place}: must be an object")
    name = _name(scenario, str(place))
    expectations = scenario.get("expectations")
    if not isinstance(expectations, list):
        raise ScenarioError(f"scenario {name}: expectations: must be a list")
    error: str | UnsetType = UNSET
    ledger = None
    try:
        ledger = _ledger(scenario, lambda told: remark(f"scenario {name}: {told}"))
    except _FAULTS as fault:
        error = _told(fault)
    for index, expectation in enumerate(expectations):
        yield _answered(name, index, expectation, ledger, scenario.get("as_of"), error)


def _ledger(scenario: Mapping[str, Any], remark: Callable[[str], None]) -> Ledger:
    document = scenario.get("register")
    if not isinstance(document, Mapping):
        raise ScenarioError("register: must be an object")
    problems = list(register_checks.problems(document))
    screened = screen(scenario.get("events", []))
    for told in [*(f"register: {problem}" for problem in problems), *screened.remarks]:
        remark(told)
    return Ledger(registers.compile(document, 1), screened.events)


def _answered(
    scenario: str, index: int, expectation: object, ledger: Ledger | None, as_of: object, error: str | UnsetType
) -> Answered:
    said = expectation if isinstance(expectation, Mapping) else {}
    allow, reason = False, None
    if ledger is not None:
        try:
            decision = ledger.answer(_question(expectation), _instant(said.get("as_of") or as_of, "as_of"))
            allow, reason = decision.allow, decision.reason
        except _FAULTS as fault:
            error = f"expectation {index}: {_told(fault)}"
    return Answered(
        scenario=scenario, index=index, allow=allow, reason=reason, error=error,
        expected_allow=expected if isinstance(expected := said.get("allow"), bool) else None,
        expected_reason=_text(said.get("reason")),
    )  # fmt: skip


def _question(said: object) -> dict[str, Any]:
    """Check a question; what it leaves out is answered by the first rules, as unknown or without an address."""
    if not isinstance(said, Mapping):
        raise ScenarioError("must be an object")
    if not all(isinstance(said.get(name, ""), str) for name in _NAMES):
        raise ScenarioError("controller, purpose and channel are text")
    subject = said.get("subject") or []
    if not isinstance(subject, list) or not all(
        isinstance(one, Mapping) and isinstance(one.get("type"), str) and isinstance(one.get("value"), str)
        for one in subject
    ):
        raise ScenarioError("subject: must be a list of identifiers with type and value")
    at = _instant(said.get("at"), "at")
    if at is None:
        raise ScenarioError("at: missing")
    return {**{name: said.get(name, "") for name in _NAMES}, "subject": subject, "at": at}


def _instant(value: object, name: str) -> str | None:
    if value is None:
        return None
    try:
        durations.instant(value if isinstance(value, str) else "")
    except ValueError:
        raise ScenarioError(f"{name}: no instant with a zone") from None
    return str(value)


# -- cases


def deadline(case: object, place: int) -> Case:
    """Give the last day to answer a request (Art. 12(3))."""
    return _case(case, place, "due", _due)


def evidence(case: object, place: int) -> Case:
    """Give the last day to keep the evidence of a consent; none while it is relied on."""
    return _case(case, place, "until", _until)


def _case(case: object, place: int, expected: str, rule: Callable[[Mapping[str, Any]], date | None]) -> Case:
    said = case if isinstance(case, Mapping) else {}
    name, wanted = _name(said, str(place)), _text(said.get(expected))
    try:
        day = rule(said)
    except _FAULTS as fault:
        return Case(case=name, answer=None, expected=wanted, error=_told(fault))
    return Case(case=name, answer=None if day is None else day.isoformat(), expected=wanted)


def _due(said: Mapping[str, Any]) -> date:
    return art12_due(
        date.fromisoformat(said["received"]),
        extended=said.get("extended") is True,
        paused_days=said.get("paused_days") or 0,
        holidays=[date.fromisoformat(day) for day in said.get("holidays") or ()],
    )


def _until(said: Mapping[str, Any]) -> date | None:
    if said["reliance_ended"] is None:
        return None
    days = {name: date.fromisoformat(said[name]) if said.get(name) else None for name in ("given", "last_used")}
    return evidence_until(
        date.fromisoformat(said["reliance_ended"]),
        said.get("retention") or DEFAULT,
        german_calls=said.get("phone_de") is True,
        **days,
    )


def _name(said: Mapping[str, Any], otherwise: str) -> str:
    name = _text(said.get("id"))
    return otherwise if name is None else name


def _text(value: object) -> str | None:
    """Give a text as it can be written: JSON may hold halves of characters."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else None


def _told(fault: Exception) -> str:
    """Say what is wrong; of what this package does not raise itself, the kind only, for its text may hold data."""
    if isinstance(fault, ConsentError):
        return str(fault)
    return f"missing: {fault}" if isinstance(fault, KeyError) else f"cannot be read ({type(fault).__name__})"
