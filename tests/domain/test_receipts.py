"""Receipts of other consent tools become events, and no permission that they do not hold.

Seen to fail: a purpose without a name taken for the nearest; a text without its version; a proof that is not there; a
state that the table does not know taken for a yes; a pending consent; a test receipt; an act that is none; an instant
without a zone, or to come; a no of an unknown purpose left out; a no without an instant left out; a no for a purpose
that rests on no consent as a withdrawal alone; a word for no taken for an unknown one;
the id resting on the instant of reading.
"""

import copy
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_ledger.domain.adapters.receipts import ReceiptMapping, at, problems
from consent_ledger.domain.adapters.shapes import SHAPES
from consent_ledger.domain.suppression_list import Made, Refused
from domain.receipt_tools import IUBENDA, MAPPING, NOW, ONETRUST, SHOP, TIME, WHOLE, read, receipts

REFUSALS = {"consent-withdrawn", "objection-raised"}


def changed(tool: str, path: str, value: Any) -> dict[str, Any]:
    """The whole receipt with another value at a place; None takes the place away."""
    receipt = copy.deepcopy(WHOLE[tool])
    *steps, last = path.split(".")
    part: Any = receipt
    for step in steps:
        part = part[int(step)] if isinstance(part, list) else part[step]
    if isinstance(part, list):
        part[int(last)] = value
    elif value is None:
        del part[last]
    else:
        part[last] = value
    return receipt


def types(found: list[Made | Refused]) -> list[str]:
    return [one.event.type if isinstance(one, Made) else one.reason for one in found]


STATES = {
    "onetrust": ("purposes.0.TransactionType", "WITHDRAWN"),
    "didomi": ("consents.purposes.0.enabled", False),
    "transcend": ("purposes.0.enabled", False),
    "iubenda": ("preferences.news", False),
    "nio": ("groups.0.consents.0.checked", False),
}
NAMES = {
    "onetrust": "purposes.0.Id",
    "didomi": "consents.purposes.0.id",
    "transcend": "purposes.0.purpose",
    "nio": "groups.0.consents.0.key",
}


@pytest.mark.parametrize("tool", SHAPES)
def test_a_whole_receipt_is_a_consent_with_its_proof_its_text_and_the_act(tool: str) -> None:
    (made,) = read(tool, WHOLE[tool])

    assert isinstance(made, Made)
    assert made.warning is None
    said = json.loads(made.value)
    assert said["type"] == "consent-given"
    assert datetime.fromisoformat(said["time"]) == datetime.fromisoformat(TIME)
    assert said["source"] == "web:shop-be"
    assert (said["data"]["purposes"], said["data"]["channels"]) == (["newsletter"], ["email"])
    assert (said["data"]["origin"], said["data"]["mechanism"]) == ("import", "unticked-checkbox")
    assert said["data"]["evidence"] == {
        "text_id": "news-nl", "text_version": 3, "ref": f"{tool}:{at(WHOLE[tool], SHAPES[tool].id)}",
    }  # fmt: skip
    expected = (
        {"type": "account_id", "value": "an-77"} if tool == "nio" else {"type": "email", "value": "an@example.be"}
    )
    assert said["data"]["subject"] == [expected]


@pytest.mark.parametrize("tool", SHAPES)
def test_a_no_is_a_withdrawal_even_where_nearly_everything_is_missing(tool: str) -> None:
    path, no = STATES[tool]
    bare = changed(tool, path, no)
    for missing in ("requestInformation", "customPayload", "metadata", "proofs", "legal_notices", "metaData", "doneBy",
                    "status", "interactionDate", "created_at", "timestamp", "lastUpdate"):  # fmt: skip
        bare.pop(missing, None)

    whole, made = read(tool, changed(tool, path, no)), read(tool, bare)

    assert types(whole) == types(made) == ["consent-withdrawn"]
    assert isinstance(whole[0], Made)
    assert isinstance(made[0], Made)
    assert whole[0].event.occurred_at == datetime.fromisoformat(TIME)
    assert made[0].event.occurred_at == (datetime.fromisoformat(TIME) if tool == "transcend" else NOW)


@pytest.mark.parametrize("tool", NAMES)
def test_a_no_for_a_purpose_that_nobody_knows_is_a_no_to_everything(tool: str) -> None:
    path, no = STATES[tool]
    receipt = changed(tool, path, no)
    *steps, last = NAMES[tool].split(".")
    part: Any = receipt
    for step in steps:
        part = part[int(step)] if isinstance(part, list) else part[step]
    part[last] = "something else"

    made = read(tool, receipt)

    assert types(made) == ["objection-raised", "consent-withdrawn"]
    assert [json.loads(one.value)["data"].get("purposes", "all") for one in made if isinstance(one, Made)] == [
        "all"
    ] * 2


