"""What may be registered, and what a load changes.

Seen to fail: vague aims, special categories and unknown fields let through; a load dropping what it does not name; the
basis changed by a load; sources, neighbours and the questions about a changed purpose left out of what changed; a
controller joint with itself; a group objection without a group; days beyond counting ending the check.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from consent_ledger.domain import register
from consent_ledger.domain.register import RegisterError
from domain.registered import compiled, document, purpose

REGISTERS = Path(__file__).parents[2] / "deploy" / "registers"
COMPANIES = ("dekra", "contactexpert", "vloet", "socomec", "bechtle")


# -- what may be registered


@pytest.mark.parametrize(
    ("company", "open_ended"),
    [
        ("dekra", {}),
        ("contactexpert", {"contactexpert": 10, "client-acme": 2, "client-beta": 2}),
        ("vloet", {"vloet": 6}),
        ("socomec", {"socomec": 12}),
        ("bechtle", {"bechtle-ag": 15, "bechtle-bv": 12}),
    ],
)
def test_the_register_of_each_company_may_be_loaded_alone(company: str, open_ended: dict[str, int]) -> None:
    loaded = register.parse(json.loads((REGISTERS / f"{company}.json").read_text(encoding="utf-8")))

    assert loaded.purposes
    assert loaded.warnings == tuple(
        f"controller {name}: {number} purposes without a retention period, which production refuses"
        for name, number in open_ended.items()
    )


def test_the_companies_registers_do_not_touch_each_other() -> None:
    merged: dict[str, Any] = {}
    for company in COMPANIES:
        merged = register.merge(merged, json.loads((REGISTERS / f"{company}.json").read_text(encoding="utf-8")))

    assert len(register.parse(merged).purposes) == 152


@pytest.mark.parametrize(
    "description",
    [
        "wanneer het legitiem belang van de onderneming dit vereist", "", "   ", "other purposes", "andere doeleinden",
        "Any further business interests.", "where our legitimate interest requires it", "gerechtvaardigd belang",
    ],
)  # fmt: skip
def test_a_purpose_without_a_specific_aim_is_refused(description: str) -> None:
    with pytest.raises(RegisterError) as refused:
        register.parse(document(purpose(doc={"description": description})))

    assert refused.value.problems == ("purpose north/newsletter: no specific aim (Art. 5(1)(b))",)


def test_a_name_that_says_nothing_is_no_aim_either() -> None:
    with pytest.raises(RegisterError, match="no specific aim"):
        register.parse(document(purpose(name="other-legitimate-interest")))


@pytest.mark.parametrize("flag", [{"special_categories": True}, {"doc": {"special_categories": ["health"]}}])
def test_special_categories_are_refused(flag: dict[str, Any]) -> None:
    with pytest.raises(RegisterError, match=r"Art\. 9"):
        register.parse(document(purpose(**flag)))


@pytest.mark.parametrize(
    ("terms", "problem"),
    [
        ({"controller": "west"}, "unknown controller"),
        ({"basis": "interest"}, "basis must be"),
        ({"channels": []}, "channels must be"),
        ({"channels": ["email", "fax"]}, "channels must be"),
        ({"joint_with": ["west"]}, "joint_with: west is not registered"),
        ({"dnc": ["fr-bloctel"]}, "dnc: fr-bloctel is not registered"),
        ({"dnc": "be-dncm"}, "dnc must be a list"),
        ({"consent_ttl": "30 days"}, "consent_ttl must be a duration"),
        ({"consent_ttl": "P99999999999D"}, "consent_ttl must be a duration"),
        ({"inactivity_ttl": "P-1D"}, "inactivity_ttl must be a duration"),
        ({"min_age": "16"}, "min_age must be a whole number"),
        ({"age_gate": "signals"}, "age_gate is"),
        ({"double_opt_in": "yes"}, "double_opt_in must be true or false"),
        ({"double_optin": True}, "unknown field double_optin"),
        ({"repermission_for": "magazine"}, "repermission_for must name"),
        ({"repermission_for": "newsletter"}, "repermission_for must name"),
        ({"joint_with": ["north"]}, "joint_with: a controller is not joint with itself"),
        ({"retention": "seven years"}, "retention must be a duration"),
    ],
)
def test_a_purpose_with_a_mistake_is_refused_with_its_place(terms: dict[str, Any], problem: str) -> None:
    with pytest.raises(RegisterError) as refused:
        register.parse(document(purpose(**terms)))

    assert any(problem in found and "/newsletter" in found for found in refused.value.problems)


def test_all_problems_are_found_at_once() -> None:
    wrong = document(
        purpose(basis="x"), purpose(name="a", channels=[]), controllers={"north": {"default_objection_scope": "world"}},
        sources={"s": {"controllers": ["west"]}}, dnc_registers={"r": {}},
    )  # fmt: skip

    with pytest.raises(RegisterError) as refused:
        register.parse(wrong)

    assert len(refused.value.problems) == 5


@pytest.mark.parametrize("wrong", [{"purposes": {}}, {"controllers": []}, {"sources": "x"}, {"purposes": ["x"]}])
def test_a_register_of_another_shape_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RegisterError):
        register.parse(document(**wrong))


def test_marketing_that_the_gate_will_refuse_is_registered_with_a_warning() -> None:
    marketing = purpose(
        basis="legitimate-interest", channels=["email", "sms", "phone", "device", "post"], direct_marketing=True
    )

    warnings = register.parse(document(marketing | {"description": "catalogue", "retention": "P1Y"})).warnings

    assert [one.split(": ")[1] for one in warnings] == [
        f"{channel} will answer EPRIVACY_NO_BASIS" for channel in ("email", "sms", "phone", "device")
    ]


def test_a_controller_whose_objections_count_for_a_group_is_in_one() -> None:
    with pytest.raises(RegisterError, match="controller north: objections count for a group, but it is in none"):
        register.parse(document(controllers={"north": {"default_objection_scope": "group"}}, sources={}))


def test_a_purpose_alone_in_its_withdrawal_group_is_registered_with_a_warning() -> None:
    alone = purpose(withdrawal_group="tags", description="tags", retention="P1Y")

    assert register.parse(document(alone)).warnings == ("purpose north/newsletter: alone in the withdrawal group tags",)
    assert register.parse(document(alone, {**alone, "id": "magazine"})).warnings == ()


def test_an_empty_register_is_a_register() -> None:
    assert register.compile({}, 0).purposes == {}


# -- loads


def test_a_load_replaces_what_it_names_and_leaves_the_rest() -> None:
    before = document(purpose(), purpose(name="magazine"))
    load = {
        "controllers": {"east": {"group": "poles"}},
        "purposes": [purpose(name="magazine", double_opt_in=True)],
    }

    after = register.compile(register.merge(before, load), 2)

    assert after.controllers["north"] == register.compile(before, 1).controllers["north"]
    assert after.controllers["east"].group == "poles"
    assert after.sources.keys() == {"web:north", "desk", "feed"}
    assert after.purposes["north", "newsletter"].terms.double_opt_in is False
    assert after.purposes["north", "magazine"].terms.double_opt_in is True


def test_a_first_load_needs_nothing_before_it() -> None:
    assert register.merge(None, document(purpose())) == document(purpose())
    assert register.merge(compiled(), {"purposes": [purpose()]}) == document(purpose())


def test_the_basis_of_a_purpose_never_changes() -> None:
    with pytest.raises(RegisterError, match="basis cannot change"):
        register.merge(document(purpose()), {"purposes": [purpose(basis="legitimate-interest")]})


@pytest.mark.parametrize("load", [[], {"purposes": {}}, {"purposes": [1]}, {"sources": []}])
def test_a_load_of_another_shape_is_refused(load: Any) -> None:
    with pytest.raises(RegisterError):
        register.merge(None, load)


def test_a_load_that_names_a_purpose_twice_is_refused() -> None:
    with pytest.raises(RegisterError, match="twice"):
        register.merge(None, document(purpose(), purpose(double_opt_in=True)))


# -- what a load changes


def test_a_first_register_changes_everything() -> None:
    assert register.changed_purposes(None, compiled(purpose(), purpose("east"))) == {
        ("north", "newsletter"), ("east", "newsletter"),
    }  # fmt: skip


def test_a_changed_rule_changes_its_purpose_alone() -> None:
    rest = (purpose(name="magazine"), purpose("east"))

    changed = register.changed_purposes(compiled(purpose(), *rest), compiled(purpose(consent_ttl="P1Y"), *rest))

    assert changed == {("north", "newsletter")}


def test_a_changed_description_changes_nothing() -> None:
    assert register.changed_purposes(compiled(purpose()), compiled(purpose(doc={"description": "news"}))) == frozenset()


def test_a_changed_rule_changes_the_question_that_is_asked_about_it() -> None:
    asking = purpose(name="ask", repermission_for="newsletter")

    changed = register.changed_purposes(compiled(purpose(), asking), compiled(purpose(consent_ttl="P1Y"), asking))

    assert changed == {("north", "newsletter"), ("north", "ask")}


def test_a_changed_age_of_snapshots_changes_the_purposes_that_check_them() -> None:
    calls = purpose(name="calls", dnc=["be-dncm"])

    changed = register.changed_purposes(
        compiled(purpose(), calls), compiled(purpose(), calls, dnc_registers={"be-dncm": {"max_age": "P3D"}})
    )

    assert changed == {("north", "calls")}


@pytest.mark.parametrize(
    ("parts", "touched"),
    [
        ({"sources": {"web:north": {"controllers": ["north", "south"]}, "desk": {"controllers": ["north", "east"]}}},
         {"north", "south", "east"}),
        ({"sources": {"web:north": {"controllers": []}}}, {"north", "south", "east"}),
        ({"controllers": {"north": {}, "south": {}, "east": {"country": "DE"}}}, {"north", "south", "east"}),
    ],
)  # fmt: skip
def test_a_changed_source_or_controller_changes_all_purposes_near_it(parts: dict[str, Any], touched: set[str]) -> None:
    purposes = (purpose(), purpose("south"), purpose("east"))

    changed = register.changed_purposes(compiled(*purposes), compiled(*purposes, **parts))

    assert {controller for controller, _ in changed} == touched


def test_a_new_purpose_changes_what_older_refusals_reach_in_its_group() -> None:
    changed = register.changed_purposes(compiled(purpose("south")), compiled(purpose("south"), purpose()))

    assert changed == {("south", "newsletter"), ("north", "newsletter")}
