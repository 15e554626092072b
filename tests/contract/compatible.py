"""Says what in a new contract would break somebody who relies on the old one: pure, over the documents as data.

What we read may only grow: every message that was accepted is accepted. What we send may only get more exact: every
message is one that was promised, with every member that there was. Of a schema's words those are compared that the
generators use; an unknown word that differs is reported, so that nothing passes unlooked at.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

Direction = Literal["in", "out"]
Files = Mapping[str, Any]

_TALK = frozenset({"title", "description", "examples", "default", "$schema", "$id", "$defs", "summary", "x-personal"})
_AT_MOST = ("maxLength", "maximum", "maxItems", "exclusiveMaximum", "maxProperties")
_AT_LEAST = ("minLength", "minimum", "minItems", "exclusiveMinimum", "minProperties")
_SAME = ("pattern", "format", "contentEncoding")
_COMPARED = frozenset(
    {"type", "enum", "const", "anyOf", "properties", "required", "additionalProperties", "items", "prefixItems",
     *_AT_MOST, *_AT_LEAST, *_SAME}
)  # fmt: skip


def problems(old: Files, new: Files) -> list[str]:
    """List everything that breaks somebody; `old` and `new` are whole contracts by the names of their files."""
    return [
        *(f"http {problem}" for problem in _http(old["openapi.json"], new["openapi.json"])),
        *(f"topic {problem}" for problem in _topics(old, new)),
        *(problem for name in old if name.startswith("lists/") for problem in _list(name, old, new)),
    ]


def _list(name: str, old: Files, new: Files) -> Iterator[str]:
    """Compare what is handed out beside a list."""
    if name not in new:
        yield f"{name}: removed"
    else:
        yield from schema(old[name], new[name], "out", name)


# -- OpenAPI


def _http(old: Any, new: Any) -> Iterator[str]:
    for path, calls in old["paths"].items():
        for method, call in calls.items():
            name = f"{method.upper()} {path}"
            now = new["paths"].get(path, {}).get(method)
            if now is None:
                yield f"{name}: removed"
            else:
                yield from (f"{name}: {problem}" for problem in _call(call, now))
    for name, said in old.get("webhooks", {}).items():
        there = new.get("webhooks", {}).get(name)
        if there is None:
            yield f"webhook {name}: removed"
        else:
            before, now = (one["post"]["requestBody"]["content"] for one in (said, there))
            yield from (f"webhook {name}: {problem}" for problem in _contents(before, now, "out", "body"))


def _call(old: Any, new: Any) -> Iterator[str]:
    yield from _parameters(old.get("parameters", []), new.get("parameters", []))
    if new.get("security", []) != old.get("security", []):
        yield "security changed"
    body, now = old.get("requestBody"), new.get("requestBody")
    if body is None and now is not None and now.get("required"):
        yield "a body is now required"
    if body is not None:
        if now is None:
            yield "the body was removed"
        else:
            if now.get("required") and not body.get("required"):
                yield "a body is now required"
            yield from _contents(body["content"], now["content"], "in", "body")
    for status, response in old["responses"].items():
        answer = new["responses"].get(status)
        if status.startswith("2") and answer is None:
            yield f"{status}: removed"
        elif answer is not None:
            yield from _contents(response.get("content", {}), answer.get("content", {}), "out", status)


def _parameters(old: Any, new: Any) -> Iterator[str]:
    before = {(one["in"], one["name"]): one for one in old}
    now = {(one["in"], one["name"]): one for one in new}
    yield from (f"parameter {name}: removed" for place, name in before if (place, name) not in now)
    for key, one in now.items():
        was_required = before.get(key, {}).get("required", False)
        if one.get("required", False) and not was_required:
            yield f"parameter {key[1]}: now required"
        if key in before:
            yield from schema(before[key]["schema"], one["schema"], "in", f"parameter {key[1]}")


def _contents(old: Any, new: Any, direction: Direction, place: str) -> Iterator[str]:
    for media, content in old.items():
        if media not in new:
            yield f"{place}: {media} removed"
        else:
            yield from schema(content.get("schema", True), new[media].get("schema", True), direction, place)


# -- AsyncAPI


def _topics(old: Files, new: Files) -> Iterator[str]:
    before, now = old["asyncapi.json"], new["asyncapi.json"]
    actions = {one["channel"]["$ref"].rpartition("/")[2]: one["action"] for one in before["operations"].values()}
    kept = {one["channel"]["$ref"].rpartition("/")[2]: one["action"] for one in now["operations"].values()}
    for name, channel in before["channels"].items():
        there = now["channels"].get(name)
        if there is None:
            yield f"{name}: removed"
            continue
        if there["address"] != channel["address"]:
            yield f"{name}: another address"
        if kept.get(name) != actions.get(name):
            yield f"{name}: another direction"
        direction: Direction = "in" if actions.get(name) == "receive" else "out"
        for message, said in channel["messages"].items():
            place = f"{name}/{message}"
            if message not in there["messages"]:
                yield f"{place}: removed"
            else:
                yield from _message(said, there["messages"][message], direction, place, old, new)


def _message(old: Any, new: Any, direction: Direction, place: str, old_files: Files, new_files: Files) -> Iterator[str]:
    if old.get("contentType") != new.get("contentType"):
        yield f"{place}: another content type"
    if old.get("bindings", {}).get("kafka", {}).get("key") != new.get("bindings", {}).get("kafka", {}).get("key"):
        yield f"{place}: another key"
    yield from schema(old.get("headers", True), new.get("headers", True), direction, f"{place} headers")
    was, now = _payload(old["payload"], old_files), _payload(new["payload"], new_files)
    yield from schema(was, now, direction, place)


def _payload(payload: Any, files: Files) -> Any:
    if isinstance(payload, dict) and "$ref" in payload:
        found = files[payload["$ref"]]
        return written_out(found, found.get("$defs", {}))
    return payload


def written_out(part: Any, definitions: Mapping[str, Any]) -> Any:
    """Put every definition where it is referred to; nothing here is recursive."""
    if isinstance(part, dict):
        if "$ref" in part:
            return written_out(definitions[part["$ref"].rpartition("/")[2]], definitions)
        return {key: written_out(value, definitions) for key, value in part.items() if key != "$defs"}
    return [written_out(one, definitions) for one in part] if isinstance(part, list) else part


# -- JSON Schema


def schema(old: Any, new: Any, direction: Direction, place: str) -> Iterator[str]:
    """Compare a schema that was promised with the one that is there now."""
    if direction == "in":
        yield from _fits(old, new, direction, place)
    else:
        yield from _fits(new, old, direction, place)


def _fits(small: Any, large: Any, direction: Direction, place: str) -> Iterator[str]:
    """Say why something that `small` allows might not be allowed by `large`."""
    small, large = _plain(small), _plain(large)
    if small is False or large is True:
        return
    if large is False or small is True:
        yield f"{place}: {'no longer accepted' if direction == 'in' else 'no longer as promised'}"
        return
    wanted = _alternatives(large)
    for alternative in _alternatives(small):
        tries = [list(_one_fits(alternative, one, direction, place)) for one in wanted]
        if all(tries):
            # The alternative that is nearest says best what is wrong.
            yield from min(tries, key=lambda found: (len(found), found))


def _plain(said: Any) -> Any:
    """Leave out what says nothing to a machine; an empty schema allows everything."""
    if not isinstance(said, dict):
        return said
    return {key: value for key, value in said.items() if key not in _TALK} or True


def _alternatives(said: Any) -> list[Any]:
    if "anyOf" in said:
        rest = {key: value for key, value in said.items() if key != "anyOf"}
        return [{**rest, **_as_object(deeper)} for one in said["anyOf"] for deeper in _alternatives(_as_object(one))]
    if isinstance(said.get("type"), list):
        return [{**said, "type": one} for one in said["type"]]
    return [said]


def _as_object(said: Any) -> dict[str, Any]:
    plain = _plain(said)
    return plain if isinstance(plain, dict) else {} if plain else {"enum": []}


def _one_fits(small: Any, large: Any, direction: Direction, place: str) -> Iterator[str]:
    if "type" in large and _type(small) != large["type"] and (_type(small), large["type"]) != ("integer", "number"):
        yield f"{place}: type"
        return
    yield from _values(small, large, place)
    yield from _bounds(small, large, place)
    yield from _members(small, large, direction, place)
    if "items" in large:
        yield from _fits(small.get("items", True), large["items"], direction, f"{place}[]")
    if small.get("prefixItems") != large.get("prefixItems"):
        yield f"{place}: items"
    for word in sorted((small.keys() | large.keys()) - _COMPARED - _TALK):
        if small.get(word) != large.get(word):
            yield f"{place}: {word}, which is not compared"


def _type(said: Any) -> Any:
    if "type" in said:
        return said["type"]
    values = _allowed(said)
    return "string" if values and all(isinstance(one, str) for one in values) else None


def _allowed(said: Any) -> list[Any] | None:
    return [said["const"]] if "const" in said else said.get("enum")


def _values(small: Any, large: Any, place: str) -> Iterator[str]:
    may = _allowed(large)
    if may is not None:
        said = _allowed(small)
        if said is None or any(one not in may for one in said):
            yield f"{place}: values"


def _bounds(small: Any, large: Any, place: str) -> Iterator[str]:
    for word in _AT_MOST:
        if word in large and (word not in small or small[word] > large[word]):
            yield f"{place}: {word}"
    for word in _AT_LEAST:
        if large.get(word, 0) and (word not in small or small[word] < large[word]):
            yield f"{place}: {word}"
    for word in _SAME:
        if word in large and small.get(word) != large[word] and _allowed(small) is None:
            yield f"{place}: {word}"


def _members(small: Any, large: Any, direction: Direction, place: str) -> Iterator[str]:
    mine, theirs = small.get("properties", {}), large.get("properties", {})
    for name in large.get("required", []):
        if name not in small.get("required", []):
            yield f"{place}.{name}: {'now required' if direction == 'in' else 'no longer always there'}"
    for name, said in mine.items():
        if name in theirs:
            yield from _fits(said, theirs[name], direction, f"{place}.{name}")
        elif direction == "in" and said is not False:
            # Also where others are let pass: what was read is read no more.
            yield f"{place}.{name}: removed"
    if direction == "out":
        yield from (f"{place}.{name}: removed" for name in theirs if name not in mine)
    yield from _others(small, large, direction, place)


def _others(small: Any, large: Any, direction: Direction, place: str) -> Iterator[str]:
    """Compare what is said of members that have no name; a reader takes no notice of those that are new to it."""
    mine, theirs = small.get("additionalProperties", True), large.get("additionalProperties", True)
    if isinstance(theirs, dict) or (direction == "in" and theirs is False and mine is not False):
        yield from _fits(mine, theirs, direction, f"{place}.*")
