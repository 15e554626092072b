"""The AsyncAPI 3.0 document: every topic with its key, its messages, and who sends them."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from consent_ledger.domain import published
from consent_ledger.domain.acks import Ack
from consent_ledger.domain.catalogue import CONTROL_TYPES, SHAPES
from consent_ledger.domain.cloudevents import STRUCTURED
from consent_ledger.domain.suppression import CALL_REGISTER, PURPOSES, TYPES, WATERMARK_KEY
from consent_ledger.runtime import topics

_JSON: Final = "application/json"
_BYTES: Final = "application/octet-stream"
_PREFIX: Final = "{prefix}"
_TITLES: Final = {
    "events": "What publishers say: CloudEvents 1.0, structured or binary",
    "control": "Registers, loaded by an operator: one partition, one order",
    "rejected": "Every record that was not accepted, as it came, with the reason in its headers",
    "suppressions": "The decisions about every address, and how far they go",
    "changes": "What was learnt of each person, without what is personal, and the decisions that changed by it",
    "acks": "Up to where each copy of a consumer has applied the suppressions",
    "checkpoints": "The newest signed checkpoint of the Merkle log",
}
_ADDRESS_KEY: Final = f"^.+/({'|'.join(TYPES)})/[0-9a-f]{{64}}$"
_RECORDS: Final[Mapping[str, tuple[type[msgspec.Struct], dict[str, Any]]]] = {
    "address": (published.AddressRecord, {"type": "string", "pattern": _ADDRESS_KEY}),
    "purposes": (published.PurposesRecord, {"type": "string", "pattern": f"^{PURPOSES}/.+$"}),
    "dnc": (published.CallRegisterRecord, {"type": "string", "pattern": f"^{CALL_REGISTER}/.+$"}),
    "watermark": (published.WatermarkRecord, {"type": "string", "const": WATERMARK_KEY.decode()}),
}
_TEXT: Final = {"type": "string"}
_REJECTED_HEADERS: Final = {
    "type": "object",
    "required": [f"consent-{name}" for name in ("reason", "detail", "topic", "partition", "offset")],
    "properties": {
        "consent-reason": {"type": "string", "description": "why it was not accepted"},
        "consent-detail": {"type": "string", "description": "what was wrong, and no value of the record"},
        "consent-topic": _TEXT,
        "consent-partition": {"type": "string", "pattern": "^[0-9]+$"},
        "consent-offset": {"type": "string", "pattern": "^[0-9]+$"},
        "consent-entry": {
            "type": "string",
            "pattern": "^[0-9]+/[0-9]+$",
            "description": "shard and position of the entry that suppresses all the same",
        },
        "consent-omitted": {"type": "string", "description": "what did not fit, and is in the quarantine only"},
    },
}


def document() -> dict[str, Any]:
    """Make the document. Schemas of events are the files beside it."""
    declared = topics.declared(_PREFIX, 1)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Consent ledger",
            "version": "1",
            "description": "Topics of the consent ledger. What is sent, the ledger sends; what is received, it reads.",
        },
        "defaultContentType": _JSON,
        "channels": {topic.name.removeprefix(_PREFIX): _channel(topic) for topic in declared},
        "operations": {
            "readEvents": _operation("receive", "events"),
            "readControl": _operation("receive", "control"),
            "publishRejected": _operation("send", "rejected"),
            "publishSuppressions": _operation("send", "suppressions"),
            "publishChanges": _operation("send", "changes"),
            "readAcks": _operation("receive", "acks"),
            "publishCheckpoints": _operation("send", "checkpoints"),
        },
    }


def _operation(action: str, channel: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "title": _TITLES[channel]}


def _channel(topic: topics.Topic) -> dict[str, Any]:
    name = topic.name.removeprefix(_PREFIX)
    return {
        "address": topic.name,
        "title": _TITLES[name],
        "parameters": {"prefix": {"default": "consent.", "description": "the setting CONSENT_TOPIC_PREFIX"}},
        "messages": _messages(name),
        "bindings": {"kafka": {"topicConfiguration": _configuration(topic.config), "bindingVersion": "0.5.0"}},
    }


def _configuration(config: Mapping[str, str]) -> dict[str, Any]:
    """Give the settings of a topic that the Kafka binding knows."""
    figures = ("retention.ms", "retention.bytes", "delete.retention.ms", "max.message.bytes")
    return {
        "cleanup.policy": config["cleanup.policy"].split(","),
        **{name: int(config[name]) for name in figures if name in config},
    }


def _messages(channel: str) -> dict[str, Any]:
    if channel == "suppressions":
        return {name: _record(shape, key) for name, (shape, key) in _RECORDS.items()}
    if channel == "changes":
        return {"change": _record(published.ChangeRecord, {"type": "string", "pattern": "^.+/[0-9]+$"})}
    if channel == "acks":
        return {"ack": _record(Ack, {"type": "string", "pattern": "^[^/]+/[^/]+/[0-9]+$"})}
    if channel == "checkpoints":
        return {
            "checkpoint": {
                "contentType": "text/plain",
                "summary": "A signed note (C2SP tlog-checkpoint)",
                "payload": _TEXT,
                "bindings": {"kafka": {"key": _TEXT, "bindingVersion": "0.5.0"}},
            }
        }
    if channel == "rejected":
        return {"record": {"contentType": _BYTES, "headers": _REJECTED_HEADERS, "payload": True}}
    return {type_: _event(type_) for type_ in SHAPES if (type_ in CONTROL_TYPES) == (channel == "control")}


def _event(type_: str) -> dict[str, Any]:
    """Describe an event; its key is any stable key of the person, and decides the partition alone."""
    return {
        "contentType": STRUCTURED,
        "payload": {"$ref": f"events/{type_}.schema.json"},
        "examples": [{"payload": {"$ref": f"examples/{type_}.json"}}],
    }


def _record(shape: type[msgspec.Struct], key: dict[str, Any]) -> dict[str, Any]:
    return {
        "contentType": _JSON,
        "summary": (shape.__doc__ or "").partition("\n")[0],
        "bindings": {"kafka": {"key": key, "bindingVersion": "0.5.0"}},
        "payload": written_out(shape),
    }


def written_out(type_: Any) -> dict[str, Any]:
    """Give the JSON Schema of a struct with everything it refers to written out, for there is nothing recursive."""
    (schema,), components = msgspec.json.schema_components([type_], ref_template="{name}")

    def whole(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return whole(components[part["$ref"]])
            return {key: whole(value) for key, value in part.items()}
        return [whole(value) for value in part] if isinstance(part, list) else part

    found: dict[str, Any] = whole(schema)
    return found
