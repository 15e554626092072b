"""Nothing that comes stops the ledger, no malformed refusal is dropped, and no reason tells what it was about.

Seen to fail: the five refusals taken for R events in general; the synthetic objection keeping the purposes; its time
taken from the clock; fifty-one identifiers bound; the id of a refusal without one made at random; the catch-all around
`decode` removed together with a fault put into `_event`; the value of a field quoted in the detail.
"""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_ledger.domain import events
from consent_ledger.domain.catalogue import KINDS
from consent_ledger.domain.events import FIVE_REFUSALS, Event, Rejection
from consent_ledger.domain.examples import example
from consent_ledger.domain.identifiers import Identifier
from consent_ledger.domain.leaf import micros
from domain.messages import ID, Verdict, accepted, consent, decode, message, refusal, rejected, synthetic, values

SECRET = "s3cret.person@example.com"
MANY = [{"type": "email", "value": f"an{number}@example.be"} for number in range(10_000)]
DEEP = json.loads("[" * 40 + "]" * 40)


def raw(said: Any) -> bytes:
    return json.dumps(said, ensure_ascii=False).encode()


# What can be wrong with any event: how it is done to a good one, and the reason it gets.
HOSTILE: list[tuple[str, Any, str]] = [
    ("a missing id", lambda e: raw({k: v for k, v in e.items() if k != "id"}), "MISSING_ID"),
    ("an id that is no UUID", lambda e: raw({**e, "id": "order-1"}), "BAD_ID"),
    ("an id that is a number", lambda e: raw({**e, "id": 1}), "BAD_ID"),
    ("a time without zone", lambda e: raw({**e, "time": "2026-03-01T09:00:00"}), "BAD_TIME"),
    ("no time", lambda e: raw({k: v for k, v in e.items() if k != "time"}), "BAD_TIME"),
    ("a time that is none", lambda e: raw({**e, "time": 1772355600}), "BAD_TIME"),
    ("no source", lambda e: raw({k: v for k, v in e.items() if k != "source"}), "NOT_CLOUDEVENT"),
    ("a subject attribute", lambda e: raw({**e, "subject": "an@example.be"}), "SUBJECT_ATTRIBUTE"),
    ("numbers as strings", lambda e: raw({**e, "data": {**e["data"], "schema_version": "1"}}), "BAD_FIELD"),
    ("purposes as a word", lambda e: raw({**e, "data": {**e["data"], "purposes": "newsletter-email"}}), "BAD_FIELD"),
    ("an unknown scope", lambda e: raw({**e, "data": {**e["data"], "controller_scope": "Group"}}), "BAD_FIELD"),
    ("10,000 identifiers", lambda e: raw({**e, "data": {**e["data"], "subject": MANY}}), "TOO_MANY_IDENTIFIERS"),
    ("51 identifiers", lambda e: raw({**e, "data": {**e["data"], "subject": MANY[:51]}}), "TOO_MANY_IDENTIFIERS"),
    (
        "a subject that is no list",
        lambda e: raw({**e, "data": {**e["data"], "subject": e["data"]["subject"][0]}}),
        "BAD_FIELD",
    ),
    ("deep nesting", lambda e: raw({**e, "data": {**e["data"], "more": DEEP}}), "TOO_DEEP"),
    ("a NUL character", lambda e: raw({**e, "data": {**e["data"], "entered_by": "a\0b"}}), "NUL"),
    (
        "a lone surrogate",
        lambda e: json.dumps({**e, "data": {**e["data"], "entered_by": "\ud800"}}).encode(),
        "SURROGATE",
    ),
    ("a duplicate key", lambda e: raw(e)[:-1] + b',"id":"' + ID.encode() + b'"}', "DUPLICATE_KEY"),
    ("a duplicate key inside", lambda e: raw(e).replace(b'"subject"', b'"subject":[],"subject"'), "DUPLICATE_KEY"),
    ("Latin-1", lambda e: raw({**e, "data": {**e["data"], "entered_by": "é"}}).decode().encode("latin-1"), "NOT_UTF8"),
    ("a wrong content type", lambda e: raw({**e, "datacontenttype": "text/xml"}), "BAD_CONTENT_TYPE"),
    ("another version of CloudEvents", lambda e: raw({**e, "specversion": "2.0"}), "NOT_CLOUDEVENT"),
]
HOSTILE_IDS = [name for name, _, _ in HOSTILE]


