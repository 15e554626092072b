"""Whom an event reaches under a register.

Seen to fail: a source serving nobody taken at its word; a withdrawal and a voiding reaching only the named.
"""

from typing import Any

import pytest

from consent_ledger.domain.reach import reach, scope
from consent_ledger.domain.register import Register
from domain.registered import compiled, purpose


def reached(what: Register, **said: Any) -> tuple[set[str], set[str]]:
    asked: dict[str, Any] = {
        "type": "objection-raised", "source": "web:north", "controllers": ["north"], "controller_scope": None,
    }  # fmt: skip
    found, addressed = reach(what, **(asked | said))
    return set(found), set(addressed)


def test_a_permission_reaches_those_it_names_and_no_others() -> None:
    named = reached(compiled(), type="consent-given", controllers=["north", "west"], controller_scope="group")

    assert named == ({"north"}, {"north"})
    assert reached(compiled(), type="consent-given", controllers=None) == (set(), set())
    assert reached(compiled(), type="consent-given", controllers="all") == (set(), set())


def test_an_objection_reaches_the_group_by_default_but_its_words_go_to_the_named_controller() -> None:
    assert reached(compiled()) == ({"north", "south"}, {"north"})
    assert reached(compiled(), controller_scope="entity") == ({"north"}, {"north"})
    assert reached(compiled(), controllers=["south"]) == ({"south"}, {"south"})
    assert reached(compiled(), controllers=["south"], controller_scope="group") == ({"north", "south"}, {"south"})


def test_an_erasure_request_is_not_widened_to_the_group() -> None:
    assert reached(compiled(), type="erasure-requested") == ({"north"}, {"north"})
    assert reached(compiled(), type="erasure-requested", controller_scope="group") == ({"north", "south"}, {"north"})


@pytest.mark.parametrize("controllers", [None, (), ["west"]])
def test_a_refusal_without_a_known_controller_reaches_all_that_its_source_serves(controllers: Any) -> None:
    said: dict[str, Any] = {"type": "complaint-received", "controllers": controllers}

    assert reached(compiled(), source="desk", **said)[0] == {"north", "east"}
    assert reached(compiled(), source="nobody", **said)[0] == {"north", "south", "east"}
    assert reached(compiled(), source="feed", **said)[0] == {"north", "south", "east"}


def test_one_unknown_controller_beside_a_known_one_widens_too() -> None:
    assert reached(compiled(), type="complaint-received", controllers=["south", "west"]) == (
        {"north", "south"}, {"north", "south"},
    )  # fmt: skip


def test_a_withdrawal_reaches_whoever_may_share_the_consent() -> None:
    assert reached(compiled(), type="consent-withdrawn") == ({"north", "south", "east"}, {"north"})
    assert reached(compiled(), type="consent-withdrawn", controllers=["south"]) == ({"north", "south"}, {"south"})


@pytest.mark.parametrize("naming", ["north", "east"])
def test_a_refusal_reaches_the_joint_controllers_whoever_names_them(naming: str) -> None:
    other = {"north": "east", "east": "north"}[naming]
    what = compiled(purpose(naming, "file", joint_with=[other]), purpose(other, "file"), purpose(other, "news"))

    placed = reached(what, type="restriction-placed", controllers=[other])

    assert placed == ({naming, other}, {other})


def test_facts_about_ages_and_bounces_stay_with_the_controller_that_learnt_them() -> None:
    what = compiled(purpose("north", "file", joint_with=["east"]), purpose("east", "file"))

    assert reached(what, type="age-established")[0] == {"north"}
    assert reached(what, type="delivery-failed")[0] == {"north"}


def test_a_voiding_goes_wherever_its_target_may_be() -> None:
    assert reached(compiled(), type="event-voided")[0] == {"north", "south", "east"}


def test_registers_and_snapshots_go_into_no_dossier() -> None:
    assert reached(compiled(), type="preference-register-imported", controllers=None) == (set(), set())
    assert reached(compiled(), type="register-loaded", controllers=None) == (set(), set())


def test_a_refusal_of_an_unknown_purpose_is_one_of_all() -> None:
    what = compiled(purpose(withdrawal_group="g"), purpose(name="magazine"), purpose("south", "magazine"))
    north = frozenset({"north"})

    assert scope(what, north, ("magazine", "old")).names is None
    assert scope(what, north, ("magazine",)).names == frozenset({"magazine"})
    assert scope(what, frozenset({"south"}), ("newsletter",)).names is None
    assert scope(what, frozenset({"north", "south"}), ("newsletter",)) == (
        frozenset({"newsletter"}), frozenset({"g"}),
    )  # fmt: skip