@pytest.mark.parametrize("tool", SHAPES)
@pytest.mark.parametrize("no", ["false", "No", 0, "Withdrawn", "opt-out"])
def test_whatever_reads_like_a_no_is_one(tool: str, no: Any) -> None:
    assert types(read(tool, changed(tool, STATES[tool][0], no))) == ["consent-withdrawn"]


MISSING: list[tuple[str, str, Any, str]] = [
    *[(tool, SHAPES[tool].id, None, "NO_EVIDENCE") for tool in ("onetrust", "didomi", "iubenda", "nio")],
    ("onetrust", "requestInformation", None, "NO_EVIDENCE"),
    ("didomi", "proofs", [], "NO_EVIDENCE"),
    ("iubenda", "proofs.0.form", "", "NO_EVIDENCE"),
    ("nio", "doneBy", None, "NO_EVIDENCE"),
    ("transcend", "metadata.0", {}, "NO_EVIDENCE"),
    ("onetrust", "customPayload.textVersion", None, "NO_TEXT_VERSION"),
    ("onetrust", "customPayload.textVersion", "v3", "NO_TEXT_VERSION"),
    ("onetrust", "customPayload.textId", None, "NO_TEXT_VERSION"),
    ("didomi", "metadata.text_version", True, "NO_TEXT_VERSION"),
    ("iubenda", "legal_notices", [], "NO_TEXT_VERSION"),
    ("nio", "version", -1, "NO_TEXT_VERSION"),
    ("transcend", "metadata.2", {}, "NO_TEXT_VERSION"),
    ("onetrust", "customPayload.mechanism", None, "NOT_AFFIRMATIVE"),
    ("didomi", "metadata.mechanism", "banner", "NOT_AFFIRMATIVE"),
    ("transcend", "metadata.3.value", "pre-ticked", "NOT_AFFIRMATIVE"),
    ("nio", "metaData.mechanism", 7, "NOT_AFFIRMATIVE"),
    ("onetrust", "purposes.0.TransactionType", "IMPLICIT", "NOT_AFFIRMATIVE"),
    ("didomi", "consents.purposes.0.enabled", "true", "NOT_AFFIRMATIVE"),
    ("iubenda", "preferences.news", 1, "NOT_AFFIRMATIVE"),
    ("didomi", "status", "pending_approval", "NOT_GIVEN"),
    ("didomi", "status", None, "NOT_GIVEN"),
    ("onetrust", "test", True, "NOT_GIVEN"),
    *[(tool, path, "analytics", "UNKNOWN_PURPOSE") for tool, path in NAMES.items()],
    ("onetrust", "interactionDate", None, "BAD_DATE"),
    ("onetrust", "interactionDate", "2026-03-01T12:00:00", "BAD_DATE"),
    ("didomi", "created_at", "yesterday", "BAD_DATE"),
    ("iubenda", "timestamp", "2027-03-01T12:00:00Z", "FUTURE_CONSENT"),
    ("onetrust", "identifierType", "Phone", "NO_IDENTIFIER"),
    ("transcend", "identifiers", [], "NO_IDENTIFIER"),
    ("nio", "userId", None, "NO_IDENTIFIER"),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "path", "value", "reason"), MISSING)
def test_what_would_invent_a_permission_is_refused_with_the_reason(
    tool: str, path: str, value: Any, reason: str
) -> None:
    (refused,) = read(tool, changed(tool, path, value))

    assert isinstance(refused, Refused)
    assert refused.reason == reason
    assert "an@example.be" not in refused.detail


@pytest.mark.parametrize("tool", SHAPES)
def test_what_was_not_asked_is_nothing_and_what_is_none_of_ours_is_passed_over(tool: str) -> None:
    path, no = STATES[tool]
    silent = "NOTGIVEN" if tool == "onetrust" else None
    receipt = changed(tool, path, no)
    ignored = json.loads(json.dumps(receipt).replace('"news"', '"cookies"'))
    part: Any = copy.deepcopy(WHOLE[tool])
    if silent is None:
        *steps, last = path.split(".")
        inner = part
        for step in steps:
            inner = inner[int(step)] if isinstance(inner, list) else inner[step]
        inner[last] = None
    else:
        part["purposes"][0]["TransactionType"] = silent

    assert read(tool, part) == []
    assert read(tool, ignored) == []


def test_a_no_for_a_purpose_that_rests_on_no_consent_objects_as_well() -> None:
    receipt = {**IUBENDA, "preferences": {"offers": False}}

    made = read("iubenda", receipt)

    assert types(made) == ["objection-raised", "consent-withdrawn"]
    assert [json.loads(one.value)["data"]["purposes"] for one in made if isinstance(one, Made)] == [["offers"]] * 2


