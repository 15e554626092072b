"""The life of a register by commands: checked, compared, loaded ahead, followed.

Seen to fail: a check that does not look at the register in force, or at what is scheduled; production's rule left out;
a load ahead taken for one in force; differences that leave the exit status at 0; an impact that counts no losses, or
forgets people nobody has heard of; a sample that looks at all; refusals without a controller not counted; a load that
does not follow.
"""

import json
import time
import uuid
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.installed import Answer, Up, consent
from cli.people import gave, somebody, withdrew

SHIPPED = sorted((Path(__file__).parents[2] / "deploy" / "registers").glob("*.json"))

Write = Callable[[dict[str, Any]], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a register into a file of its own."""

    def write(document: dict[str, Any]) -> str:
        file = tmp_path / f"{uuid.uuid4().hex[:8]}.json"
        file.write_text(json.dumps(document))
        return str(file)

    return write


def register(name: str, **terms: Any) -> dict[str, Any]:
    """A controller of a test's own, with a newsletter on these terms."""
    purpose = {"controller": name, "id": "newsletter", "basis": "consent", "channels": ["email"], "retention": "P3Y",
               "direct_marketing": True, "description": "The monthly newsletter about gardens."}  # fmt: skip
    return {"controllers": {name: {"name": "Garden NV", "country": "BE"}}, "purposes": [purpose | terms],
            "sources": {f"web:{name}": {"controllers": [name]}}, "dnc_registers": {}}  # fmt: skip


def of(name: str, line: str, **envelope: Any) -> str:
    """The same event, about the newsletter of a test's own controller."""
    event = json.loads(line)
    event["data"] |= {"controllers": [name], "purposes": ["newsletter"]}
    return json.dumps(event | {"source": f"web:{name}"} | envelope)


def loaded(up: Up, file: str, *options: str) -> Answer:
    answer = consent("register", "load", file, "--json", *options, data=up.data)
    assert answer.status == 0, answer
    return answer


def published(up: Up, *lines: str) -> None:
    assert consent("publish", "-", data=up.data, said_in="\n".join(lines)).status == 0


def decided(up: Up, name: str, address: str, *, reason: str) -> None:
    """Ask until the ledger has what was said just now."""
    asked = ("--controller", name, "--purpose", "newsletter", "--channel", "email", address, "--json")
    deadline = time.monotonic() + 30
    while (answer := consent("decide", *asked, data=up.data)).data["reason"] != reason:
        assert time.monotonic() < deadline, answer


def version(up: Up) -> int:
    return int(consent("register", "progress", "--json", data=up.data).data["version"])


def test_a_check_looks_at_the_register_it_would_be_loaded_over(up: Up, write: Write) -> None:
    before = write(register("pond"))
    other_basis = write({"purposes": [{**register("pond")["purposes"][0], "basis": "contract"}]})
    more = write({"purposes": [{**register("pond")["purposes"][0], "id": "magazine"}]})

    alone = consent("register", "check", other_basis, "--data", "nowhere")
    beside = consent("register", "check", other_basis, "--against", before, "--data", "nowhere")
    loaded(up, before)
    installed = consent("register", "check", other_basis, data=up.data)

    assert "unknown controller" in alone.out
    assert [one.status for one in (alone, beside, installed)] == [1, 1, 1]
    assert "pond/newsletter: the basis cannot change" in beside.out
    assert "pond/newsletter: the basis cannot change" in installed.out
    assert consent("register", "check", more, data=up.data).status == 0


def test_a_basis_that_changes_under_an_old_id_is_refused_when_it_is_loaded(up: Up, write: Write) -> None:
    loaded(up, write(register("brook")))
    before = version(up)

    answer = consent("register", "load", write(register("brook", basis="contract")), data=up.data)

    assert answer.status == 1
    assert "brook/newsletter: the basis cannot change" in answer.out
    assert version(up) == before


def test_only_production_refuses_a_purpose_that_does_not_say_how_long(write: Write) -> None:
    open_ended = write(register("weed", retention=None))

    at_home = consent("register", "check", open_ended, "--data", "nowhere")
    at_work = consent("register", "check", open_ended, "--production", "--data", "nowhere")

    assert (at_home.status, at_work.status) == (0, 1)
    assert "1 purposes without a retention period" in at_home.err
    assert "no retention period: set consent_ttl or retention" in at_work.out


def test_a_register_that_cannot_be_reached_is_said_and_the_check_goes_on(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSENT_DATABASE_URL", "postgresql://127.0.0.1:1/none")

    answer = consent("register", "check", write(register("reed")), "--data", "nowhere")

    assert answer.status == 0
    assert "checked by itself" in answer.err


def test_a_load_ahead_is_scheduled_and_then_comes_into_force(up: Up, write: Write) -> None:
    loaded(up, write(register("lake")))
    person = somebody()
    published(up, of("lake", gave(person)))
    decided(up, "lake", person, reason="CONSENT")
    before, instant = version(up), datetime.now(UTC) + timedelta(seconds=4)

    ahead, tides = register("lake", min_text_version=2), {**register("lake")["purposes"][0], "id": "tides"}
    ahead["purposes"].append(tides)

    answer = loaded(up, write(ahead), "--valid-from", instant.isoformat())
    shown = consent("register", "show", data=up.data)
    spoiling = consent("register", "check", write({"purposes": [{**tides, "basis": "contract"}]}), data=up.data)
    decided(up, "lake", person, reason="CONSENT_OUTDATED")

    assert answer.data[0]["version"] is None
    assert datetime.fromisoformat(answer.data[0]["scheduled_for"]) == instant
    assert "Another is scheduled for" in shown.out
    assert spoiling.status == 1
    assert "with the load scheduled for" in spoiling.out
    assert datetime.now(UTC) >= instant
    assert version(up) == before + 1
    assert consent("register", "show", "--json", data=up.data).data["scheduled"] == []


@pytest.mark.parametrize("instant", ["tomorrow", "2027-01-01", "2027-01-01T00:00:00"])
def test_an_instant_without_a_zone_is_a_mistake_of_use(up: Up, write: Write, instant: str) -> None:
    answer = consent("register", "load", write(register("moor")), "--valid-from", instant, data=up.data)

    assert answer.status == 2


def test_the_registers_of_the_example_companies_are_good_and_in_force(up: Up) -> None:
    checked = consent("register", "check", *map(str, SHIPPED), "--json", "--data", "nowhere")
    installed = consent("register", "check", *map(str, SHIPPED), "--json", data=up.data)
    compared = [consent("register", "diff", str(file), data=up.data) for file in SHIPPED]

    assert len(SHIPPED) == 5
    assert (checked.status, installed.status) == (0, 0)
    assert checked.data == installed.data
    assert [one["problem"] for one in checked.data] == [None] * 5
    warnings = [warning for one in checked.data for warning in one["warnings"]]
    assert len(warnings) == 7
    assert all("without a retention period, which production refuses" in one for one in warnings)
    assert [(one.status, one.out) for one in compared] == [(0, "No difference.\n")] * 5


def test_two_files_are_compared_without_any_server(write: Write) -> None:
    one, other = write(register("hill")), write(register("hill", channels=["email", "post"]))

    same = consent("register", "diff", one, one, "--data", "nowhere")
    different = consent("register", "diff", one, other, "--data", "nowhere")
    as_data = consent("register", "diff", one, other, "--json", "--data", "nowhere")

    assert (same.status, same.out) == (0, "No difference.\n")
    assert different.status == 1
    assert 'purposes hill/newsletter: channels ["email"] → ["email", "post"]' in different.out
    assert [(item["part"], item["field"], item["after"]) for item in as_data.data] == [
        ("purposes", "channels", ["email", "post"])
    ]


def test_a_file_is_compared_with_what_is_in_force_as_its_load_would_change_it(up: Up, write: Write) -> None:
    file = write(register("dune"))
    before = consent("register", "diff", file, "--json", data=up.data)
    old = version(up)
    new = loaded(up, file).data[0]["version"]

    after = consent("register", "diff", file, data=up.data)
    versions = consent("register", "diff", str(old), str(new), "--json", data=up.data)
    since = consent("register", "diff", str(old), "--json", data=up.data)

    assert (before.status, after.status) == (1, 0)
    assert [(one["what"], one["part"], one["name"]) for one in before.data] == [
        ("added", "controllers", "dune"), ("added", "purposes", "dune/newsletter"), ("added", "sources", "web:dune"),
    ]  # fmt: skip
    assert versions.data == since.data == before.data
    assert consent("register", "diff", "99999", data=up.data).status == 2


def test_an_impact_says_who_would_lose_permission_and_changes_nothing(up: Up, write: Write) -> None:
    loaded(up, write(register("farm")))
    people = [somebody() for _ in range(4)]
    published(
        up, *(of("farm", gave(one)) for one in people), of("farm", withdrew(people[0], time="2026-11-03T10:00:00Z"))
    )
    decided(up, "farm", people[0], reason="CONSENT_WITHDRAWN")
    for person in people[1:]:
        decided(up, "farm", person, reason="CONSENT")
    before, stricter = version(up), deepcopy(register("farm", min_text_version=2))
    stricter["purposes"].append(
        {**stricter["purposes"][0], "id": "invoices", "basis": "contract", "direct_marketing": False}
    )

    answer = consent("register", "diff", "--impact", write(stricter), "--json", data=up.data)
    shown = consent("register", "diff", "--impact", write(stricter), data=up.data)
    sampled = consent("register", "diff", "--impact", write(stricter), "--sample", "2", "--json", data=up.data)

    newsletter = [one for one in answer.data["people"] if one["purpose"] == "newsletter"]
    assert newsletter == [
        {"controller": "farm", "purpose": "newsletter", "channel": "email", "change": "loses", "before": "CONSENT",
         "after": "CONSENT_OUTDATED", "people": 3, "addresses": 3}
    ]  # fmt: skip
    assert (answer.status, answer.data["dossiers"], answer.data["decided"]) == (1, 4, 4)
    assert ("invoices", "gains") in {(one["purpose"], one["change"]) for one in answer.data["nobody"]}
    assert (sampled.data["dossiers"], sampled.data["decided"]) == (4, 2)
    assert "CONSENT_OUTDATED" in shown.out
    assert not any(person in shown.out + answer.out for person in people)
    assert version(up) == before
    decided(up, "farm", people[3], reason="CONSENT")


def test_an_impact_on_nobody_is_no_difference(up: Up, write: Write) -> None:
    loaded(up, write(register("wood")))

    answer = consent(
        "register", "diff", "--impact", write(register("wood", description="News of woods.")), data=up.data
    )

    assert answer.status == 0
    assert "nobody gains or loses permission" in answer.out


def test_an_impact_is_of_one_file(up: Up, write: Write) -> None:
    file = write(register("wood"))

    assert consent("register", "diff", "--impact", file, file, data=up.data).status == 2
    assert consent("register", "diff", "--impact", "1", data=up.data).status == 2
    assert consent("register", "diff", file, file, "--sample", "3", data=up.data).status == 2


def test_a_load_that_is_followed_returns_when_every_answer_rests_on_it(up: Up, write: Write) -> None:
    loaded(up, write(register("barn")))
    person = somebody()
    published(up, of("barn", gave(person)))
    decided(up, "barn", person, reason="CONSENT")

    new = loaded(up, write(register("barn", min_text_version=2)), "--follow").data[0]["version"]
    progress = consent("register", "progress", "--json", data=up.data)

    assert (progress.data["version"], progress.data["view_version"], progress.data["controllers"]) == (new, new, [])
    assert progress.data["swept"] == progress.data["total"] > 0
    decided(up, "barn", person, reason="CONSENT_OUTDATED")


def test_a_new_controller_is_told_which_refusals_do_not_reach_it(up: Up, write: Write) -> None:
    before = loaded(up, write(register("first"))).data[0]["unreached"]
    person = somebody()
    nobody = json.loads(withdrew(person))
    del nobody["data"]["controllers"]
    published(up, json.dumps(nobody), of("second", withdrew(person)), gave(person, time="2026-10-01T10:00:00Z"))
    decided_at_dekra = ("--controller", "dekra-be", "--purpose", "newsletter-email", "--channel", "email", "--json")
    deadline = time.monotonic() + 30
    while consent("decide", *decided_at_dekra, person, data=up.data).data["reason"] == "CONSENT_ABSENT":
        assert time.monotonic() < deadline

    answer = loaded(up, write(register("second")))
    again = loaded(up, write(register("second")))

    assert answer.data[0]["unreached"] == [before[0] + 1, 1]
    assert again.data[0]["unreached"] is None
