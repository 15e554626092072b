"""What was said is kept whole, in two parts, and its content does not depend on how it was written.

Seen to fail: evidence.ref left in the body; unknown fields dropped; references in upper case kept as given; `shared`
lost; the role of old and new swapped; the key order of the content; a consent without evidence refused; restrictive
events held to normalised identifiers.
"""

import json
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_ledger.domain import catalogue, events
from consent_ledger.domain.events import FIVE_REFUSALS, KINDS, RAW_IDENTIFIER, Event
from consent_ledger.domain.examples import example
from consent_ledger.domain.identifiers import Identifier
from domain.messages import accepted, consent, message, refusal, rejected, values

SCENARIOS = json.loads((Path(__file__).parents[1] / "data" / "scenarios.json").read_text(encoding="utf-8"))
REFERENCES = ("consent_id", "objection_id", "restriction_id", "request_id", "voids")
PERMISSIVE = {name for name, kind in KINDS.items() if kind == "P"}
EARLIER = "0199C3A0-5B00-7000-8000-0000000000F2"


def test_a_consent_is_parted_into_what_is_personal_and_what_is_not() -> None:
    said = consent(
        age={"declared_min_age": 16, "birth_date": "2001-02-03"},
        parental={"verified": True, "ref": "p-1"},
        ip="192.0.2.1",
        device="a phone",
        entered_by="staff:jan",
        country="BE",
        newsletter_name="An",
    )

    event = accepted(message(data=said))

    assert event.body == {
        "source": "web:dekra-be",
        "controllers": ["dekra-be"],
        "purposes": ["newsletter-email"],
        "channels": ["email"],
        "origin": "data-subject",
        "mechanism": "unticked-checkbox",
        "evidence": {"text_id": "newsletter-email-nl", "text_version": 1, "ref": True},
        "age": {"declared_min_age": 16, "birth_date": True},
        "parental": {"verified": True, "ref": True},
        "country": "BE",
        "personal": sorted(event.personal),
    }
    assert event.personal == {
        "subject": [{"type": "email", "value": "an@example.be"}],
        "evidence.ref": "form-snapshot",
        "birth_date": "2001-02-03",
        "parental.ref": "p-1",
        "ip": "192.0.2.1",
        "device": "a phone",
        "entered_by": "staff:jan",
        "extra": {"newsletter_name": "An"},
    }


def test_an_event_has_its_envelope() -> None:
    event = accepted(message(time="2026-03-01T10:00:00.123456+01:00"))

    assert event.id == uuid.UUID("0199c3a0-5b00-7000-8000-000000000001")
    assert (event.type, event.source, event.controllers) == ("consent-given", "web:dekra-be", ("dekra-be",))
    assert event.occurred_at == datetime(2026, 3, 1, 9, 0, 0, 123456, tzinfo=UTC)
    assert event.occurred_at is not None
    assert event.occurred_at.tzinfo is UTC
    assert event.identifiers == (("subject", Identifier(type="email", value="an@example.be")),)
    assert event.warning is None


@pytest.mark.parametrize("type", sorted(KINDS))
def test_no_personal_value_of_any_event_is_in_its_body(type: str) -> None:
    secret = "s3cret@example.com"
    said = example(type)
    personal = {"entered_by", "approved_by", "reason", "grounds", "ground", "ip", "device", "sale_ref"}
    data: dict[str, Any] = {**said["data"], **dict.fromkeys(personal, secret), "unheard_of": {"deep": [secret]}}
    data["subject"] = [{"type": "email", "value": secret}, {"type": "device", "value": secret, "name": secret}]
    data["evidence"] = {"text_id": "t", "ref": secret, "unheard_of": secret}
    if type == "subject-viewed":
        del data["subject"][1:]
    if type == "identifier-changed":
        data |= {"old": {"type": "email", "value": secret}, "new": {"type": "email", "value": "x" + secret}}

    event = accepted({**said, "data": data})

    assert secret.encode() not in events.body_bytes(event)
    assert json.dumps(event.personal).count(secret) == json.dumps(data).count(secret)


def test_null_is_the_same_as_not_given() -> None:
    nothing = consent(origin=None, ip=None, age=None, evidence={"text_id": "a", "ref": None})
    bare = consent(evidence={"text_id": "a"})
    del bare["origin"]

    assert events.content(accepted(message(data=nothing))) == events.content(accepted(message(data=bare)))


def test_an_empty_reference_to_evidence_is_none() -> None:
    event = accepted(message(data=consent(evidence={"text_id": "a", "ref": ""})))

    assert event.body["evidence"] == {"text_id": "a"}
    assert "evidence.ref" not in event.personal


