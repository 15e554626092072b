"""What becomes of the rows of a suppression list.

Seen to fail: a consent marked as the subject's own; a consent without its proof, or still to come; a mapping that names
an event which lifts opt-outs; a day that ends at its beginning, or in another zone; ids that tell two rows apart which
are the same, or that anybody can compute; cells of a broken row taken for those of a whole one; a reason that is not in
the mapping taken for a refusal; a purpose that does not exist.
"""

import hashlib
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_ledger.domain import register, suppression_list
from consent_ledger.domain.catalogue import KINDS
from consent_ledger.domain.suppression_list import ListMapping, Made, Refused, Rows

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REGISTER = register.compile(
    {
        "controllers": {"shop": {}},
        "purposes": [{"controller": "shop", "id": "newsletter", "basis": "consent", "channels": ["email"]}],
        "sources": {"esp:shop": {"controllers": ["shop"]}},
    },
    1,
)
CONSENT = {
    "event": "consent-given", "purposes": ["newsletter"], "channels": ["email"], "mechanism": "button",
    "evidence": {"text_id": "t", "text_version": 1},
}  # fmt: skip
MAPPING: dict[str, Any] = {
    "columns": {"address": "email", "reason": "why", "date": "when", "evidence_ref": "proof"},
    "time_zone": "Europe/Brussels",
    "reasons": {
        "Unsubscribed": {"event": "consent-withdrawn", "purposes": ["newsletter"], "channels": ["email"]},
        "objection": {"event": "objection-raised"},
        "spam": {"event": "complaint-received"},
        "bounce": {"event": "delivery-failed"},
        "forget me": {"event": "erasure-requested"},
        "opt-in": CONSENT,
    },
}
HEADER = ("email", "why", "when", "proof", "note")


def mapped(**parts: Any) -> ListMapping:
    return msgspec.convert(MAPPING | parts, ListMapping)


def read(*cells: str, secret: bytes = b"secret", header: Any = HEADER, **parts: Any) -> Made | Refused:
    rows = Rows(
        mapped(**parts), controller="shop", source="esp:shop", zone=ZoneInfo("Europe/Brussels"), header=header,
        digest=lambda content: hashlib.sha256(secret + content).digest(),
    )  # fmt: skip
    return rows.read(cells, NOW)


def made(*cells: str, **parts: Any) -> Made:
    found = read(*cells, **parts)
    assert isinstance(found, Made), found
    return found


def refused(*cells: str, **parts: Any) -> str:
    found = read(*cells, **parts)
    assert isinstance(found, Refused), found
    assert not any(cell and cell in found.detail for cell in cells)
    return found.reason


@pytest.mark.parametrize(
    ("reason", "type", "said"),
    [
        (" UNSUBSCRIBED ", "consent-withdrawn", {"purposes": ["newsletter"], "channels": ["email"]}),
        ("objection", "objection-raised", {"kind": "direct-marketing"}),
        ("spam", "complaint-received", {"kind": "feedback-loop", "channels": ["email"]}),
        ("bounce", "delivery-failed", {"bounce": "hard", "channels": ["email"]}),
        ("forget me", "erasure-requested", {}),
    ],
)
def test_a_reason_becomes_the_refusal_it_stands_for(reason: str, type: str, said: dict[str, Any]) -> None:
    event = made("An@Example.be", reason, "2025-06-30", "", "").event

    assert (event.type, event.source, event.controllers) == (type, "esp:shop", ("shop",))
    assert [one.value for _, one in event.identifiers] == ["an@example.be"]
    assert {name: event.body[name] for name in said} == said
    assert "origin" not in event.body


def test_a_day_is_over_for_refusals_and_begins_for_consents_where_the_list_is_kept() -> None:
    refusal = made("an@example.be", "spam", "2025-06-30", "", "").event
    consent = made("an@example.be", "opt-in", "2025-06-30", "p-1", "").event

    assert refusal.occurred_at == datetime(2025, 6, 30, 21, 59, 59, tzinfo=UTC)
    assert consent.occurred_at == datetime(2025, 6, 29, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "parts", "instant"),
    [
        ("2025-01-31T10:00:00", {}, datetime(2025, 1, 31, 9, tzinfo=UTC)),
        ("2025-01-31T10:00:00+05:00", {}, datetime(2025, 1, 31, 5, tzinfo=UTC)),
        ("31/01/2025", {"date_format": "%d/%m/%Y"}, datetime(2025, 1, 31, 22, 59, 59, tzinfo=UTC)),
        ("31.01.25 10:00", {"date_format": "%d.%m.%y %H:%M"}, datetime(2025, 1, 31, 9, tzinfo=UTC)),
        ("", {"undated": "2024-12-31"}, datetime(2024, 12, 31, 22, 59, 59, tzinfo=UTC)),
        ("0001-01-01T00:00:00", {}, datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_dates_are_read_as_the_mapping_says(written: str, parts: dict[str, Any], instant: datetime) -> None:
    assert made("an@example.be", "spam", written, "", "", **parts).event.occurred_at == instant


def test_a_consent_of_a_list_is_an_import_and_brings_its_proof() -> None:
    event = made("an@example.be", "opt-in", "2025-06-30", "archive/7", "").event

    assert event.body["origin"] == "import"
    assert (event.body["purposes"], event.body["channels"]) == (["newsletter"], ["email"])
    assert event.personal["evidence.ref"] == "archive/7"
    assert event.body["evidence"]["text_version"] == 1


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (("", "spam", "2025-06-30", "", ""), "NO_ADDRESS"),
        (("an@example.be", "moved house", "2025-06-30", "", ""), "UNKNOWN_REASON"),
        (("an@example.be", "", "2025-06-30", "", ""), "UNKNOWN_REASON"),
        (("an@example.be", "spam", "", "", ""), "BAD_DATE"),
        (("an@example.be", "spam", "30/06/2025", "", ""), "BAD_DATE"),
        (("an@example.be", "spam", "2025-06-30"), "BROKEN_ROW"),
        (("an@example.be", "spam", "2025-06-30", "", "", "more"), "BROKEN_ROW"),
        (("an@example.be\nbert@example.be", "spam", "2025-06-30", "", ""), "BROKEN_ROW"),
        (("caf\udce9@example.be", "spam", "2025-06-30", "", ""), "BROKEN_ROW"),
        (("an@example.be", "opt-in", "2025-06-30", "", ""), "NO_EVIDENCE"),
        (("an@example.be", "opt-in", "2026-06-30", "p-1", ""), "FUTURE_CONSENT"),
        (("no address", "opt-in", "2025-06-30", "p-1", ""), "BAD_IDENTIFIER"),
    ],
)
def test_a_row_that_cannot_be_understood_is_refused_with_the_reason(cells: tuple[str, ...], reason: str) -> None:
    assert refused(*cells) == reason


