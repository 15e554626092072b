"""CloudEvents mean the same in every mode in which they may come.

Seen to fail: the attribute subject let through; a content type of structured mode not taking precedence; headers
without text stopping the reading; HTTP attributes not percent-decoded; the batch decoded instead of taken apart; the
version bits of an id; its millisecond computed with floats.
"""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consent_ledger.domain import events
from consent_ledger.domain.cloudevents import BATCH, STRUCTURED, Message, build, from_http, utc, uuid7
from consent_ledger.domain.errors import Flaw
from consent_ledger.domain.events import Event
from domain.messages import ID, accepted, consent, decode, message, rejected

BINARY: list[tuple[str | bytes, bytes | None]] = [
    ("ce_specversion", b"1.0"),
    ("ce_id", ID.encode()),
    ("ce_source", b"web:dekra-be"),
    ("ce_type", b"consent-given"),
    ("ce_time", b"2026-03-01T09:00:00Z"),
    ("content-type", b"application/json; charset=UTF-8"),
]


def without(name: str) -> list[tuple[str | bytes, bytes | None]]:
    return [header for header in BINARY if header[0] != name]


def messages(content_type: str, body: bytes, headers: list[tuple[str, str]] | None = None) -> list[Message]:
    found = from_http(content_type, headers or [], body)
    assert isinstance(found, list), found
    return found


def test_binary_and_structured_mode_say_the_same() -> None:
    structured, binary = accepted(message(), [("content-type", STRUCTURED.encode())]), accepted(consent(), BINARY)

    assert binary == structured


def test_a_record_without_headers_is_in_structured_mode() -> None:
    assert accepted(message()) == accepted(
        message(), [("Content-Type", b"application/CloudEvents+json; charset=utf-8")]
    )


def test_the_content_type_of_structured_mode_stands_above_attributes_in_headers() -> None:
    headers = [("ce_type", b"objection-raised"), ("content-type", STRUCTURED.encode())]

    assert accepted(message(), headers).type == "consent-given"


@pytest.mark.parametrize(
    "headers",
    [
        [("ce_type", None), ("content-type", None), ("trace", None)],
        [("ce_type", b"\xff"), ("content-type", b"\xff\xfe"), ("trace", b"\xff")],
        [(b"\xff\xfe", b"x"), (b"\xff", None)],
        [("ce_traceparent", b"00-1-2-01")],
        [("content-type", b"application/json")],
    ],
)
def test_headers_that_say_nothing_do_not_matter(headers: Any) -> None:
    assert accepted(message(), headers) == accepted(message())


def test_binary_mode_reads_header_names_given_as_bytes() -> None:
    headers = [(str(name).encode(), value) for name, value in BINARY]

    assert accepted(consent(), headers) == accepted(message())


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (without("ce_id"), "MISSING_ID"),
        (without("ce_time"), "BAD_TIME"),
        (without("ce_type"), "UNKNOWN_TYPE"),
        (without("ce_source"), "NOT_CLOUDEVENT"),
        (without("ce_specversion"), "NOT_CLOUDEVENT"),
        ([*BINARY, ("ce_type", b"consent-given")], "DUPLICATE_KEY"),
        ([*BINARY, ("ce_subject", b"an@example.be")], "SUBJECT_ATTRIBUTE"),
        ([*without("content-type"), ("content-type", b"text/plain")], "BAD_CONTENT_TYPE"),
    ],
)
def test_binary_mode_needs_the_same_attributes(headers: Any, reason: str) -> None:
    assert rejected(consent(), headers).reason == reason


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"subject": "an@example.be"}, "SUBJECT_ATTRIBUTE"),
        ({"subject": None}, "SUBJECT_ATTRIBUTE"),
        ({"datacontenttype": "text/xml"}, "BAD_CONTENT_TYPE"),
        ({"specversion": "0.3"}, "NOT_CLOUDEVENT"),
        ({"source": ""}, "NOT_CLOUDEVENT"),
        ({"data": [1]}, "NOT_CLOUDEVENT"),
        ({"type": 3}, "UNKNOWN_TYPE"),
    ],
)
def test_attributes_are_checked(attributes: dict[str, Any], reason: str) -> None:
    assert rejected({**message(), **attributes}).reason == reason


