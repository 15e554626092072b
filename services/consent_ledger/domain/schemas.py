"""JSON Schemas of events and exports, and examples: `python -m consent_ledger.domain.schemas DIR` writes them."""

import json
import sys
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from consent_ledger.domain.access import Access, Portability
from consent_ledger.domain.catalogue import SHAPES
from consent_ledger.domain.cloudevents import JSON, Envelope
from consent_ledger.domain.consent_record import ConsentRecord
from consent_ledger.domain.examples import example
from consent_ledger.domain.reads import Reads
from consent_ledger.domain.suppression_proof import Suppression

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def event_schema(type: str) -> dict[str, Any]:
    """Describe the CloudEvent of one type in structured mode, data included."""
    (reference,), components = msgspec.json.schema_components([_message(type)], ref_template="#/$defs/{name}")
    message = components.pop(reference["$ref"].rpartition("/")[2])
    # An address there would stand in headers and logs.
    message["properties"]["subject"] = False
    return {"$schema": DIALECT, "$id": f"urn:consent-ledger:schema:event:{type}", **message, "$defs": components}


def _message(type: str) -> type[msgspec.Struct]:
    """Make the envelope whose data has the shape of this type."""
    narrowed: dict[str, Any] = {
        "type": Literal[type],
        "data": SHAPES[type],
        "datacontenttype": Literal[JSON] | None,
    }
    fields = [
        (field.name, narrowed.get(field.name, field.type), *(() if field.required else (field.default,)))
        for field in msgspec.structs.fields(Envelope)
    ]
    return msgspec.defstruct(f"{SHAPES[type].__name__}Event", fields, kw_only=True, namespace={"__doc__": type})


EXPORTS: Final[dict[str, type[msgspec.Struct]]] = {
    "access": Access, "portability": Portability, "consent": ConsentRecord, "suppression": Suppression,
    "reads": Reads,
}  # fmt: skip
"""What people are handed, by the name of its schema."""


def export_schema(name: str) -> dict[str, Any]:
    """Describe one export."""
    (reference,), components = msgspec.json.schema_components([EXPORTS[name]], ref_template="#/$defs/{name}")
    document = components.pop(reference["$ref"].rpartition("/")[2])
    return {"$schema": DIALECT, "$id": f"urn:consent-ledger:schema:export:{name}", **document, "$defs": components}


def files() -> Iterator[tuple[str, str]]:
    """Give path and text of every generated file."""
    for name in SHAPES:
        yield f"events/{name}.schema.json", _text(event_schema(name))
        yield f"examples/{name}.json", _text(example(name))
    for name in EXPORTS:
        yield f"exports/{name}.schema.json", _text(export_schema(name))


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def main(directory: str) -> None:
    """Write all files; the directories events, examples and exports must be there."""
    for path, text in files():
        with open(f"{directory}/{path}", "w", encoding="utf-8") as file:  # noqa: PTH123 - the domain knows no paths
            file.write(text)


if __name__ == "__main__":
    main(sys.argv[1])
