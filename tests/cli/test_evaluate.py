"""`consent evaluate`: scenarios answered offline, line by line, whatever else is in the file.

Seen to fail: a malformed refusal left out, or dated by what it says; what is no event taken as it stands; a consent
under a used id counted, a refusal not; a scenario that cannot be evaluated ending the command, or passed over; a fault
of a kind nobody foresaw ending it; values repeated in errors; the recording time of the scenario, or of the question,
ignored; reasons, days not compared; no end taken for a fault; pauses dropped; a consent of before the calendar without
end; a name that cannot be written ending the command; evidence without a period of its own taken for a fault.
"""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.installed import Answer, consent
from consent_ledger.domain import scenario_file
from consent_ledger.domain.events import KINDS
from consent_ledger.domain.scenario_file import Answered

FILE = json.loads((Path(__file__).parents[1] / "data" / "scenarios.json").read_text(encoding="utf-8"))
SCENARIOS: dict[str, dict[str, Any]] = {one["id"]: one for one in FILE["scenarios"]}
GIVEN = SCENARIOS["S008"] | {"expectations": [SCENARIOS["S008"]["expectations"][-1] | {"at": "2026-06-01T09:00:00Z"}]}
WITHDRAWN = SCENARIOS["S227"]
SECRET = "secret@example.be"


def evaluate(tmp_path: Path, document: Any) -> Answer:
    path = tmp_path / "scenarios.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return consent("evaluate", str(path), "--json")


def lines(answer: Answer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.out.splitlines()]


