"""Loads ahead of their instant, and what production asks of a load.

Seen to fail: a load judged beside the register of today instead of that of its instant; later scheduled loads not
judged again; each kind of period not taken for one; production not looked at.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consent_ledger.domain import register_schedule
from consent_ledger.domain.register import RegisterError
from consent_ledger.domain.register_schedule import Ahead
from domain.registered import document, purpose

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def test_a_load_is_fitted_into_the_schedule_at_its_instant() -> None:
    schedule = [
        Ahead(NOW, {"purposes": [purpose(consent_ttl="P1Y")]}),
        Ahead(NOW + DAY, {"purposes": [purpose(consent_ttl="P2Y")]}),
    ]
    load = {"purposes": [purpose(name="magazine")]}

    fitted = [
        register_schedule.fit(document(purpose()), schedule, Ahead(at, load)) for at in (NOW - DAY, NOW, NOW + DAY)
    ]

    assert [one["purposes"][0].get("consent_ttl") for one in fitted] == [None, "P1Y", "P2Y"]
    assert all(one["purposes"][1]["id"] == "magazine" for one in fitted)


def test_a_load_that_rests_on_one_scheduled_before_it_is_taken_and_one_for_an_earlier_instant_refused() -> None:
    schedule = [Ahead(NOW, {"controllers": {"west": {}}})]
    load = {"purposes": [purpose("west")]}

    assert register_schedule.fit(document(), schedule, Ahead(NOW, load))
    with pytest.raises(RegisterError, match="unknown controller"):
        register_schedule.fit(document(), schedule, Ahead(NOW - DAY, load))


def test_a_load_that_would_spoil_a_scheduled_one_is_refused_with_its_instant() -> None:
    schedule = [Ahead(NOW, {"purposes": [purpose(name="magazine", basis="contract")]})]

    with pytest.raises(RegisterError, match=r"^with the load scheduled for 2026-03-01T12:00:00\+00:00: .*basis cannot"):
        register_schedule.fit(document(), schedule, Ahead(NOW - DAY, {"purposes": [purpose(name="magazine")]}))


def test_what_is_scheduled_is_checked_again_with_every_load_before_it() -> None:
    asked = purpose(inactivity_ttl="P3Y")
    schedule = [Ahead(NOW, {"purposes": [purpose(name="ask", repermission_for="newsletter")]})]

    assert register_schedule.fit(document(asked), schedule, Ahead(NOW - DAY, {"purposes": [asked]}))
    with pytest.raises(RegisterError, match=r"^with the load scheduled for .* a purpose without inactivity_ttl$"):
        register_schedule.fit(document(asked), schedule, Ahead(NOW - DAY, {"purposes": [purpose()]}))


@pytest.mark.parametrize(
    "terms",
    [
        {"retention": "P3Y"}, {"consent_ttl": "P1Y"}, {"inactivity_ttl": "P3Y"}, {"doc": {"retention": "P3Y"}},
        {"doc": {"retention": None, "retention_in_seed": "n/s → →W"}}, {"basis": "legal-obligation"},
    ],
)  # fmt: skip
def test_production_takes_a_purpose_that_says_how_long_data_are_kept(terms: dict[str, Any]) -> None:
    assert register_schedule.fit({}, [], Ahead(NOW, document(purpose(**terms))), production=True)


@pytest.mark.parametrize("terms", [{}, {"basis": "contract"}, {"doc": {"retention": None, "retention_in_seed": "n/s"}}])
def test_production_refuses_a_purpose_that_does_not(terms: dict[str, Any]) -> None:
    ahead = Ahead(NOW, document(purpose(**terms)))

    with pytest.raises(RegisterError, match=r"north/newsletter: no retention period: set (consent_ttl or )?retention"):
        register_schedule.fit({}, [], ahead, production=True)

    assert register_schedule.fit({}, [], ahead)