def test_attributes_of_the_transport_are_not_part_of_what_was_said() -> None:
    traced = accepted(message(traceparent="00-1-2-01", partitionkey="an@example.be"))

    assert events.content(traced) == events.content(accepted(message()))
    assert traced == accepted(message())


def test_the_schema_of_the_data_is_kept() -> None:
    assert accepted(message(dataschema="urn:schema:1")).body["dataschema"] == "urn:schema:1"


def test_http_structured_goes_on_as_it_came() -> None:
    body = json.dumps(message()).encode()

    assert [(m.value, m.headers) for m in messages("application/cloudevents+json; charset=utf-8", body)] == [
        (body, (("content-type", STRUCTURED.encode()),))
    ]


def test_a_batch_is_taken_apart_byte_by_byte() -> None:
    twice = b'{"id": 1.50, "id": 2}'
    body = b"[" + json.dumps(message()).encode() + b" , " + twice + b"]"

    first, second = messages(BATCH, body)

    assert isinstance(decode(first.value, first.headers), Event)
    assert second.value == twice


def test_http_binary_becomes_kafka_binary() -> None:
    headers = [(str(name).replace("ce_", "CE-"), (value or b"").decode()) for name, value in BINARY]
    headers = [(name, value.replace(":", "%3A")) for name, value in headers] + [("Authorization", "Bearer x")]

    (only,) = messages("application/json", json.dumps(consent()).encode(), headers)

    assert decode(only.value, only.headers) == accepted(message())
    assert all(name.startswith(("ce_", "content-type")) for name, _ in only.headers)


@pytest.mark.parametrize(
    ("content_type", "body", "reason"),
    [
        (BATCH, b"{}", "NOT_JSON"),
        (BATCH, b"[1", "NOT_JSON"),
        (BATCH, b"[" * 100_000, "NOT_JSON"),
        ("application/json", b"{}", "BAD_CONTENT_TYPE"),
        (None, b"{}", "BAD_CONTENT_TYPE"),
        ("text/html", b"{}", "BAD_CONTENT_TYPE"),
    ],
)
def test_a_request_that_holds_no_events_has_a_flaw(content_type: str | None, body: bytes, reason: str) -> None:
    found = from_http(content_type, [], body)

    assert isinstance(found, Flaw)
    assert found.reason == reason


def test_what_a_publisher_builds_is_an_event() -> None:
    zone = timezone(timedelta(hours=1))
    said = build("consent-given", "web:dekra-be", datetime(2026, 3, 1, 10, tzinfo=zone), consent(), UUID(ID))

    assert decode(said) == accepted(message())


def test_a_publisher_cannot_leave_out_the_zone() -> None:
    with pytest.raises(ValueError, match="zone"):
        build("consent-given", "web:dekra-be", datetime(2026, 3, 1, 10), consent())  # noqa: DTZ001


@given(st.datetimes(timezones=st.just(UTC)))
@example(datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))
def test_an_id_of_version_seven_holds_its_millisecond(instant: datetime) -> None:
    made = uuid7(instant)

    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == max(0, (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1))
    assert uuid7(instant) != made


def test_an_instant_beyond_the_calendar_is_its_edge() -> None:
    east, west = timezone(timedelta(hours=5)), timezone(timedelta(hours=-5))

    assert utc(datetime(1, 1, 1, tzinfo=east)) == datetime(1, 1, 1, tzinfo=UTC)
    assert utc(datetime(9999, 12, 31, 23, tzinfo=west)) == datetime.max.replace(tzinfo=UTC)
