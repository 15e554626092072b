"""JSON as an event needs it: exact numbers, no repeated keys, no NUL, no lone surrogates, not too deep.

Whoever reads a repeated key one way while another program reads it the other way has a wrong yes. The usual parsers
take the last one silently, so they are checked here: by counting colons, which costs next to nothing, and by an exact
reading wherever the counting could be deceived.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, NoReturn

import msgspec

from consent_ledger.domain.errors import Flaw

MAX_DEPTH: Final = 32

# Numbers with a fraction or an exponent keep their text: a float is not the same number everywhere.
_decode = msgspec.json.Decoder(float_hook=str).decode
_encode = msgspec.json.Encoder().encode

# Escapes of NUL and of the colon. Lone surrogates are refused by the decoder.
_HIDING = re.compile(rb"\\u00(?:00|3[aA])")
# A string (possibly cut off by the end, so that matching stays linear) or a bracket.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Repeated(list[Any]):
    """All the values that one key was given."""


class Reading(NamedTuple):
    """What was read. With a flaw, the value is what could be read all the same; None where nothing could."""

    value: Any
    flaw: Flaw | None


def read(raw: bytes, max_depth: int = MAX_DEPTH) -> Reading:
    """Read one JSON text (RFC 8259); never raises. Numbers that are no integers, or absurdly long, come as text."""
    # Where no colon hides in an escape, every string has as many colons in the text as in the value. So encoding the
    # value again gives the same number of colons, less at least one for every key that was dropped as repeated.
    if (b"\\" not in raw or not _HIDING.search(raw)) and raw.count(b"{") + raw.count(b"[") <= max_depth:
        try:
            value = _decode(raw)
            if _encode(value).count(b":") == raw.count(b":"):
                return Reading(value, None)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
    return read_exactly(raw, max_depth)


def read_exactly(raw: bytes, max_depth: int = MAX_DEPTH) -> Reading:
    """Do what `read` does, slowly: find out what is wrong, and save what can be read in spite of it."""
    flaws: list[Flaw] = []
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        flaws.append(Flaw("NOT_UTF8", f"byte {error.start} is not UTF-8"))
        text = raw.decode(errors="replace")
    shallow = _cut(text.removeprefix("\ufeff"), max_depth)
    if shallow is not None:
        flaws.append(Flaw("TOO_DEEP", f"nested deeper than {max_depth} levels"))
        text = shallow
    try:
        value = _parse(text.removeprefix("\ufeff"), flaws)
    except ValueError as error:
        place = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        return Reading(None, flaws[0] if flaws else Flaw("NOT_JSON", f"not JSON{place}"))
    flaws.extend(_unfit(value))
    return Reading(value, flaws[0] if flaws else None)


def _parse(text: str, flaws: list[Flaw]) -> Any:
    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = merge(pairs)
        if len(found) < len(pairs):
            flaws.append(Flaw("DUPLICATE_KEY", "a key is given more than once in one object"))
        return found

    decoder = json.JSONDecoder(object_pairs_hook=collect, parse_int=_int, parse_float=str, parse_constant=_refuse)
    return decoder.decode(text)


def merge(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of pairs; a key given more than once has all its values, as `Repeated`."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key not in found:
            found[key] = value
        elif isinstance(found[key], Repeated):
            found[key].append(value)
        else:
            found[key] = Repeated((found[key], value))
    return found


def every(value: Any) -> list[Any]:
    """List the values of a key, of which there is one if all is well."""
    return value if isinstance(value, Repeated) else [value]


def _int(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _cut(text: str, max_depth: int) -> str | None:
    """Put null for every value nested too deep; None if there is none. Needs no recursion, so any depth will do."""
    depth, start, kept = 0, 0, []
    for token in _TOKEN.finditer(text):
        bracket = token[0]
        if bracket in "[{":
            depth += 1
            if depth == max_depth + 1:
                kept.append(text[start : token.start()])
                start = len(text)
        elif bracket in "]}":
            if depth == max_depth + 1:
                kept.append("null")
                start = token.end()
            depth -= 1
    return "".join([*kept, text[start:]]) if kept else None


def _unfit(value: Any) -> Iterator[Flaw]:
    found = "".join(_strings(value))
    if "\x00" in found:
        yield Flaw("NUL", "a string contains a NUL character")
    if _SURROGATE.search(found):
        yield Flaw("SURROGATE", "a string contains a lone surrogate")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
