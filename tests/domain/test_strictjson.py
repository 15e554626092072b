"""JSON is read exactly: what another program might read differently has a flaw.

Seen to fail: the count of colons left out; escapes of the colon not looked for; floats decoded as floats; the depth
counted one too far; the merge keeping only the last value; the token of a string without its end of input.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consent_ledger.domain import strictjson
from consent_ledger.domain.strictjson import Repeated, read, read_exactly

keys = st.text(st.sampled_from('ab:"\\/é\x7f😀'), max_size=3)
texts = st.text(":x", max_size=3)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(st.sampled_from('x:"\\/,{}[]é\n😀'), max_size=5)
)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=12
)


def flaw(raw: bytes) -> str | None:
    found = read(raw).flaw
    return found.reason if found else None


@given(
    documents, st.sampled_from([{}, {"ensure_ascii": False}, {"indent": 1}, {"ensure_ascii": False, "indent": "\t"}])
)
def test_both_ways_of_reading_agree(document: Any, style: dict[str, Any]) -> None:
    raw = json.dumps(document, **style).encode()

    assert read(raw) == read_exactly(raw)


@given(documents)
def test_what_is_in_order_is_read_as_it_is(document: Any) -> None:
    assert read(json.dumps(document).encode()) == (document, None)


@given(keys, documents, documents, st.sampled_from([json.dumps, json.JSONEncoder(ensure_ascii=False).encode]), texts)
@example(":", 1, 1, json.dumps, ":")
def test_a_repeated_key_is_always_found(
    key: str, first: Any, second: Any, dump: Callable[[Any], str], beside: str
) -> None:

    raw = f"{{{dump(key)}:{dump(first)},{dump(key + 'z')}:{dump(beside)},{dump(key)}:{dump(second)}}}".encode()

    assert flaw(raw) == "DUPLICATE_KEY"


@pytest.mark.parametrize(
    "raw",
    [b'{"a":1,"a":1}', b'{"a":"\\u003a","a":1}', b'{"b":"\\u003a","a":1,"a":2}',
     b'{"b":"\\u003A\\u003A","a":1,"a":"::"}', b'{"\\u003A":1,"a":1,"a":2}', b'[{"b":{"a":1,"\\u0061":2}}]',
     b'{"\\u003a":1,":":2}'],
)  # fmt: skip
def test_a_repeated_key_cannot_hide(raw: bytes) -> None:
    assert flaw(raw) == "DUPLICATE_KEY"


def test_a_repeated_key_keeps_all_its_values() -> None:
    value, _ = read(b'{"a":1,"a":[2],"a":3,"b":4}')

    assert value == {"a": [1, [2], 3], "b": 4}
    assert isinstance(value["a"], Repeated)


@pytest.mark.parametrize("text", ["1.0", "-0.10", "1e5", "1E400", "9" * 5000])
def test_a_number_that_is_no_integer_keeps_its_text(text: str) -> None:
    assert read(f'{{"a":{text}}}'.encode()) == ({"a": text}, None)


@pytest.mark.parametrize("number", [0, -1, 2**64, -(2**64), 10**4000])
def test_an_integer_is_exact(number: int) -> None:
    assert read(str(number).encode()) == (number, None)


def test_thirty_two_levels_are_read_and_one_more_is_cut() -> None:
    assert flaw(b"[" * 32 + b"]" * 32) is None
    assert read(b'{"a":' + b"[" * 31 + b'"deep"' + b"]" * 31 + b',"b":1}').flaw is None

    value, found = read(b'{"a":' + b"[" * 32 + b'"deep"' + b"]" * 32 + b',"b":1}')

    assert found is not None
    assert found.reason == "TOO_DEEP"
    assert value["b"] == 1
    assert "deep" not in json.dumps(value)


def test_brackets_in_strings_and_beside_each_other_are_not_depth() -> None:
    assert read(b'["' + b"[{" * 40 + b'"]').flaw is None
    assert read(b"[" + b",".join([b"[]"] * 100) + b"]").flaw is None


@pytest.mark.parametrize("depth", [100, 100_000])
def test_any_depth_is_survived(depth: int) -> None:
    assert flaw(b"[" * depth + b"]" * depth) == "TOO_DEEP"
    assert read(b'{"a":' * depth).value is None
    assert read(b"]" * depth).value is None


@pytest.mark.parametrize("tail", [b'"', b'\\"', b"\\", b"", b'"]'])
def test_a_string_without_end_is_read_in_one_pass(tail: bytes) -> None:
    assert flaw(b'["' + b'\\"' * 400_000 + tail) in {"NOT_JSON", None}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "NOT_JSON"), (b"{", "NOT_JSON"), (b"nonsense", "NOT_JSON"), (b"[1] 2", "NOT_JSON"), (b"NaN", "NOT_JSON"),
        (b"[Infinity]", "NOT_JSON"), (b"01", "NOT_JSON"), (b"{'a':1}", "NOT_JSON"), (b'"a\x00b"', "NOT_JSON"),
        (b'"\\ud800"', "SURROGATE"), (b'{"\\udc00x":1}', "SURROGATE"), (b'["a\\u0000b"]', "NUL"),
        (b'{"\\u0000":1}', "NUL"), (b'"\xff"', "NOT_UTF8"), (b'"\xed\xa0\x80"', "NOT_UTF8"),
        ("{}".encode("utf-16"), "NOT_UTF8"),
    ],
)  # fmt: skip
def test_what_is_wrong_has_a_name(raw: bytes, reason: str) -> None:
    assert flaw(raw) == reason


def test_an_escaped_backslash_before_u_is_no_escape() -> None:
    assert read(b'["\\\\u0000\\\\ud800"]') == (["\\u0000\\ud800"], None)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read(b'\xef\xbb\xbf{"a":1}') == ({"a": 1}, None)


def test_bytes_that_are_not_utf8_do_not_hide_the_rest() -> None:
    value, found = read(b'{"a":"caf\xe9","b":1}')

    assert (value["b"], found and found.reason) == (1, "NOT_UTF8")


@given(st.binary(max_size=60))
def test_no_bytes_are_too_strange(raw: bytes) -> None:
    reading = read(raw)

    assert reading.value is None or strictjson.read_exactly(raw) == reading
