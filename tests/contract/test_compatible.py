"""The comparer of contracts finds each kind of break, and lets pass what breaks nobody.

Seen to fail: required members of what we read passed over; members that we no longer send; alternatives compared by the
first alone; values, and what we send, compared the wrong way round; a new member or a status that is no success taken
for a break; a word that is not known passed over; the
manifests of lists passed over.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from contract.compatible import Direction, problems, schema

TEXT = {"type": "string"}
NULL = {"type": "null"}


def thing(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def found(old: Any, new: Any, direction: Direction) -> list[str]:
    return list(schema(old, new, direction, "it"))


BOTH: list[tuple[str, Any, Any]] = [
    ("another type", TEXT, {"type": "integer"}),
    ("a member removed", thing(a=TEXT, b=TEXT), thing(a=TEXT)),
    ("a member of another type", thing(a=TEXT), thing(a={"type": "boolean"})),
    ("deep inside", thing(a={"type": "array", "items": thing(b=TEXT)}), thing(a={"type": "array", "items": thing()})),
    ("another pattern", {**TEXT, "pattern": "^a$"}, {**TEXT, "pattern": "^b$"}),
    ("an unknown word", {**TEXT, "uniqueItems": True}, TEXT),
    ("never", TEXT, False),
]
IN_ONLY: list[tuple[str, Any, Any]] = [
    ("now required", {"type": "object", "properties": {"a": TEXT}}, thing(a=TEXT)),
    ("a new member is required", thing(), thing(a=TEXT)),
    ("a value less", {"enum": ["a", "b"]}, {"enum": ["a"]}),
    ("values where any was", TEXT, {"enum": ["a"]}),
    ("null no more", {"anyOf": [TEXT, NULL]}, TEXT),
    ("a type less", {"type": ["string", "null"]}, TEXT),
    ("shorter", {**TEXT, "maxLength": 10}, {**TEXT, "maxLength": 9}),
    ("a limit where none was", {"type": "array", "items": TEXT}, {"type": "array", "items": TEXT, "maxItems": 5}),
    ("more at least", {"type": "integer", "minimum": 0}, {"type": "integer", "minimum": 1}),
    ("others no more", {"type": "object"}, {"type": "object", "additionalProperties": False}),
    ("no fractions", {"type": "number"}, {"type": "integer"}),
    ("something of anything", True, TEXT),
]
FREE: list[tuple[str, Any, Any]] = [
    ("the same", thing(a={"anyOf": [TEXT, NULL]}), thing(a={"anyOf": [NULL, TEXT]})),
    ("other words", {**TEXT, "description": "one"}, {**TEXT, "description": "other"}),
]


@pytest.mark.parametrize(("name", "old", "new"), [*BOTH, *IN_ONLY], ids=lambda one: one if isinstance(one, str) else "")
def test_what_we_read_may_not_shrink(name: str, old: Any, new: Any) -> None:
    assert found(old, new, "in"), name


@pytest.mark.parametrize(("name", "old", "new"), IN_ONLY, ids=lambda one: one if isinstance(one, str) else "")
def test_what_we_read_may_grow(name: str, old: Any, new: Any) -> None:
    if name == "a new member is required":
        new, old = old, {"type": "object", "properties": {}}

    assert found(new, old, "in") == [], name


@pytest.mark.parametrize(("name", "old", "new"), BOTH, ids=lambda one: one if isinstance(one, str) else "")
def test_what_we_send_may_not_lose_anything(name: str, old: Any, new: Any) -> None:
    if name == "never":
        old, new = new, old

    assert found(old, new, "out"), name


@pytest.mark.parametrize(("name", "old", "new"), IN_ONLY, ids=lambda one: one if isinstance(one, str) else "")
def test_what_we_send_may_not_get_less_exact(name: str, old: Any, new: Any) -> None:
    if name in {"a new member is required", "others no more"}:
        # New members are passed over by a reader, and so are others without a name.
        assert found(thing(), thing(a=TEXT), "out") == []
    else:
        assert found(new, old, "out"), name


@pytest.mark.parametrize(("name", "old", "new"), FREE, ids=lambda one: one if isinstance(one, str) else "")
@pytest.mark.parametrize("direction", ["in", "out"])
def test_what_changes_nothing_is_no_break(direction: Direction, name: str, old: Any, new: Any) -> None:
    assert found(old, new, direction) == [], name


# -- whole documents

CALL = {
    "parameters": [{"in": "query", "name": "q", "schema": TEXT}],
    "requestBody": {"required": True, "content": {"application/json": {"schema": thing(a=TEXT)}}},
    "responses": {
        "200": {"content": {"application/json": {"schema": thing(b=TEXT)}}},
        "404": {"content": {"application/problem+json": {"schema": thing(c=TEXT)}}},
    },
    "security": [{"key": []}],
}
MESSAGE = {
    "contentType": "application/json",
    "bindings": {"kafka": {"key": TEXT}},
    "payload": {"$ref": "events/x.json"},
}
CONTRACT: dict[str, Any] = {
    "openapi.json": {
        "paths": {"/v1/things": {"post": CALL}},
        "webhooks": {"thing": {"post": {"requestBody": {"content": {"application/json": {"schema": thing(f=TEXT)}}}}}},
    },
    "asyncapi.json": {
        "channels": {
            "in": {"address": "{prefix}in", "messages": {"x": MESSAGE}},
            "out": {"address": "{prefix}out", "messages": {"y": {**MESSAGE, "payload": thing(d=TEXT)}}},
        },
        "operations": {
            "read": {"action": "receive", "channel": {"$ref": "#/channels/in"}},
            "write": {"action": "send", "channel": {"$ref": "#/channels/out"}},
        },
    },
    "lists/l.json": thing(g=TEXT),
    "events/x.json": {"$ref": "#/$defs/X", "$defs": {"X": thing(e=TEXT)}},
}

Change = Callable[[Any, Any, Any], Any]
BREAKS: dict[str, Change] = {
    "http POST /v1/things: removed": lambda http, _, __: http["paths"].clear(),
    "http POST /v1/things: parameter q: removed": lambda http, _, __: _call(http)["parameters"].clear(),
    "http POST /v1/things: parameter r: now required": lambda http, _, __: _call(http)["parameters"].append(
        {"in": "query", "name": "r", "required": True, "schema": TEXT}
    ),
    "http POST /v1/things: security changed": lambda http, _, __: _call(http).pop("security"),
    "http POST /v1/things: body.z: now required": lambda http, _, __: _call(http)["requestBody"]["content"][
        "application/json"
    ].update(schema=thing(a=TEXT, z=TEXT)),
    "http POST /v1/things: the body was removed": lambda http, _, __: _call(http).pop("requestBody"),
    "http POST /v1/things: 200: removed": lambda http, _, __: _call(http)["responses"].pop("200"),
    "http POST /v1/things: 200.b: removed": lambda http, _, __: _call(http)["responses"]["200"]["content"][
        "application/json"
    ].update(schema=thing()),
    "http webhook thing: removed": lambda http, _, __: http["webhooks"].clear(),
    "http webhook thing: body.f: removed": lambda http, _, __: http["webhooks"]["thing"]["post"]["requestBody"][
        "content"
    ]["application/json"].update(schema=thing()),
    "topic in: removed": lambda _, topics, __: topics["channels"].pop("in"),
    "topic in: another address": lambda _, topics, __: topics["channels"]["in"].update(address="{prefix}into"),
    "topic in: another direction": lambda _, topics, __: topics["operations"]["read"].update(action="send"),
    "topic in/x: removed": lambda _, topics, __: topics["channels"]["in"]["messages"].clear(),
    "topic in/x: another key": lambda _, topics, __: topics["channels"]["in"]["messages"]["x"].pop("bindings"),
    "topic in/x: another content type": lambda _, topics, __: topics["channels"]["in"]["messages"]["x"].update(
        contentType="text/plain"
    ),
    "topic in/x.e: removed": lambda _, __, event: event["$defs"].update(X=thing()),
    "topic out/y.d: removed": lambda _, topics, __: topics["channels"]["out"]["messages"]["y"].update(payload=thing()),
}


def _call(http: Any) -> Any:
    return http["paths"]["/v1/things"]["post"]


@pytest.mark.parametrize("expected", BREAKS)
def test_every_break_of_a_document_is_named(expected: str) -> None:
    new = copy.deepcopy(CONTRACT)
    BREAKS[expected](new["openapi.json"], new["asyncapi.json"], new["events/x.json"])

    assert expected in problems(CONTRACT, new)


def test_what_is_added_breaks_nobody() -> None:
    new = copy.deepcopy(CONTRACT)
    call = _call(new["openapi.json"])
    new["openapi.json"]["paths"]["/v1/more"] = {"get": CALL}
    call["parameters"].append({"in": "query", "name": "r", "schema": TEXT})
    call["responses"]["202"] = {"content": {}}
    call["responses"].pop("404")
    call["requestBody"]["content"]["application/json"]["schema"]["properties"]["new"] = TEXT
    new["asyncapi.json"]["channels"]["more"] = {"address": "{prefix}more", "messages": {}}
    new["asyncapi.json"]["channels"]["out"]["messages"]["y"]["payload"]["properties"]["new"] = TEXT

    assert problems(CONTRACT, new) == []


@pytest.mark.parametrize(
    ("now", "expected"),
    [({}, "lists/l.json: removed"), ({"lists/l.json": thing()}, "lists/l.json.g: removed")],
)
def test_a_manifest_keeps_what_it_says(now: dict[str, Any], expected: str) -> None:
    new = {**{name: said for name, said in CONTRACT.items() if not name.startswith("lists/")}, **now}

    assert expected in problems(CONTRACT, new)
