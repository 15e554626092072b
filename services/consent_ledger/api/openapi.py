"""What the OpenAPI document says of calls that read and write their bodies themselves."""

from typing import Any, Final

import msgspec

from consent_ledger.api.answers import Item, Several
from consent_ledger.api.body import JSON
from consent_ledger.api.decisions import Answered
from consent_ledger.api.lookup import Asked as Lookup
from consent_ledger.api.problems import MEDIA_TYPE
from consent_ledger.api.questions import Asked
from consent_ledger.domain.cloudevents import BATCH, STRUCTURED
from consent_ledger.domain.notices import Notice
from consent_ledger.domain.requests import Request as SubjectRequest

_PROBLEM: Final = {"description": "problem details (RFC 9457)", "content": {MEDIA_TYPE: {"schema": {"type": "object"}}}}
_KEY: Final = [{"name": "Authorization", "in": "header", "required": True, "schema": {"type": "string"},
                "description": "Bearer cl_<id>_<secret>"}]  # fmt: skip
_EVENT: Final = {"type": "object", "description": "a CloudEvent 1.0; the JSON Schemas of the event types describe it"}


def _schema(type_: Any) -> dict[str, Any]:
    """Give the JSON Schema of a struct with everything it refers to written out, for there is nothing recursive."""
    (schema,), components = msgspec.json.schema_components([type_], ref_template="{name}")

    def written_out(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return written_out(components[part["$ref"]])
            return {key: written_out(value) for key, value in part.items()}
        return [written_out(value) for value in part] if isinstance(part, list) else part

    found: dict[str, Any] = written_out(schema)
    return found


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": schema}}}


def _problems(*statuses: int) -> dict[str, Any]:
    return {str(status): _PROBLEM for status in statuses}


def _answered() -> dict[str, Any]:
    """Give the schema of an answer, whose two kinds of items are told apart by their members."""
    items = {"anyOf": [_schema(Item), _schema(Several)]}
    instant = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}
    return {
        "type": "object",
        "description": Answered.__doc__,
        "required": ["decisions", "known", "horizon"],
        "properties": {
            "decisions": {"type": "array", "items": items},
            "known": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "horizon": instant,
        },
    }


EVENTS: Final[dict[str, Any]] = {
    "summary": "Publish one event or a batch",
    "parameters": [
        *_KEY,
        {"name": "Prefer", "in": "header", "schema": {"type": "string"}, "description": "wait=N: wait for the ledger"},
    ],
    "requestBody": {
        "required": True,
        "content": {
            STRUCTURED: {"schema": _EVENT},
            BATCH: {"schema": {"type": "array", "items": _EVENT}},
            JSON: {"schema": {"type": "object", "description": "the data of an event whose attributes are headers"}},
        },
    },
    "responses": {
        "200": _json("what the ledger made of each event", {"type": "object"}),
        "202": _json("which events Kafka has", {"type": "object"}),
        **_problems(400, 401, 403, 413, 415, 422, 503),
    },
}
DECISIONS: Final[dict[str, Any]] = {
    "summary": "Ask whether addresses may be used",
    "parameters": [
        *_KEY,
        {
            "name": "explain",
            "in": "query",
            "schema": {"type": "boolean"},
            "description": "true: say of each answer why, and what would change it; at most 100 answers",
        },
    ],
    "requestBody": {"required": True, "content": {JSON: {"schema": _schema(Asked)}}},
    "responses": {
        "200": _json("the answers in the order of the questions", _answered()),
        **_problems(400, 401, 403, 413, 422, 503),
    },
}
LOOKUP: Final[dict[str, Any]] = {
    "summary": "Show a person's entries at one controller; the look is recorded first",
    "parameters": [
        *_KEY,
        {"name": "Prefer", "in": "header", "schema": {"type": "string"},
         "description": "wait=N: how long the ledger may take to record the look"},
    ],
    "requestBody": {"required": True, "content": {JSON: {"schema": _schema(Lookup)}}},
    "responses": {
        "200": _json("the entry that records the look, and what is shown", {"type": "object"}),
        **_problems(400, 401, 403, 404, 413, 422, 503),
    },
}  # fmt: skip
REGISTER: Final[dict[str, Any]] = {
    "summary": "Show the register in force and its versions",
    "parameters": _KEY,
    "responses": {"200": _json("the register", {"type": "object"}), **_problems(401, 503)},
}
REQUESTS: Final[dict[str, Any]] = {
    "summary": "List requests of subjects (Art. 15 to 22) with their last days, and recipients to tell (Art. 19)",
    "parameters": _KEY,
    "responses": {
        "200": _json(
            "the most pressing first",
            {
                "type": "object",
                "required": ["requests", "notices"],
                "properties": {
                    "requests": {"type": "array", "items": _schema(SubjectRequest)},
                    "notices": {"type": "array", "items": _schema(Notice)},
                },
            },
        ),
        **_problems(401, 403, 503),
    },
}
_PLACE: Final = [
    {"name": name, "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}}
    for name in ("shard", "position")
]
_NOTE: Final = {"content": {"text/plain": {"schema": {"type": "string"}}}}
ENTRY: Final[dict[str, Any]] = {
    "summary": "Show an entry of the ledger without what is personal, and its index in the log",
    "parameters": [*_KEY, *_PLACE],
    "responses": {"200": _json("the entry; index null while it is not sealed", {"type": "object"}),
                  **_problems(401, 403, 404, 503)},
}  # fmt: skip
PROOF: Final[dict[str, Any]] = {
    "summary": "Prove that an entry is in the log (C2SP tlog-proof)",
    "parameters": [*_KEY, *_PLACE],
    "responses": {"200": {"description": "the proof", **_NOTE}, **_problems(401, 403, 404, 503)},
}
CHECKPOINT: Final[dict[str, Any]] = {
    "summary": "Show the newest signed checkpoint of the log (C2SP tlog-checkpoint)",
    "responses": {"200": {"description": "a signed note", **_NOTE}, **_problems(404, 503)},
}
TILE: Final[dict[str, Any]] = {
    "summary": "Give a tile of hashes, or a bundle of entries (C2SP tlog-tiles)",
    "parameters": [{"name": "path", "in": "path", "required": True, "schema": {"type": "string"},
                    "description": "<level>/<number> or entries/<number>, and .p/<width> for a partial one"}],
    "responses": {"200": {"description": "the bytes", "content": {"application/octet-stream": {}}},
                  **_problems(404, 503)},
}  # fmt: skip
HEALTH: Final[dict[str, Any]] = {
    "summary": "Tell whether the process lives",
    "responses": {"200": _json("it does", {"type": "object"})},
}
READY: Final[dict[str, Any]] = {
    "summary": "Tell whether the service can be of use",
    "responses": {"200": _json("it can", {"type": "object"}), "503": _json("it cannot", {"type": "object"})},
}