@pytest.mark.parametrize(("_name", "spoil", "reason"), HOSTILE, ids=HOSTILE_IDS)
def test_a_malformed_permission_is_rejected(_name: str, spoil: Any, reason: str) -> None:
    assert rejected(spoil(message())).reason == reason


@pytest.mark.parametrize("type", sorted(FIVE_REFUSALS))
@pytest.mark.parametrize(("_name", "spoil", "reason"), HOSTILE, ids=HOSTILE_IDS)
def test_a_malformed_refusal_suppresses_all_the_same(_name: str, spoil: Any, reason: str, type: str) -> None:
    said = message(type, data=refusal(purposes=["newsletter-email"], channels=["email"]))

    event, rejection = synthetic(spoil(said))

    assert rejection.reason == reason
    assert rejection.event_id == event.id
    assert event.type == "objection-raised"
    assert (event.controllers, event.references) == ((), ())
    assert event.body == {"source": event.source, "malformed": True, "personal": ["entered_by", "subject"]}
    assert event.personal["entered_by"] == "ledger"
    assert event.warning == reason
    assert values(event)[0] in {"an@example.be", "an0@example.be"}
    assert len(event.identifiers) <= 50


@pytest.mark.parametrize("type", sorted(set(KINDS) - FIVE_REFUSALS))
@pytest.mark.parametrize("spoil", [{"id": "x"}, {"time": "2026-03-01T09:00:00"}, {"subject": "an@example.be"}])
def test_of_other_events_nothing_is_kept_when_malformed(type: str, spoil: dict[str, Any]) -> None:
    assert rejected({**example(type), **spoil}).event_id in {None, uuid.UUID(example(type)["id"])}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "NULL_VALUE"),
        (b"", "NOT_JSON"),
        (b"hello", "NOT_JSON"),
        (b"\xff\xfe\x00", "NOT_UTF8"),
        (b"null", "NOT_CLOUDEVENT"),
        (b"[]", "NOT_CLOUDEVENT"),
        (b'"objection-raised"', "NOT_CLOUDEVENT"),
        (b"{}", "NOT_CLOUDEVENT"),
        (b"[" * 100_000, "TOO_DEEP"),
    ],
)
def test_what_is_no_event_at_all_is_rejected(value: bytes | None, reason: str) -> None:
    verdict = events.decode(b"key", value, [("content-type", b"application/cloudevents+json")])

    assert isinstance(verdict, Rejection)
    assert verdict.event_id is None
    assert verdict.reason == reason


@pytest.mark.parametrize(
    "type", ["consent-granted", "Consent-Withdrawn", "be.example.consent-withdrawn", "", None, 7, ["a"]]
)
def test_an_unknown_type_is_rejected(type: Any) -> None:
    assert rejected({**message("consent-withdrawn"), "type": type}).reason == "UNKNOWN_TYPE"


def test_an_unknown_source_is_an_entry_like_any_other() -> None:
    assert accepted(message(source="nobody:knows")).source == "nobody:knows"