def test_a_refusal_of_something_that_is_no_address_is_kept_all_the_same() -> None:
    found = made("no address", "spam", "2025-06-30", "", "")

    assert (found.event.type, found.warning) == ("complaint-received", "RAW_IDENTIFIER")


def test_a_reason_that_is_not_in_the_mapping_can_stand_for_something() -> None:
    otherwise = {"event": "objection-raised"}

    assert (
        made("an@example.be", "moved house", "2025-06-30", "", "", otherwise=otherwise).event.type == "objection-raised"
    )


def test_columns_can_be_numbered_and_say_the_kind_of_address() -> None:
    columns = {"address": 2, "type": 1, "date": 3}
    parts: dict[str, Any] = {
        "columns": columns, "names": False, "calling_code": "+32", "otherwise": {"event": "delivery-failed"}
    }  # fmt: skip

    phone = made("phone", "0475 11 22 33", "2025-06-30", header=None, **parts).event
    abroad = made("phone", "0033 1 23 45 67 89", "2025-06-30", header=None, **parts).event

    assert phone.identifiers[0][1].value == "+32475112233"
    assert abroad.identifiers[0][1].value == "+33123456789"
    assert phone.body["channels"] == ["phone", "sms"]
    assert refused("fax", "0475 11 22 33", "2025-06-30", header=None, **parts) == "UNKNOWN_KIND"


def test_the_same_row_is_the_same_event_and_another_is_another() -> None:
    row = ("an@example.be", "spam", "2025-06-30", "", "first list")
    other = ("an@example.be", "spam", "2025-07-01", "", "first list")

    same = {made(*row).event.id, made(*row[:4], "second list").event.id}

    assert len(same) == 1
    assert made(*other).event.id not in same
    assert made(*row, secret=b"another").event.id not in same


@given(
    st.sampled_from(list(MAPPING["reasons"])),
    st.text(max_size=30),
    st.sampled_from(["2025-06-30", "2026-02-28T10:00:00+01:00", "", "soon"]),
    st.text(max_size=10),
)
def test_whatever_a_list_holds_no_row_is_a_fresh_permission(reason: str, address: str, date: str, proof: str) -> None:
    found = read(address, reason, date, proof, "")

    if isinstance(found, Made) and KINDS[found.event.type] == "P":
        assert (found.event.type, found.event.body["origin"]) == ("consent-given", "import")


# -- the mapping


@pytest.mark.parametrize("event", ["objection-withdrawn", "identifier-verified", "erasure-refused", "event-voided"])
def test_a_mapping_cannot_name_what_lifts_an_opt_out(event: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        mapped(reasons={"x": {"event": event}})


@pytest.mark.parametrize("part", [{"origin": "data-subject"}, {"reasons": {"x": CONSENT | {"origin": "data-subject"}}}])
def test_a_mapping_cannot_say_that_the_subject_consents_now(part: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        mapped(**part)


def test_a_good_mapping_has_no_problems() -> None:
    assert list(suppression_list.problems(mapped(), REGISTER, "shop", "esp:shop")) == []


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"reasons": {}}, "no row means anything"),
        ({"columns": {"address": "email", "reason": "why"}}, "no row has a date"),
        ({"reasons": {"x": {"event": "consent-withdrawn", "purposes": ["magazine"]}}}, "no purpose magazine"),
        ({"otherwise": CONSENT | {"purposes": "all"}}, "purposes and channels that are named"),
        ({"otherwise": {k: v for k, v in CONSENT.items() if k != "mechanism"}}, "mechanism"),
        ({"otherwise": {k: v for k, v in CONSENT.items() if k != "evidence"}}, "evidence"),
    ],
)
def test_a_mapping_by_which_nothing_could_be_imported_is_refused(parts: dict[str, Any], problem: str) -> None:
    found = list(suppression_list.problems(mapped(**parts), REGISTER, "shop", "esp:shop"))

    assert len(found) >= 1
    assert any(problem in one for one in found)


def test_nobody_imports_for_an_unknown_controller_or_consents_from_an_unknown_source() -> None:
    unknown = list(suppression_list.problems(mapped(), REGISTER, "stall", "esp:shop"))
    stranger = list(suppression_list.problems(mapped(), REGISTER, "shop", "esp:stall"))

    assert "controller stall is not registered" in unknown
    assert [one.partition(":")[0] for one in stranger] == ["reasons.opt-in"]


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="why"):
        read("an@example.be", header=("email", "when", "proof"))
