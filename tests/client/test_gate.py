"""A running sending asks again about those whose record has changed, and about nobody else.

Seen to fail: the position taken after the answers; ended answers kept; changes passed over; a new register, a stale
copy, or too old a position taken for nothing having changed.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from client.topic import KEY, NOW, SHOP, Clock, address, apply, copied, no, purposes, view_of, watermark, yes
from consent_ledger.client import Gate
from consent_ledger.client import copy as copies
from consent_ledger.client import gate as gates
from consent_ledger.client.copy import Copy

PEOPLE = [f"person-{number}@example.be" for number in range(5)]
YES = {"newsletter": {"email": yes()}}
NO = {"newsletter": {"email": no("CONSENT_WITHDRAWN")}}


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    """A copy in which all five have consented."""
    made = copied(tmp_path / "copy", *(address(person, YES) for person in PEOPLE))
    yield made
    made.close()


def test_a_filter_parts_those_who_may_be_mailed_from_the_others(copy: Copy) -> None:
    apply(copy, address(PEOPLE[1], NO, version=2))

    allowed = Gate(view_of(copy), SHOP, "newsletter", "email").filter([*PEOPLE, PEOPLE[0], "no address"])

    assert allowed.addresses == [PEOPLE[0], *PEOPLE[2:]]
    assert {person: str(decision.reason) for person, decision in allowed.refused.items()} == {
        PEOPLE[1]: "CONSENT_WITHDRAWN",
        "no address": "NO_ADDRESS",
    }


def test_a_recheck_finds_who_has_refused_since(copy: Copy) -> None:
    gate = Gate(view_of(copy), SHOP, "newsletter", "email")
    allowed = gate.filter(PEOPLE)
    apply(copy, address(PEOPLE[3], NO, version=2))

    again = gate.recheck(allowed)

    assert list(again.refused) == [PEOPLE[3]]
    assert sorted(again.addresses) == sorted(set(PEOPLE) - {PEOPLE[3]})
    assert gate.recheck(again).refused == {}


def test_who_refuses_while_the_list_is_sorted_is_found_by_the_recheck(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "_CHUNK", 1)
    gate = Gate(view_of(copy), SHOP, "newsletter", "email")

    def people() -> Iterator[str]:
        yield from PEOPLE[:2]
        apply(copy, address(PEOPLE[0], NO, version=2))
        yield from PEOPLE[2:]

    allowed = gate.filter(people())

    assert PEOPLE[0] in allowed.addresses
    assert list(gate.recheck(allowed).refused) == [PEOPLE[0]]


def test_only_who_has_changed_is_asked_about(copy: Copy) -> None:
    view = view_of(copy)
    position = view.changed_since().position
    apply(copy, address(PEOPLE[3], YES, version=2), address(PEOPLE[4], YES, version=1))

    changes = view.changed_since(position)

    assert changes.hashes == frozenset({KEY.hash("email", PEOPLE[3])})


def test_an_answer_that_ends_by_time_is_asked_for_again(copy: Copy) -> None:
    clock = Clock(datetime.now(UTC))
    end = clock.now + timedelta(microseconds=1)
    apply(copy, watermark(clock.now, 2), address(PEOPLE[0], {"newsletter": {"email": yes(until=end)}}, version=2))
    gate = Gate(view_of(copy, clock=clock), SHOP, "newsletter", "email")
    allowed = gate.filter(PEOPLE)
    clock.now = end

    again = gate.recheck(allowed)

    assert PEOPLE[0] in allowed.addresses
    assert list(again.refused) == [PEOPLE[0]]


def test_a_new_register_concerns_everybody(copy: Copy) -> None:
    gate = Gate(view_of(copy), SHOP, "newsletter", "email")
    allowed = gate.filter(PEOPLE)
    apply(copy, purposes(version=2, needs={"newsletter": 2}))

    assert gate.recheck(allowed).addresses == []


def test_a_copy_gone_stale_concerns_everybody(copy: Copy) -> None:
    clock = Clock()
    gate = Gate(view_of(copy, clock=clock), SHOP, "newsletter", "email")
    allowed = gate.filter(PEOPLE)
    clock.now = NOW + timedelta(minutes=2)

    assert gate.recheck(allowed).addresses == []


def test_a_position_older_than_the_changes_that_are_kept_concerns_everybody(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "CHANGES_KEPT", 3)
    view = view_of(copy)
    position = view.changed_since().position
    apply(copy, *(address(person, NO, version=2) for person in PEOPLE))

    assert view.changed_since(position).hashes is None
    assert view.changed_since("nonsense").hashes is None
