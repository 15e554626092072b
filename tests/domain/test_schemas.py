"""The schemas that publishers see are those of the code.

Seen to fail: a generated file edited by hand; a field removed from the catalogue; an example with a missing reference;
the attribute subject allowed.
"""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from consent_ledger.domain import schemas
from consent_ledger.domain.catalogue import SHAPES
from consent_ledger.domain.examples import example
from domain.messages import accepted, consent, message

SCHEMAS = Path(__file__).parents[2] / "schemas"


def errors(type: str, said: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft202012Validator(
        schemas.event_schema(type), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    return [error.message for error in validator.iter_errors(said)]


def test_the_files_are_those_of_the_code() -> None:
    there = {
        path.relative_to(SCHEMAS).as_posix(): path.read_text(encoding="utf-8")
        for directory in ("events", "examples", "exports")
        for path in (SCHEMAS / directory).iterdir()
    }

    assert there == dict(schemas.files()), "stale: run `uv run poe schemas`"


def test_the_command_writes_them(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    (tmp_path / "examples").mkdir()
    (tmp_path / "exports").mkdir()

    schemas.main(str(tmp_path))

    written = {
        path.relative_to(tmp_path).as_posix(): path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.json")
    }
    assert written == dict(schemas.files())


@pytest.mark.parametrize("type", sorted(SHAPES))
def test_every_example_obeys_its_schema_and_is_an_event_without_warning(type: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schemas.event_schema(type))

    assert errors(type, example(type)) == []
    event = accepted(example(type))
    assert (event.type, event.warning) == (type, None)
    assert "extra" not in event.personal


@pytest.mark.parametrize(
    "said",
    [
        message(subject="an@example.be"),
        message(type="consent-taken"),
        message(id="x"),
        message(without="time"),
        message(data=consent(subject=[])),
        message(data=consent(purposes="some")),
        message(data=consent(evidence={"text_version": "1"})),
    ],
    ids=lambda said: json.dumps(said)[-40:],
)
def test_a_schema_refuses_what_the_code_refuses(said: dict[str, Any]) -> None:
    assert errors("consent-given", said)


def test_a_schema_says_what_is_personal() -> None:
    definitions = schemas.event_schema("consent-given")["$defs"]

    assert definitions["ConsentGiven"]["properties"]["subject"]["x-personal"]
    assert definitions["Evidence"]["properties"]["ref"]["anyOf"][0]["x-personal"]
    assert "x-personal" not in json.dumps(definitions["ConsentGiven"]["properties"]["mechanism"])
