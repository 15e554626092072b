"""What the OpenAPI document says of calls that read and write their bodies themselves."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from consent_ledger.api.answers import Item, Several
from consent_ledger.api.body import JSON
from consent_ledger.api.changes import Answered as Changed
from consent_ledger.api.changes import Asked as AskedChanges
from consent_ledger.api.confirmations import Answered as Confirmation
from consent_ledger.api.confirmations import Asked as AskedToConfirm
from consent_ledger.api.decisions import Answered
from consent_ledger.api.lookup import Asked as Lookup
from consent_ledger.api.lookup import Look, Shown
from consent_ledger.api.problems import MEDIA_TYPE
from consent_ledger.api.questions import Asked
from consent_ledger.domain.cloudevents import BATCH, STRUCTURED
from consent_ledger.domain.notices import Notice
from consent_ledger.domain.requests import Request as SubjectRequest
from consent_ledger.runtime import webhooks
from consent_ledger.runtime.asyncapi import written_out

_PROBLEM_SCHEMA: Final = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "urn:consent-ledger:problem:<code>"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "index": {"type": "integer", "description": "the question or event that is wrong"},
    },
}
_PROBLEM: Final = {"description": "problem details (RFC 9457)", "content": {MEDIA_TYPE: {"schema": _PROBLEM_SCHEMA}}}
_SCHEME: Final = {"type": "http", "scheme": "bearer", "description": "an API key, cl_<id>_<secret>"}
_KEY: Final = [{"name": "Authorization", "in": "header", "required": True, "schema": {"type": "string"}}]
_EVENT: Final = {"type": "object", "description": "a CloudEvent 1.0; the JSON Schemas of the event types describe it"}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": schema}}}


def _problems(*statuses: int) -> dict[str, Any]:
    return {str(status): _PROBLEM for status in statuses}


def _answered() -> dict[str, Any]:
    """Give the schema of an answer, whose two kinds of items are told apart by their members."""
    items = {"anyOf": [written_out(Item), written_out(Several)]}
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


def document(app: FastAPI) -> dict[str, Any]:
    """Describe all calls. Of a header Authorization readers take no notice (OpenAPI 3.1), so it is said as security."""
    made = get_openapi(title=app.title, version=app.version, routes=app.routes)
    for call in (call for calls in made["paths"].values() for call in calls.values()):
        parameters = call.get("parameters", [])
        if any(one["name"] == "Authorization" for one in parameters):
            call["parameters"] = [one for one in parameters if one["name"] != "Authorization"]
            call["security"] = [{"key": []}]
    made.setdefault("components", {})["securitySchemes"] = {"key": _SCHEME}
    made["webhooks"] = webhooks.document()
    return made


def _members(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_ID: Final = {"type": "string", "format": "uuid"}
_INSTANT: Final = {"type": "string", "format": "date-time"}
_COUNT: Final = {"type": "integer", "minimum": 0}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_RESULT: Final = _members(
    id=_or_null(_ID),
    status={"enum": ["entry", "duplicate", "rejected"]},
    shard=_or_null(_COUNT),
    position=_or_null(_COUNT),
    recorded_at=_or_null(_INSTANT),
    reason=_or_null({"type": "string"}),
)
_TAKEN: Final = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": _ID, "warning": {"type": "string", "description": "recorded, but somebody should look"}},
}
_RECEIPT: Final = _members(
    accepted=_list(_TAKEN),
    rejected=_list(_members(index=_COUNT, id=_or_null(_ID), problem={"type": "object"})),
)
_READY: Final = _members(
    ready={"type": "boolean"},
    checks=_members(
        kafka={"type": "boolean"},
        database={"type": "boolean"},
        register={"type": "boolean"},
        horizon_age_s=_or_null({"type": "number"}),
    ),
)

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
        "200": _json("what the ledger made of each event, in order", _members(results=_list(_RESULT))),
        "202": _json("which events Kafka has", _RECEIPT),
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
            "description": "true: say of each answer why, and what would change it; at most 100 answers. The body "
            "gives a reason, and the look at what is on record is recorded first",
        },
    ],
    "requestBody": {"required": True, "content": {JSON: {"schema": written_out(Asked)}}},
    "responses": {
        "200": _json("the answers in the order of the questions", _answered()),
        **_problems(400, 401, 403, 413, 422, 503),
    },
}
CHANGES: Final[dict[str, Any]] = {
    "summary": "List the addresses whose decisions changed since a cursor",
    "parameters": _KEY,
    "requestBody": {"required": True, "content": {JSON: {"schema": written_out(AskedChanges)}}},
    "responses": {
        "200": _json("what changed, and where to go on", written_out(Changed)),
        **_problems(400, 401, 403, 409, 413, 422, 503),
    },
}
CONFIRMATIONS: Final[dict[str, Any]] = {
    "summary": "Ask whether the one mail that asks an address to confirm a consent may be sent",
    "parameters": _KEY,
    "requestBody": {"required": True, "content": {JSON: {"schema": written_out(AskedToConfirm)}}},
    "responses": {"200": _json("yes or no", written_out(Confirmation)), **_problems(400, 401, 403, 413, 422, 503)},
}
LOOKUP: Final[dict[str, Any]] = {
    "summary": "Show a person's entries at one controller; the look is recorded first",
    "parameters": [
        *_KEY,
        {"name": "Prefer", "in": "header", "schema": {"type": "string"},
         "description": "wait=N: how long the ledger may take to record the look"},
    ],
    "requestBody": {"required": True, "content": {JSON: {"schema": written_out(Lookup)}}},
    "responses": {
        "200": _json(
            "the entry that records the look, and what is shown",
            _members(look=written_out(Look), shown=written_out(Shown)),
        ),
        **_problems(400, 401, 403, 404, 413, 422, 503),
    },
}  # fmt: skip
REGISTER: Final[dict[str, Any]] = {
    "summary": "Show the register in force and its versions",
    "parameters": _KEY,
    "responses": {
        "200": _json(
            "the register",
            {
                "type": "object",
                "required": ["version", "register", "versions", "scheduled"],
                "properties": {
                    "version": _COUNT,
                    "register": {"type": "object"},
                    "versions": _list({"type": "object"}),
                    "scheduled": _list({"type": "object"}),
                },
            },
        ),
        **_problems(401, 503),
    },
}
REQUESTS: Final[dict[str, Any]] = {
    "summary": "List requests of subjects (Art. 15 to 22) with their last days, and recipients to tell (Art. 19)",
    "parameters": _KEY,
    "responses": {
        "200": _json(
            "the most pressing first",
            {
                "type": "object",
                "required": ["requests", "notices", "more"],
                "properties": {
                    "requests": {"type": "array", "items": written_out(SubjectRequest)},
                    "notices": {"type": "array", "items": written_out(Notice)},
                    "more": {
                        "type": "boolean",
                        "description": "there are withdrawals of which nobody was told, not listed",
                    },
                },
            },
        ),
        **_problems(401, 403, 503),
    },
}
_TOKEN: Final = [{"name": "token", "in": "path", "required": True, "schema": {"type": "string"},
                 "description": "as it stands in the List-Unsubscribe header of the mail"}]  # fmt: skip
_PAGES: Final[dict[str, Any]] = {
    status: {"description": description, "content": {"text/html": {"schema": {"type": "string"}}}}
    for status, description in (
        ("200", "a page in the reader's language"),
        ("404", "no such token"),
        ("503", "nothing was changed; try again after Retry-After"),
    )
}
UNSUBSCRIBE_PAGE: Final[dict[str, Any]] = {
    "summary": "Show the page with which to unsubscribe; changes nothing",
    "parameters": _TOKEN,
    "responses": _PAGES,
}
UNSUBSCRIBE: Final[dict[str, Any]] = {
    "summary": "Unsubscribe at once (RFC 8058); no key, no cookie, no redirect",
    "parameters": _TOKEN,
    "requestBody": {
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {"type": "object", "properties": {"List-Unsubscribe": {"const": "One-Click"}}}
            }
        },
    },
    "responses": _PAGES,
}
_PLACE: Final = [
    {"name": name, "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}}
    for name in ("shard", "position")
]
_NOTE: Final = {"content": {"text/plain": {"schema": {"type": "string"}}}}
_HEX: Final = {"type": "string", "pattern": "^[0-9a-f]*$"}
_ENTRY: Final = _members(
    event_id=_ID, type={"type": "string"}, shard=_COUNT, position=_COUNT, occurred_at=_INSTANT, recorded_at=_INSTANT,
    offset=_COUNT, register_version=_COUNT, body={"type": "string"}, commitment=_HEX, tags=_list(_HEX), leaf_hash=_HEX,
    index=_or_null(_COUNT),
)  # fmt: skip
ENTRY: Final[dict[str, Any]] = {
    "summary": "Show an entry of the ledger without what is personal, and its index in the log",
    "parameters": [*_KEY, *_PLACE],
    "responses": {"200": _json("the entry; index null while it is not sealed", _ENTRY),
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
    "responses": {"200": _json("it does", _members(status={"const": "ok"}))},
}
READY: Final[dict[str, Any]] = {
    "summary": "Tell whether the service can be of use",
    "responses": {"200": _json("it can", _READY), "503": _json("it cannot", _READY)},
}