def test_a_legitimate_interest_that_was_turned_off_is_an_objection() -> None:
    receipt = changed("didomi", "consents.purposes.0", {"id": "news", "enabled": None, "enabled_li": False})

    (made,) = read("didomi", receipt)

    assert isinstance(made, Made)
    said = json.loads(made.value)
    assert (said["type"], said["data"]["kind"]) == ("objection-raised", "direct-marketing")


def test_all_choices_and_all_identifiers_of_a_receipt_count() -> None:
    receipt = {
        **ONETRUST,
        "purposes": [
            {"Id": "news", "TransactionType": "WITHDRAWN"},
            {"Id": "offers", "TransactionType": "CONFIRMED"},
            {"Id": "cookies", "TransactionType": "WITHDRAWN"},
        ],
        "additionalIdentifiers": [{"identifier": "bert@example.be", "identifierType": "Email"}],
        "withdrawnDate": "2026-03-02T12:00:00Z",
    }

    made = read("onetrust", receipt)

    assert types(made) == ["consent-withdrawn", "consent-given"]
    for one in made:
        assert isinstance(one, Made)
        subject = json.loads(one.value)["data"]["subject"]
        assert [said["value"] for said in subject] == ["an@example.be", "bert@example.be"]
    assert isinstance(made[0], Made)
    assert made[0].event.occurred_at == datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_texts_and_act_may_be_said_by_the_mapping_where_no_receipt_says_them() -> None:
    receipt = changed("onetrust", "customPayload", None)
    purposes = {"news": {"purpose": "newsletter", "channels": ["email"], "text_id": "n", "text_version": 2}}

    (made,) = read("onetrust", receipt, purposes=purposes, mechanism="button")

    assert isinstance(made, Made)
    data = json.loads(made.value)["data"]
    assert (data["evidence"]["text_id"], data["evidence"]["text_version"]) == ("n", 2)
    assert data["mechanism"] == "button"


@pytest.mark.parametrize("tool", SHAPES)
def test_the_same_receipt_makes_the_same_events_whenever_it_is_read(tool: str) -> None:
    path, no = STATES[tool]
    later = datetime(2026, 7, 1, tzinfo=UTC)
    for receipt in (WHOLE[tool], changed(tool, path, no)):
        (first,), (second,) = (receipts(tool).read(receipt, now) for now in (NOW, later))

        assert isinstance(first, Made)
        assert first == second
    (other,) = read(tool, json.loads(json.dumps(WHOLE[tool]).replace("an@", "bo@").replace("an-77", "bo-77")))
    (mine,) = read(tool, WHOLE[tool])
    assert isinstance(other, Made)
    assert isinstance(mine, Made)
    assert other.event.id != mine.event.id


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["news", "CONFIRMED", TIME]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "value", "key", "news"]), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(SHAPES)), st.data())
def test_no_receipt_breaks_the_reader_and_a_consent_has_all_it_needs(tool: str, data: st.DataObject) -> None:
    receipt = {
        name: data.draw(st.just(value) | anything, label=name)
        for name, value in WHOLE[tool].items()
        if data.draw(st.booleans() | st.just(value=True))
    }

    for one in read(tool, receipt):
        if isinstance(one, Made) and one.event.type == "consent-given":
            said = json.loads(one.value)["data"]
            assert said["purposes"] == ["newsletter"]
            assert isinstance(said["evidence"]["text_version"], int)
            assert said["evidence"]["text_id"]
            assert said["evidence"]["ref"]
            assert said["mechanism"] == "unticked-checkbox"
        elif isinstance(one, Made):
            assert one.event.type in REFUSALS


@pytest.mark.parametrize("said", [None, [], "receipt", {}, 7])
def test_what_is_no_receipt_is_refused(said: Any) -> None:
    assert types(read("onetrust", said)) in (["BROKEN_RECEIPT"], ["NO_CHOICES"])


def test_a_mapping_that_does_not_fit_the_register_says_what_is_wrong() -> None:
    mapping = msgspec.convert(
        {
            "controller": "shop-be",
            "source": "web:shop-be",
            "purposes": {
                "a": {"purpose": "nothing", "channels": ["email"]},
                "b": {"purpose": "newsletter", "channels": ["post"]},
            },
            "identifiers": {},
        },
        ReceiptMapping,
    )

    assert list(problems(mapping, SHOP)) == [
        "purposes.a: shop-be has no purpose nothing",
        "purposes.b: newsletter has no channel post",
        "identifiers names no type: nobody could be found",
    ]
    assert list(problems(msgspec.convert(MAPPING, ReceiptMapping), SHOP)) == []