def changed(scenario: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return copy.deepcopy(scenario) | fields


def with_terms(**terms: Any) -> dict[str, Any]:
    """The register of the consent's scenario, its purposes on other terms."""
    register: dict[str, Any] = GIVEN["register"]
    return register | {"purposes": [purpose | terms for purpose in register["purposes"]]}


def with_events(*events: Any) -> dict[str, Any]:
    """The scenario of a consent, and more events after it."""
    return changed(GIVEN, events=[*GIVEN["events"], *events])


def test_every_expectation_and_case_is_answered_in_order(tmp_path: Path) -> None:
    answer = evaluate(tmp_path, FILE)

    assert answer.status == 0, answer.err
    assert lines(answer) == [
        {
            "scenario": scenario["id"], "index": index, "allow": one["allow"], "reason": one["reason"],
            "expected_allow": one["allow"], "expected_reason": one["reason"],
        }
        for scenario in FILE["scenarios"]
        for index, one in enumerate(scenario["expectations"])
    ] + [
        {"case": case["id"], "answer": case[name]}
        for name, cases in (("due", "deadline_cases"), ("until", "evidence_cases"))
        for case in FILE[cases]
    ]  # fmt: skip


@pytest.mark.parametrize("form", [GIVEN, [GIVEN], {"scenarios": [GIVEN]}])
def test_one_scenario_a_list_and_an_object_are_answered_alike(tmp_path: Path, form: Any) -> None:
    answer = evaluate(tmp_path, form)

    assert (answer.status, len(lines(answer))) == (0, len(GIVEN["expectations"]))


@pytest.mark.parametrize("other", [{"allow": False}, {"reason": "CONTRACT"}])
def test_a_difference_is_exit_status_1_and_shown(tmp_path: Path, other: dict[str, Any]) -> None:
    expectation = GIVEN["expectations"][0] | other
    scenario = changed(GIVEN, expectations=[expectation, *GIVEN["expectations"]])

    answer = evaluate(tmp_path, scenario)
    table = consent("evaluate", str(tmp_path / "scenarios.json"))

    assert (answer.status, table.status) == (1, 1)
    assert len(lines(answer)) == 1 + len(GIVEN["expectations"])
    assert lines(answer)[0]["reason"] == "CONSENT"
    assert "1 not as expected" in table.out
    assert "S008" in table.out


def test_a_question_without_a_time_of_recording_has_that_of_its_scenario(tmp_path: Path) -> None:
    question = GIVEN["expectations"][0] | {"as_of": None, "allow": False, "reason": "CONSENT_ABSENT"}

    answer = evaluate(tmp_path, changed(GIVEN, as_of="2026-01-01T09:00:00Z", expectations=[question]))

    assert answer.status == 0, answer.out


def test_questions_may_expect_nothing(tmp_path: Path) -> None:
    question = {k: v for k, v in GIVEN["expectations"][0].items() if k not in ("allow", "reason")}

    answer = evaluate(tmp_path, changed(GIVEN, expectations=[question]))

    assert answer.status == 0
    assert lines(answer) == [
        {
            "scenario": "S008", "index": 0, "allow": True, "reason": "CONSENT", "expected_allow": None,
            "expected_reason": None,
        }
    ]  # fmt: skip


@pytest.mark.parametrize("document", ["", "{", "[" * 100_000, "7", "null", "{}", '{"scenarios": {}}', '{"events": []}'])
def test_a_file_without_scenarios_is_told_so(tmp_path: Path, document: str) -> None:
    answer = evaluate(tmp_path, document)

    assert (answer.status, answer.out) == (2, "")
    assert "holds no scenarios" in answer.err
    assert len(answer.err.splitlines()) == 1


def test_a_file_that_is_not_there_is_told_so() -> None:
    answer = consent("evaluate", "/nowhere/scenarios.json")

    assert (answer.status, answer.out) == (2, "")
    assert "No such file" in answer.err


@pytest.mark.parametrize(
    "broken",
    [
        7,
        {"id": "broken"},
        changed(GIVEN, id="broken", register=7),
        changed(GIVEN, id="broken", register={"purposes": [{}]}),
        changed(GIVEN, id="broken", register=with_terms(consent_ttl=["P1Y"])),
        changed(GIVEN, id="broken", events={"a": 1}),
        changed(GIVEN, id="broken", events=[GIVEN["events"][0] | {"recorded_at": "yesterday"}]),
        changed(GIVEN, id="broken", as_of="yesterday"),
        changed(GIVEN, id="broken", expectations=[7]),
        changed(GIVEN, id="broken", expectations=[GIVEN["expectations"][0] | {"at": None}]),
        changed(GIVEN, id="broken", expectations=[GIVEN["expectations"][0] | {"subject": [7]}]),
        changed(GIVEN, id="broken", expectations=[GIVEN["expectations"][0] | {"purpose": ["a"]}]),
    ],
)
def test_what_cannot_be_evaluated_is_told_and_stops_nothing_else(tmp_path: Path, broken: Any) -> None:
    answer = evaluate(tmp_path, [broken, WITHDRAWN])

    assert answer.status == 2
    assert "not evaluated: scenario " in answer.err
    assert ("broken" if isinstance(broken, dict) else "scenario 0") in answer.err
    assert [one["reason"] for one in lines(answer) if one["scenario"] == "S227"] == [
        one["reason"] for one in WITHDRAWN["expectations"]
    ]
    assert not any(one["allow"] or one["reason"] for one in lines(answer) if one["scenario"] != "S227")


@pytest.mark.parametrize(
    "event",
    [
        7,
        {},
        GIVEN["events"][0] | {"type": "consent-taken"},
        GIVEN["events"][0] | {"id": None},
        GIVEN["events"][0] | {"subject": [{"type": "pigeon", "value": SECRET}]},
        GIVEN["events"][0] | {"evidence": SECRET},
        GIVEN["events"][0] | {"occurred_at": "yesterday"},
        {"type": "identifiers-linked", "controllers": ["dekra-be"], "subject": [{"type": "email", "value": SECRET}]},
    ],
)
def test_what_is_no_event_has_no_effect_and_is_told(tmp_path: Path, event: Any) -> None:
    answer = evaluate(tmp_path, changed(GIVEN, events=[event, *GIVEN["events"]]))
    alone = evaluate(tmp_path, changed(GIVEN, events=[event]))

    assert (answer.status, alone.status) == (0, 1)
    assert "scenario S008: event 0: " in answer.err
    assert SECRET not in answer.err


@pytest.mark.parametrize(
    "fields",
    [{"id": None}, {"occurred_at": "yesterday"}, {"channels": 7}, {"source": None}, {"purposes": [["newsletter"]]}],
)
def test_a_malformed_refusal_is_an_objection_to_everything(tmp_path: Path, fields: dict[str, Any]) -> None:
    refusal = WITHDRAWN["events"][-1] | {"recorded_at": "2026-02-01T09:00:00Z"} | fields

    answer = evaluate(tmp_path, with_events(refusal))

    assert answer.status == 1
    assert {one["reason"] for one in lines(answer)} == {"OBJECTION_DM"}
    assert "taken as an objection to everything" in answer.err


def test_a_used_id_with_other_content_counts_as_a_refusal_and_not_as_a_consent(tmp_path: Path) -> None:
    given = GIVEN["events"][0]
    refusal = WITHDRAWN["events"][-1]
    again = given | {"id": refusal["id"], "occurred_at": "2026-05-05T09:00:00Z", "recorded_at": "2026-05-05T09:00:00Z"}

    refused = evaluate(tmp_path, with_events(refusal | {"id": given["id"]}))
    permitted = evaluate(tmp_path, with_events(refusal, again))

    assert {one["reason"] for one in lines(refused)} == {one["reason"] for one in lines(permitted)}
    assert not any(one["allow"] for one in lines(refused))


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("controller", "UNKNOWN_CONTROLLER"),
        ("purpose", "UNKNOWN_PURPOSE"),
        ("channel", "CHANNEL_NOT_COVERED"),
        ("subject", "NO_ADDRESS"),
    ],
)
def test_a_question_that_leaves_something_out_is_answered_no(tmp_path: Path, missing: str, reason: str) -> None:
    question = {name: value for name, value in GIVEN["expectations"][0].items() if name != missing}

    answer = evaluate(tmp_path, changed(GIVEN, expectations=[question]))

    assert [(one["allow"], one["reason"]) for one in lines(answer)] == [(False, reason)]