@pytest.mark.parametrize(("said", "named"), [(None, ()), ([], ()), (["a", "b"], ("a", "b")), ("all", ("all",))])
def test_controllers_are_as_named(said: Any, named: tuple[str, ...]) -> None:
    assert accepted(message("consent-withdrawn", data=refusal(controllers=said))).controllers == named


def test_a_change_of_address_has_an_old_and_a_new_one() -> None:
    event = accepted(example("identifier-changed"))

    assert [(role, identifier.value) for role, identifier in event.identifiers] == [
        ("old", "an.peeters@example.be"),
        ("new", "an.nieuw@example.be"),
    ]


def test_identifiers_keep_their_order_and_their_marks_and_stand_once() -> None:
    phone = {"type": "phone", "value": "0032 470 11 22 33", "shared": True}
    mail = {"type": "email", "value": "AN@example.be"}

    event = accepted(message(data=consent(subject=[phone, mail, {**mail, "value": "an@example.be"}, phone])))

    assert event.identifiers == (
        ("subject", Identifier(type="phone", value="+32470112233", shared=True)),
        ("subject", Identifier(type="email", value="an@example.be")),
    )


@pytest.mark.parametrize(
    ("type", "field"),
    [("consent-confirmed", "consent_id"), ("objection-assessed", "objection_id"), ("erasure-refused", "request_id"),
     ("restriction-lifted", "restriction_id"), ("event-voided", "voids"), ("recipient-notified", "request_id")],
)  # fmt: skip
def test_an_event_may_speak_of_another_and_name_nobody(type: str, field: str) -> None:
    said = example(type)

    event = accepted({**said, "data": {**said["data"], field: EARLIER, "subject": None}})

    assert event.references == (uuid.UUID(EARLIER),)
    assert event.body[field] == EARLIER.lower()
    assert event.identifiers == ()


def test_instants_in_the_data_are_kept_in_utc() -> None:
    said = example("restriction-lifted")

    event = accepted({**said, "data": {**said["data"], "subject_informed_at": "2026-03-01T10:00:00+02:00"}})

    assert event.body["subject_informed_at"] == "2026-03-01T08:00:00Z"


@pytest.mark.parametrize(
    "fields",
    [
        {"evidence": None}, {"evidence": {}}, {"evidence": {"text_id": "a"}}, {"mechanism": "pre-ticked"},
        {"origin": None}, {"purposes": "all"}, {"channels": "all"}, {"controllers": None}, {"purposes": []},
        {"mechanism": None},
    ],
)  # fmt: skip
def test_a_consent_that_will_grant_nothing_is_recorded(fields: dict[str, Any]) -> None:
    assert accepted(message(data=consent(**fields))).warning is None


@pytest.mark.parametrize("type", sorted(set(KINDS) - PERMISSIVE))
def test_what_is_no_permission_binds_an_address_that_has_no_form(type: str) -> None:
    said = example(type)

    event = accepted({**said, "data": {**said["data"], "subject": [{"type": "email", "value": " Not An Address "}]}})

    role = "viewed" if type == "subject-viewed" else "subject"
    assert event.identifiers == ((role, Identifier(type="email", value="Not An Address", raw=True)),)
    assert event.warning == RAW_IDENTIFIER


@pytest.mark.parametrize("type", sorted(PERMISSIVE))
def test_a_permission_for_an_address_that_has_no_form_is_refused(type: str) -> None:
    said = example(type)
    bad = {"type": "email", "value": "Not An Address"}
    data = {**said["data"], "old": bad} if type == "identifier-changed" else {**said["data"], "subject": [bad, bad]}

    assert rejected({**said, "data": data}).reason == "BAD_IDENTIFIER"


def test_a_register_is_kept_as_it_is() -> None:
    said = example("register-loaded")

    assert accepted(said).body["document"] == said["data"]["document"]
    assert accepted(said).personal == {}


def test_numbers_of_a_do_not_call_register_are_personal() -> None:
    event = accepted(example("preference-register-imported"))

    assert event.personal["numbers"][0]["value"] == "+32470112233"
    assert event.body["numbers"] == 1


def scenario_events() -> Iterator[Any]:
    for scenario in SCENARIOS["scenarios"]:
        for number, event in enumerate(scenario["events"]):
            yield pytest.param(scenario["id"], event, id=f"{scenario['id']}-{number}")


