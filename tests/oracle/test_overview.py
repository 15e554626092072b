"""The overview of specification 6.12, cell by cell: each state of the records against each legal basis, both ways.

Seen to fail: exemptions left out of restriction or erasure; a contract erased for good after a new sale; a refusal of
erasure reviving marketing; a complaint reaching post.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from consent_ledger.domain import register as registers
from consent_ledger.domain.scenario import Ledger
from oracle import law

Object = dict[str, Any]
AN: list[Object] = [{"type": "email", "value": "an@example.be"}, {"type": "postal", "value": "1000 BRUSSEL, X 1"}]
EXEMPT: Object = {"restriction_exempt": True, "erasure_exempt": True}
PURPOSES: list[Object] = [
    {"id": "news", "basis": "consent", "channels": ["email"], "direct_marketing": True},
    {"id": "talent", "basis": "consent", "channels": ["internal"]},
    {"id": "offers", "basis": "legitimate-interest", "channels": ["email"], "direct_marketing": True,
     "soft_opt_in": True},
    {"id": "leaflet", "basis": "legitimate-interest", "channels": ["post"], "direct_marketing": True},
    {"id": "file", "basis": "legitimate-interest", "channels": ["internal"]},
    {"id": "service", "basis": "contract", "channels": ["email"]},
    {"id": "tax", "basis": "legal-obligation", "channels": ["internal"], **EXEMPT},
    {"id": "claims", "basis": "legitimate-interest", "channels": ["internal"], **EXEMPT},
]  # fmt: skip
REGISTER: Object = {
    "controllers": {"north": {"country": "BE"}},
    "purposes": [{"controller": "north", **purpose} for purpose in PURPOSES],
    "sources": {"web": {"controllers": ["north"]}},
    "dnc_registers": {},
}
OK = {"consent": "CONSENT", "contract": "CONTRACT", "legal-obligation": "LEGAL_OBLIGATION"}


def said(day: int, type: str, **fields: Any) -> Object:
    instant = f"2026-03-{day:02}T12:00:00Z"
    return {
        "id": f"{type} {day}", "type": type, "source": "web", "controllers": ["north"], "subject": AN,
        "occurred_at": instant, "recorded_at": instant, **fields,
    }  # fmt: skip


def consent(day: int, *purposes: str, channels: tuple[str, ...] = ("email",)) -> Object:
    return said(
        day, "consent-given", purposes=list(purposes), channels=list(channels), origin="data-subject",
        mechanism="button", evidence={"text_id": "t", "text_version": 1, "ref": "r"},
    )  # fmt: skip


def sale(day: int) -> Object:
    met = dict.fromkeys(("collected_in_sale", "opt_out_offered", "similar_products"), True)
    return said(day, "relationship-started", **met)


FACTS = [
    consent(1, "news", "talent", channels=("email", "internal")), sale(1),
    said(2, "contact-recorded", initiated_by="subject", kind="order"),
]  # fmt: skip
WITHDRAWN = said(5, "consent-withdrawn")
OBJECTED = said(5, "objection-raised", kind="direct-marketing")
SITUATION = said(5, "objection-raised", kind="situation")
RESTRICTED = said(5, "restriction-placed")
REQUESTED = said(5, "erasure-requested")
EXECUTED = said(6, "erasure-executed", request_id=REQUESTED["id"])
COMPLAINED = said(5, "complaint-received", channels=["email"], kind="spam-feedback-loop")
AGAIN = consent(9, "news")
ASSESSED: Object = {"objection_id": SITUATION["id"], "grounds": "g", "subject_informed_at": "2026-03-07T12:00:00Z"}
LIFTED: Object = {"restriction_id": RESTRICTED["id"], "subject_informed_at": "2026-03-07T12:00:00Z"}
REFUSED: Object = {"request_id": REQUESTED["id"], "grounds": "Art. 17(3)(b)"}
# "ok": allowed on its own basis. A name alone stands for all columns up to the exempt ones, which are then allowed.
ROWS: list[tuple[str, list[Object], str]] = [
    ("nothing", [], "CONSENT_ABSENT CONSENT_ABSENT SOFT_OPT_IN_MISSING ok ok ok ok ok"),
    ("facts", FACTS, "ok ok ok ok ok ok ok ok"),
    ("withdrawal of all", [*FACTS, WITHDRAWN],
     "CONSENT_WITHDRAWN CONSENT_WITHDRAWN OBJECTION_DM OBJECTION_DM ok ok ok ok"),
    ("withdrawal, fresh consent", [*FACTS, WITHDRAWN, AGAIN],
     "ok CONSENT_WITHDRAWN OBJECTION_DM OBJECTION_DM ok ok ok ok"),
    ("objection", [*FACTS, OBJECTED], "OBJECTION_DM ok OBJECTION_DM OBJECTION_DM ok ok ok ok"),
    ("objection, fresh consent", [*FACTS, OBJECTED, AGAIN], "ok ok OBJECTION_DM OBJECTION_DM ok ok ok ok"),
    ("objection, new sale", [*FACTS, OBJECTED, sale(9)], "OBJECTION_DM ok OBJECTION_DM OBJECTION_DM ok ok ok ok"),
    ("complaint", [*FACTS, COMPLAINED], "COMPLAINT ok COMPLAINT ok ok ok ok ok"),
    ("situation", [*FACTS, SITUATION], "OBJECTION_DM ok OBJECTION_DM OBJECTION_DM OBJECTION_PENDING ok ok ok"),
    ("situation, upheld", [*FACTS, SITUATION, said(8, "objection-assessed", outcome="upheld", **ASSESSED)],
     "OBJECTION_DM ok OBJECTION_DM OBJECTION_DM OBJECTION_UPHELD ok ok OBJECTION_UPHELD"),
    ("situation, rejected", [*FACTS, SITUATION, said(8, "objection-assessed", outcome="rejected", **ASSESSED)],
     "OBJECTION_DM ok OBJECTION_DM OBJECTION_DM LEGITIMATE_INTEREST_COMPELLING ok ok LEGITIMATE_INTEREST_COMPELLING"),
    ("restriction", [*FACTS, RESTRICTED], "RESTRICTED"),
    ("restriction, fresh consent", [*FACTS, RESTRICTED, AGAIN],
     "ok RESTRICTED RESTRICTED RESTRICTED RESTRICTED RESTRICTED ok ok"),
    ("restriction lifted", [*FACTS, RESTRICTED, said(8, "restriction-lifted", **LIFTED)], "ok ok ok ok ok ok ok ok"),
    ("erasure requested", [*FACTS, REQUESTED], " ".join(["ERASURE_REQUESTED"] * 5) + " ok ok ok"),
    ("erasure refused", [*FACTS, REQUESTED, said(8, "erasure-refused", **REFUSED)],
     " ".join(["ERASURE_REQUESTED"] * 4) + " ok ok ok ok"),
    ("erased", [*FACTS, REQUESTED, EXECUTED], "ERASED"),
    ("erased, fresh consent", [*FACTS, REQUESTED, EXECUTED, AGAIN], "ok ERASED ERASED ERASED ERASED ERASED ok ok"),
    ("erased, new sale", [*FACTS, REQUESTED, EXECUTED, sale(9)], "ERASED ERASED ERASED ERASED ok ok ok ok"),
    ("hard bounce", [*FACTS, said(5, "delivery-failed", bounce="hard", channels=["email"], subject=AN[:1])],
     "HARD_BOUNCE ok HARD_BOUNCE ok ok HARD_BOUNCE ok ok"),
    ("reported minor", [*FACTS, said(5, "age-established", is_minor=True)], "MINOR ok MINOR MINOR ok ok ok ok"),
]  # fmt: skip


def _expected(row: str) -> list[str]:
    codes = row.split() if " " in row else [row] * 6 + ["ok", "ok"]
    allowed = [OK.get(one["basis"], "SOFT_OPT_IN" if one.get("soft_opt_in") else "LEGITIMATE_INTEREST")
               for one in PURPOSES]  # fmt: skip
    return [allowed[place] if code == "ok" else code for place, code in enumerate(codes)]


@pytest.mark.parametrize(("events", "row"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_state_of_the_records_gives_every_basis_its_answer(events: list[Object], row: str) -> None:
    ledger = Ledger(registers.parse(REGISTER), events)
    questions = [
        {"controller": "north", "purpose": one["id"], "channel": one["channels"][0], "subject": AN,
         "at": "2026-04-01T12:00:00Z"}
        for one in PURPOSES
    ]  # fmt: skip

    by_product = [ledger.answer(question, None).reason for question in questions]
    by_oracle = [law.decide(REGISTER, events, question, "2026-04-01T12:00:00Z")[1] for question in questions]

    assert by_product == _expected(row)
    assert by_oracle == _expected(row)


def test_every_row_of_the_decision_tables_has_its_scenario() -> None:
    file = json.loads((Path(__file__).parents[1] / "data" / "scenarios.json").read_text(encoding="utf-8"))

    assert {row for scenario in file["scenarios"] for row in scenario["rows"]} == set(file["rows"])