@pytest.mark.parametrize(
    ("time", "instant"),
    [
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00.000001+00:00", datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("9999-12-31T23:59:59-12:00", datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("2019-01-01T00:00:00Z", datetime(2019, 1, 1, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("type", ["consent-given", "consent-withdrawn"])
def test_the_first_and_the_last_year_are_entries(type: str, time: str, instant: datetime) -> None:
    event = accepted(message(type, time=time))

    assert event.occurred_at == instant
    assert -(2**63) < micros(instant) < 2**63


@pytest.mark.parametrize("subject", [None, [], [{"type": "email", "value": "\0"}], [{"type": "email"}], 7])
def test_a_refusal_without_an_identifier_that_can_be_read_is_only_rejected(subject: Any) -> None:
    assert rejected(message("consent-withdrawn", data={"subject": subject})).event_id == uuid.UUID(ID)


@pytest.mark.parametrize(
    ("subject", "bound"),
    [
        ({"type": "email", "value": "AN@example.be"}, [("email", "an@example.be", False)]),
        ("an@example.be", [("email", "an@example.be", False)]),
        (["an@example.be", "+32470112233"], [("email", "an@example.be", False), ("phone", "+32470112233", False)]),
        ([{"type": "phone", "value": 32470112233}], [("phone", "+32470112233", False)]),
        ([{"type": "phone", "value": 470}], [("phone", "470", True)]),
        ([{"type": "customer_no", "value": 4711}], [("customer_no", "4711", False)]),
        ([{"type": " E-Mail ", "value": "an@example.be"}], [("email", "an@example.be", False)]),
        ([{"type": "Email", "value": "an@example.be"}], [("email", "an@example.be", False)]),
        ([{"value": "0032470112233"}], [("phone", "+32470112233", False)]),
        ([[{"type": "device", "value": "d-1"}]], [("device", "d-1", False)]),
        ([{"type": "email", "value": "an@example.be\0"}], [("email", "an@example.be", False)]),
        ([{"type": "email", "value": "An at\0Example"}, 5], [("email", "An atExample", True)]),
        (
            [
                {"type": "email", "value": "an@example.be"},
                {"type": "fax", "value": "1"},
                None,
                True,
                {"type": "email", "value": True},
            ],
            [("email", "an@example.be", False)],
        ),
    ],
)
def test_identifiers_of_a_malformed_refusal_are_read_in_any_shape(
    subject: Any, bound: list[tuple[str, str, bool]]
) -> None:
    event, _ = synthetic(message("objection-raised", id="x", data={"subject": subject}))

    assert [(i.type, i.value, i.raw) for _, i in event.identifiers] == bound
    assert event.personal["subject"] == [{"type": kind, "value": value} for kind, value, _ in bound]


def test_an_address_in_the_forbidden_attribute_is_bound_too() -> None:
    event, _ = synthetic(message("consent-withdrawn", subject="bert@example.be"))

    assert values(event) == ["an@example.be", "bert@example.be"]


def test_both_of_two_subjects_are_bound() -> None:
    twice = raw(message("consent-withdrawn")).replace(
        b'"subject"', b'"subject":[{"type":"device","value":"d-1"}],"subject"'
    )

    event, _ = synthetic(twice)

    assert values(event) == ["d-1", "an@example.be"]


def test_an_event_that_is_also_called_a_refusal_is_one() -> None:
    both = raw(message("consent-given")).replace(
        b'"type": "consent-given"', b'"type": "consent-given", "type": "objection-raised"'
    )

    assert synthetic(both)[0].type == "objection-raised"


def test_a_malformed_refusal_binds_fifty_different_identifiers_at_most() -> None:
    event, _ = synthetic(message("objection-raised", data={"subject": [MANY[0], MANY[0], *MANY]}))

    assert values(event) == [item["value"] for item in MANY[:50]]


def test_a_malformed_refusal_keeps_its_id_its_time_and_its_source() -> None:
    event, _ = synthetic(message("objection-raised", datacontenttype="text/plain", time="2026-03-01T10:00:00+01:00"))

    assert event.id == uuid.UUID(ID)
    assert event.occurred_at == datetime(2026, 3, 1, 9, tzinfo=UTC)
    assert event.source == "web:dekra-be"


@pytest.mark.parametrize("time", ["2026-03-01T09:00:00", "yesterday", None, 5, "2026-02-30T00:00:00Z"])
def test_nobody_knows_the_time_of_a_refusal_that_has_none(time: Any) -> None:
    assert synthetic(message("objection-raised", time=time))[0].occurred_at is None


@pytest.mark.parametrize("source", ["", None, 7, "x" * 300, "a\nb"])
def test_a_source_that_cannot_be_read_is_no_source_we_know(source: Any) -> None:
    assert synthetic(message("objection-raised", id="x", source=source))[0].source == "unknown"


def test_the_same_malformed_refusal_has_the_same_id_each_time() -> None:
    said = message("objection-raised", without="id")
    reordered = dict(reversed(said.items()))
    other = message("objection-raised", without="id", time="2026-03-01T09:00:01Z")

    first, again, different = (synthetic(item)[0].id for item in (said, reordered, other))

    assert first == again != different
    assert first.version == 5


def test_a_malformed_refusal_in_binary_mode_suppresses() -> None:
    headers = [("ce_specversion", b"1.0"), ("ce_type", b"consent-withdrawn"), ("ce_id", b"\xff"), ("ce_source", None)]

    event, rejection = synthetic(refusal(), headers)

    assert (event.identifiers, event.source) == (
        (("subject", Identifier(type="email", value="an@example.be")),),
        "unknown",
    )
    assert rejection.reason == "MISSING_ID"


@pytest.mark.parametrize("cut", [1, 50, -1])
def test_a_refusal_that_is_not_even_json_is_only_rejected(cut: int) -> None:
    assert rejected(raw(message("consent-withdrawn"))[:cut]).reason == "NOT_JSON"


@pytest.mark.parametrize("count", [50, 1])
def test_fifty_identifiers_are_enough(count: int) -> None:
    assert len(accepted(message(data=consent(subject=MANY[:count]))).identifiers) == count


@pytest.mark.parametrize("number", ["1e3", "1.0", "123456789012345678901234567890", "-1", "true"])
def test_a_number_that_is_no_number_of_ours_is_refused(number: str) -> None:
    said = raw(message()).replace(b'"text_version": 1', f'"text_version": {number}'.encode())

    assert rejected(said).reason == "BAD_FIELD"


def test_a_fraction_in_an_unknown_field_is_kept_as_it_was_written() -> None:
    event = accepted(raw(message("consent-withdrawn")).replace(b'"data": {', b'"data": {"score": 0.70, '))

    assert event.personal["extra"] == {"score": "0.70"}
    assert json.loads(events.content(event))[4]["extra"] == {"score": "0.70"}


@pytest.mark.parametrize(
    "fields",
    [
        {"controller_scope": SECRET},
        {"channels": SECRET},
        {"subject": [{"type": SECRET, "value": SECRET}]},
        {"subject": [{"type": "phone", "value": SECRET}]},
        {"subject": [{"type": "email", "value": SECRET + "\n\n" + SECRET}]},
        {"age": {"birth_date": SECRET}},
        {"evidence": {"text_version": SECRET}},
        {"purposes": [SECRET * 20]},
    ],
)
def test_a_reason_says_where_but_not_what(fields: dict[str, Any]) -> None:
    rejection = rejected(message(data=consent(**fields)))

    assert next(iter(fields)) in rejection.detail
    assert SECRET not in rejection.detail


# -- whatever comes


def parts(verdict: Verdict) -> tuple[Event | None, Rejection | None]:
    if isinstance(verdict, tuple):
        return verdict
    return (verdict, None) if isinstance(verdict, Event) else (None, verdict)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(SECRET),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("value"), inner, max_size=3)
    ),
    max_leaves=8,
)
headers = st.lists(
    st.tuples(
        st.sampled_from(["ce_id", "ce_type", "ce_time", "ce_source", "ce_specversion", "content-type", b"\xff"])
        | st.text(max_size=4),
        st.none() | st.binary(max_size=8) | st.sampled_from([b"consent-withdrawn", b"1.0", b"application/json"]),
    ),
    max_size=6,
)