def as_said(scenario: str, event: dict[str, Any]) -> dict[str, Any]:
    """The event of a scenario as a publisher would send it; its short ids become UUIDs."""

    def known(name: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{scenario}/{name}"))

    data = {
        key: value for key, value in event.items() if key not in {"id", "type", "source", "occurred_at", "recorded_at"}
    }
    data |= {key: known(data[key]) for key in REFERENCES if key in data}
    return message(event["type"], id=known(event["id"]), source=event["source"], time=event["occurred_at"], data=data)


@pytest.mark.parametrize(("scenario", "said"), list(scenario_events()))
def test_every_event_of_the_scenarios_is_recorded(scenario: str, said: dict[str, Any]) -> None:
    event = accepted(as_said(scenario, said))

    assert (event.type, event.warning) == (said["type"], None)
    assert "extra" not in event.personal
    for name in ("purposes", "channels", "origin", "kind", "mechanism", "bounce", "controllers", "outcome", "verified"):
        assert event.body.get(name) == said.get(name)


# -- bytes


def shuffled(value: Any, order: random.Random) -> Any:
    if isinstance(value, dict):
        items = [(key, shuffled(item, order)) for key, item in value.items()]
        order.shuffle(items)
        return dict(items)
    return [shuffled(item, order) for item in value] if isinstance(value, list) else value


@given(
    st.sampled_from(sorted(KINDS)),
    st.randoms(use_true_random=False),
    st.sampled_from([{}, {"ensure_ascii": False}, {"indent": 2}]),
)
def test_the_content_does_not_depend_on_the_writing(type: str, order: random.Random, style: dict[str, Any]) -> None:
    said = {**example(type), "data": {**example(type)["data"], "more": {"b": "é/", "a": ["😀"]}}}
    rewritten = json.dumps(shuffled(said, order), **style).replace("/", "\\/").encode()

    assert events.content(accepted(rewritten)) == events.content(accepted(said))


@pytest.mark.parametrize(
    "other",
    [
        {"type": "consent-withdrawn"}, {"source": "web:dekra-se"}, {"time": "2026-03-01T09:00:00.000001Z"},
        {"data": consent(purposes=["b"])}, {"data": consent(ip="192.0.2.2")}, {"data": consent(more=1)},
        {"data": consent(subject=[{"type": "email", "value": "bert@example.be"}])},
    ],
)  # fmt: skip
def test_other_content_is_other(other: dict[str, Any]) -> None:
    assert events.content(accepted({**message(), **other})) != events.content(accepted(message()))


def test_the_id_is_not_part_of_the_content() -> None:
    assert events.content(accepted(message(id=EARLIER))) == events.content(accepted(message()))


def test_the_body_is_written_with_its_format_and_read_back() -> None:
    event = accepted(message())
    written = events.body_bytes(event)

    assert written.startswith(b'[1,{"channels":["email"],"controllers":["dekra-be"],"evidence":{"ref":true,')
    assert events.read_body(written) == event.body


def test_a_body_of_a_later_format_is_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="format"):
        events.read_body(b"[2,{}]")


def test_the_personal_fields_are_written_sorted() -> None:
    assert events.personal_bytes(accepted(message())) == (
        b'{"evidence.ref":"form-snapshot","subject":[{"type":"email","value":"an@example.be"}]}'
    )


def test_canonical_bytes_are_sorted_utf8_without_spaces() -> None:
    assert events.canonical({"é": 1, "b": [True, None], "a": {"z": "\x01/", "y": -1}}) == (
        '{"a":{"y":-1,"z":"\\u0001/"},"b":[true,null],"é":1}'.encode()
    )


@pytest.mark.parametrize("value", [1.0, [1, [2.5]], {"a": {"b": (0.0,)}}])
def test_a_float_has_no_canonical_form(value: Any) -> None:
    with pytest.raises(ValueError, match="float"):
        events.canonical(value)


def test_every_type_of_the_catalogue_has_a_kind_and_the_five_are_refusals() -> None:
    assert set(KINDS) == set(catalogue.SHAPES)
    assert {KINDS[name] for name in FIVE_REFUSALS} == {"R"}
    assert len(KINDS) == 38


def test_two_identifiers_at_least_can_be_linked() -> None:
    alone = {"controllers": ["dekra-be"], "subject": [{"type": "email", "value": "an@example.be"}]}

    assert rejected(message("identifiers-linked", data=alone)).reason == "BAD_FIELD"


def test_an_age_is_a_birth_date_or_a_report_of_minority() -> None:
    assert rejected(message("age-established", data=refusal())).reason == "BAD_FIELD"
    assert values(accepted(message("age-established", data=refusal(is_minor=True)))) == ["an@example.be"]


def test_an_event_cannot_be_changed() -> None:
    event = accepted(message())

    assert isinstance(event, Event)
    with pytest.raises(AttributeError):
        event.type = "consent-withdrawn"  # type: ignore[misc]