def test_a_wrong_day_is_a_difference_and_a_case_that_is_none_an_error(tmp_path: Path) -> None:
    right, wrong = FILE["deadline_cases"][0], FILE["evidence_cases"][0] | {"until": "2030-01-01"}

    secret = FILE["evidence_cases"][0] | {"reliance_ended": SECRET}
    differs = evaluate(tmp_path, {"deadline_cases": [right], "evidence_cases": [wrong]})
    broken = evaluate(tmp_path, {"deadline_cases": [{"id": "D0"}, right], "evidence_cases": [7, secret]})
    running = evaluate(tmp_path, {"evidence_cases": [{"id": "V0", "reliance_ended": None, "retention": "P3Y"}]})

    assert (differs.status, broken.status, running.status) == (1, 2, 0)
    assert lines(broken)[1] == {"case": right["id"], "answer": right["due"]}
    assert "case D0: missing: 'received'" in broken.err
    assert SECRET not in broken.err
    assert lines(running) == [{"case": "V0", "answer": None}]


def test_evidence_is_kept_for_three_years_where_nobody_says_otherwise(tmp_path: Path) -> None:
    """Specification 7.4, 9.12."""
    silent = [{"id": "V0", "reliance_ended": "2026-03-01"}, {"reliance_ended": "2028-02-29", "retention": None}]

    answer = evaluate(tmp_path, {"evidence_cases": silent})

    assert lines(answer) == [{"case": "V0", "answer": "2029-03-01"}, {"case": "1", "answer": "2031-02-28"}], answer.err


def test_a_name_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    half = "\ud800"
    question = GIVEN["expectations"][0] | {"reason": half}
    case = FILE["deadline_cases"][0]
    document = {
        "scenarios": [changed(GIVEN, id=half, expectations=[question])],
        "deadline_cases": [case | {"id": half}, case],
    }

    answer = evaluate(tmp_path, document)

    assert answer.status == 1, answer.err
    assert [one.get("reason") or one["answer"] for one in lines(answer)] == ["CONSENT", case["due"], case["due"]]
    assert consent("evaluate", str(tmp_path / "scenarios.json")).status == 1


def test_a_consent_that_a_zone_puts_before_the_calendar_ends_like_any_other(tmp_path: Path) -> None:
    given = [event | {"occurred_at": "0001-01-01T00:00:00+05:00"} for event in GIVEN["events"]]

    answer = evaluate(tmp_path, changed(GIVEN, register=with_terms(consent_ttl="P1Y"), events=given))

    assert {one["reason"] for one in lines(answer)} == {"CONSENT_EXPIRED"}


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("2026-03-01T09:00:00Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "value", "id"]), inner),
    max_leaves=6,
)
events = st.fixed_dictionaries(
    {"type": st.sampled_from(sorted(KINDS)) | junk},
    optional={
        name: st.just(GIVEN["events"][0].get(name)) | junk
        for name in (
            "id", "source", "occurred_at", "recorded_at", "controllers", "subject", "purposes", "channels", "evidence",
            "old", "new", "numbers", "register", "voids", "age", "controller_scope",
        )
    },
)  # fmt: skip
questions = st.fixed_dictionaries(
    {name: st.just(GIVEN["expectations"][0].get(name)) | junk for name in GIVEN["expectations"][0]}
)


@settings(deadline=None)
@given(st.lists(events | junk, max_size=4), st.lists(questions | junk, max_size=2), junk)
def test_whatever_a_scenario_holds_it_is_answered_or_told(events: Any, expectations: list[Any], as_of: Any) -> None:
    scenario = changed(GIVEN, events=events, expectations=expectations, as_of=as_of)
    remarks: list[str] = []

    found = list(scenario_file.answers(scenario, 0, remarks.append))

    assert len(found) == len(expectations)
    assert all(isinstance(one, Answered) and (one.reason is None) == isinstance(one.error, str) for one in found)
    assert not any(one.allow for one in found if one.reason is None)