@given(st.none() | st.binary(max_size=80), headers)
def test_no_record_raises(value: bytes | None, headers: Any) -> None:
    assert parts(events.decode(None, value, headers)) != (None, None)


@given(
    st.sampled_from(sorted(KINDS)),
    st.dictionaries(
        st.sampled_from(["id", "time", "source", "type", "specversion", "subject", "data", "x"]), anything, max_size=2
    ),
    st.dictionaries(
        st.sampled_from(
            ["subject", "controllers", "purposes", "evidence", "old", "age", "numbers", "document", "x", "voids"]
        ),
        anything,
        max_size=3,
    ),
)
def test_an_event_with_anything_in_it_is_taken_or_refused_without_telling(
    type: str, attributes: dict[str, Any], fields: dict[str, Any]
) -> None:
    said = {**example(type), "data": {**example(type)["data"], "reason": SECRET, **fields}, **attributes}

    event, rejection = parts(decode(said))

    assert (event, rejection) != (None, None)
    if rejection:
        assert rejection.reason != "UNREADABLE"
        assert SECRET not in rejection.reason + rejection.detail
        assert "an.peeters" not in rejection.detail
    if event:
        assert json.loads(events.content(event))[0] == event.type
        assert events.read_body(events.body_bytes(event)) == event.body
        assert json.loads(events.personal_bytes(event)).keys() == event.personal.keys() == set(event.body["personal"])


def test_a_fault_of_ours_does_not_stop_a_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_event", None)

    assert rejected(message()) == Rejection("UNREADABLE", "TypeError while reading the record")
