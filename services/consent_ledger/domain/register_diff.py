"""What is different between two registers, field by field."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from consent_ledger.domain.register import PARTS

_MISSING = object()


class Change(NamedTuple):
    """One difference. `field` None: the whole thing was added or removed.

    `part` is controllers, purposes, sources or dnc_registers; a purpose is named controller/id.
    """

    part: str
    name: str
    what: Literal["added", "removed", "changed"]
    field: str | None
    before: Any
    after: Any


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """Find what a register adds to another, removes from it and changes in it, in the order of names."""
    for part in ("controllers", "purposes", *PARTS[1:]):
        old, new = _named(before, part), _named(after, part)
        for name in sorted(old.keys() | new.keys()):
            if name not in old:
                yield Change(part, name, "added", None, None, new[name])
            elif name not in new:
                yield Change(part, name, "removed", None, old[name], None)
            else:
                yield from (Change(part, name, "changed", *field) for field in _fields(old[name], new[name]))


def _named(document: Mapping[str, Any], part: str) -> dict[str, Any]:
    if part == "purposes":
        return {f"{one.get('controller')}/{one.get('id')}": one for one in document.get(part, ())}
    return dict(document.get(part, {}))


def _fields(before: Any, after: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Find the fields of two objects that differ; those of nested objects are named with dots. Absent is None."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        if before != after:
            yield prefix, before, after
        return
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, _MISSING), after.get(name, _MISSING)
        path = f"{prefix}.{name}" if prefix else name
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _fields(old, new, path)
        elif old != new:
            yield path, None if old is _MISSING else old, None if new is _MISSING else new
