"""Which part of an event is personal: what the catalogue marks so, and everything it does not know.

The personal part is encrypted under a key per person and controller; the body stays readable for ever. Of a personal
field inside a group, and of grounds, the body says that it was there, because rules depend on it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import inspect

from consent_ledger.domain.catalogue import SHAPES
from consent_ledger.domain.cloudevents import Instant, utc
from consent_ledger.domain.event_parts import Fields

EXTRA: Final = "extra"
"""The name under which the personal part keeps fields that the catalogue does not know."""

_Object = dict[str, Any]
_Place = Callable[[Any, _Object, _Object, _Object], None]

# Where most fields go; told apart by identity, because this runs for every field of every event.
_BODY: Final = "body"
_PERSONAL: Final = "personal"

# The birth date stands under one name, wherever it was given.
_FLAT_NAMES: Final = {"age.birth_date": "birth_date"}
_NOTED: Final = frozenset({"grounds", "ground", "reason"})


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where each field of one type of event goes, and which fields refer to other events."""

    fields: dict[str, str | _Place]
    references: tuple[str, ...]


def split(data: Mapping[str, Any], places: Places) -> tuple[_Object, _Object]:
    """Part the checked data of an event into body and personal fields. Null is the same as not given."""
    body: _Object = {}
    personal: _Object = {}
    extra: _Object = {}
    find = places.fields.get
    for name, value in data.items():
        if value is None:
            continue
        place = find(name)
        if place is _BODY:
            body[name] = value
        elif place is _PERSONAL:
            personal[name] = value
        elif callable(place):
            place(value, body, personal, extra)
        else:
            extra[name] = value
    if extra:
        personal[EXTRA] = extra
    return body, personal


def references(body: Mapping[str, Any], places: Places) -> tuple[UUID, ...]:
    """List the events that this one refers to."""
    # Most types refer to nothing, and this is asked of every entry.
    return tuple([UUID(body[name]) for name in places.references if name in body]) if places.references else ()


# -- tables, made once from the catalogue


def _places(shape: type[Fields]) -> Places:
    info = inspect.type_info(shape)
    assert isinstance(info, inspect.StructType)  # noqa: S101 - narrows for the type checker
    fields = {field.encode_name: _place(field.encode_name, field.type) for field in info.fields}
    refers = (field.encode_name for field in info.fields if isinstance(field.type, inspect.UUIDType))
    return Places(fields=fields, references=tuple(refers))


def _place(name: str, kind: inspect.Type) -> str | _Place:
    leaves = list(_leaves(kind))
    if any(personal for _, personal in leaves):
        return _numbers if name == "numbers" else _noted(name) if name in _NOTED else _PERSONAL
    for leaf, _ in leaves:
        if isinstance(leaf, inspect.StructType):
            return _group(name, leaf)
        if isinstance(leaf, inspect.UUIDType):
            return _canonical(name, lambda value: str(msgspec.convert(value, UUID)))
        if isinstance(leaf, inspect.DateTimeType):
            return _canonical(name, lambda value: msgspec.to_builtins(utc(msgspec.convert(value, Instant))))
    return _BODY


def _leaves(kind: inspect.Type, *, personal: bool = False) -> Iterator[tuple[inspect.Type, bool]]:
    if isinstance(kind, inspect.UnionType):
        for part in kind.types:
            yield from _leaves(part, personal=personal)
    elif isinstance(kind, inspect.Metadata):
        yield from _leaves(kind.type, personal=personal or bool((kind.extra or {}).get("personal")))
    else:
        yield kind, personal


def _canonical(name: str, form: Callable[[Any], Any]) -> _Place:
    """Place a value that can be written in several ways in one of them."""

    def place(value: Any, body: _Object, _personal: _Object, _extra: _Object) -> None:
        body[name] = form(value)

    return place


def _noted(name: str) -> _Place:
    """Place a personal text whose presence the body notes."""

    def place(value: Any, body: _Object, personal: _Object, _extra: _Object) -> None:
        personal[name] = value
        if value:
            body[name] = True

    return place


def _numbers(value: Any, body: _Object, personal: _Object, _extra: _Object) -> None:
    personal["numbers"] = value
    body["numbers"] = len(value)


def _group(name: str, info: inspect.StructType) -> _Place:
    """Place a group of fields: what is personal in it stands apart, and the body notes that it was there."""
    inner = {field.encode_name: _place(field.encode_name, field.type) for field in info.fields}
    flat = {key: _FLAT_NAMES.get(f"{name}.{key}", f"{name}.{key}") for key in inner}

    def place(value: Any, body: _Object, personal: _Object, extra: _Object) -> None:
        group: _Object = {}
        unknown: _Object = {}
        for key, item in value.items():
            if item is None:
                continue
            where = inner.get(key)
            if where is _BODY:
                group[key] = item
            elif where is None:
                unknown[key] = item
            elif item:
                personal[flat[key]] = item
                group[key] = True
        body[name] = group
        if unknown:
            extra[name] = unknown

    return place


PLACES: Final[dict[str, Places]] = {name: _places(shape) for name, shape in SHAPES.items()}
