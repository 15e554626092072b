"""What the viewer makes of entries: dossiers that merge, references that wait, answers that follow every entry.

Seen to fail:
- the barrier removed (`caught_up` always true): refusals are answered by the consent before them;
- entries without identifiers dropped instead of waiting: the early confirmation never counts;
- `take_waiting` not called: the same;
- merging without taking over the facts of one side: its refusal is forgotten;
- `merge_idents` left out: a later refusal by the absorbed address does not reach the other;
- an event put into the dossier of what it refers to without its own identifiers: the fold fails for ever;
- the check against `due_at` left out of `news`: a week's consent never ends;
- a request known by a name that is no event waited for for ever; what came before it left waiting;
- a row that is not there taken for granted: the viewer stops at its dossier for ever.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import builders
from builders import confirmed, email, erasure_requested, given, linked, objected, withdrawn
from consent_ledger.domain.facts import Dossier
from consent_ledger.viewer import fold
from running import Installation, until
from viewer.asking import answers, hashed, reason

Address = Callable[[], str]


async def test_an_answer_asked_for_after_the_commit_follows_every_entry(home: Installation, address: Address) -> None:
    an = address()

    await home.recorded(await home.publish(given(email(an))))
    after_consent = await reason(home, an)
    await home.recorded(await home.publish(withdrawn(email(an), time="2026-03-02T09:00:00Z")))
    after_withdrawal = await reason(home, an)
    await home.recorded(await home.publish(given(email(an), time="2026-03-03T09:00:00Z"), shard=2))
    after_fresh_consent = await reason(home, an)
    await home.recorded(await home.publish(erasure_requested(email(an), time="2026-03-04T09:00:00Z")))
    after_erasure_request = await reason(home, an)

    assert (after_consent, after_withdrawal) == ("CONSENT", "CONSENT_WITHDRAWN")
    assert (after_fresh_consent, after_erasure_request) == ("CONSENT", "ERASURE_REQUESTED")


async def test_the_order_of_arrival_does_not_matter(home: Installation, address: Address) -> None:
    early, late = address(), address()
    yes, no = {"time": "2026-03-01T09:00:00Z"}, {"time": "2026-03-02T09:00:00Z"}

    await home.recorded(await home.publish(given(email(early), **yes)))
    await home.recorded(await home.publish(withdrawn(email(early), **no), shard=2))
    await home.recorded(await home.publish(withdrawn(email(late), **no), shard=2))
    await home.recorded(await home.publish(given(email(late), **yes)))

    assert await answers(home, early) == await answers(home, late)
    assert await reason(home, late) == "CONSENT_WITHDRAWN"


async def test_a_refusal_reaches_all_addresses_of_one_event(home: Installation, address: Address) -> None:
    an, work = address(), address()
    places = [
        await home.publish(given(email(an))),
        await home.publish(given(email(work)), shard=2),
        await home.publish(withdrawn(email(an), email(work), time="2026-03-02T09:00:00Z")),
    ]

    await home.recorded(*places)

    assert await reason(home, an) == await reason(home, work) == "CONSENT_WITHDRAWN"


@pytest.mark.parametrize("first_objects", [True, False])
async def test_a_link_joins_two_people_with_all_that_each_has_said(
    home: Installation, address: Address, *, first_objects: bool
) -> None:
    first, second = address(), address()
    consents, objects = (second, first) if first_objects else (first, second)
    for one in (first, second):
        await home.recorded(await home.publish(given(email(one))))
    await home.recorded(await home.publish(objected(email(objects), time="2026-03-02T09:00:00Z")))
    apart = await reason(home, consents)

    await home.recorded(await home.publish(linked(email(first), email(second), time="2026-03-03T09:00:00Z"), shard=2))
    joined = await reason(home, consents)
    hashes = [await hashed(home, one) for one in (first, second)]
    rows = await home.fetch(
        "SELECT DISTINCT d.id FROM ident i JOIN dossier d ON d.id = i.dossier WHERE i.hash = ANY($1)", hashes
    )

    assert (apart, joined) == ("CONSENT", "OBJECTION_DM")
    assert len(rows) == 1


async def test_after_a_merge_either_address_leads_to_the_person(home: Installation, address: Address) -> None:
    an, private = address(), address()
    await home.recorded(await home.publish(given(email(an))), await home.publish(given(email(private)), shard=2))
    await home.recorded(await home.publish(linked(email(an), email(private))))

    await home.recorded(await home.publish(withdrawn(email(private), time="2026-03-02T09:00:00Z"), shard=2))

    assert await reason(home, an) == "CONSENT_WITHDRAWN"


async def test_a_confirmation_that_comes_before_its_consent_waits_for_it(home: Installation, address: Address) -> None:
    an = address()
    consent = given(email(an), purposes=["club"])

    await home.recorded(await home.publish(confirmed(consent, time="2026-03-01T10:00:00Z"), shard=2))
    await reason(home, an)
    waiting = await home.fetch("SELECT shard FROM waiting WHERE ref_id = $1", consent["id"])
    await home.recorded(await home.publish(consent))
    after = await reason(home, an, purpose="club")

    assert [row["shard"] for row in waiting] == [2]
    assert after == "CONSENT"
    assert await home.fetch("SELECT FROM waiting WHERE ref_id = $1", consent["id"]) == []


async def test_an_unconfirmed_consent_is_pending_until_it_is_confirmed(home: Installation, address: Address) -> None:
    an = address()
    now = datetime.now(UTC)
    consent = given(email(an), purposes=["club"], time=now)

    await home.recorded(await home.publish(consent))
    pending = await reason(home, an, purpose="club")
    await home.recorded(await home.publish(confirmed(consent, time=now + timedelta(seconds=1)), shard=2))

    assert pending == "CONSENT_PENDING"
    assert await reason(home, an, purpose="club") == "CONSENT"


async def test_a_voiding_finds_the_person_of_the_event_it_voids(home: Installation, address: Address) -> None:
    an = address()
    consent = given(email(an))
    await home.recorded(await home.publish(consent))

    void = builders.event(
        "event-voided", controllers=["shop-be"], voids=consent["id"], reason="typed by mistake", entered_by="desk-1"
    )
    await home.recorded(await home.publish(void, shard=2))

    assert await reason(home, an) == "CONSENT_ABSENT"


async def test_a_group_wide_objection_reaches_the_other_controller_and_no_stranger(
    home: Installation, address: Address
) -> None:
    an = address()
    dutch = given(email(an), controllers=["shop-nl"], source="web:shop-nl")
    garage = given(email(an), controllers=["garage-be"], source="web:garage-be")
    await home.recorded(await home.publish(dutch), await home.publish(garage))

    await home.recorded(await home.publish(objected(email(an), time="2026-03-02T09:00:00Z")))

    assert await reason(home, an, controller="shop-nl") == "OBJECTION_DM"
    assert await reason(home, an, controller="garage-be") == "CONSENT"


async def test_a_consent_ends_by_time_alone(home: Installation, address: Address) -> None:
    an = address()
    now = datetime.now(UTC)
    await home.recorded(await home.publish(given(email(an), purposes=["week"], time=now)))
    before = (await answers(home, an))["week"]["email"]

    async def ended() -> bool:
        return await reason(home, an, purpose="week") == "CONSENT_EXPIRED"

    home.clock.instant = now + timedelta(days=7)
    try:
        await until(ended)
    finally:
        home.clock.instant = None

    assert before.allow
    assert before.valid_until is not None
    assert datetime.fromisoformat(before.valid_until) == (now + timedelta(days=7)).replace(tzinfo=UTC)


async def test_a_dossier_with_too_many_facts_answers_no_to_everything(
    home: Installation, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    an = address()
    monkeypatch.setattr(fold, "FACTS_MAX", 2)

    await home.recorded(*[await home.publish(given(email(an))) for _ in range(3)])
    found = await answers(home, an)

    assert {answer.reason for channels in found.values() for answer in channels.values()} == {"UNAVAILABLE"}
    assert not any(answer.allow for channels in found.values() for answer in channels.values())


@pytest.mark.parametrize("waits", [False, True])
async def test_an_event_that_names_another_address_than_the_event_it_refers_to_joins_both(
    home: Installation, address: Address, *, waits: bool
) -> None:
    asked, typed = address(), address()
    erasure = erasure_requested(email(asked), time="2026-03-02T09:00:00Z")
    executed = builders.event(
        "erasure-executed", controllers=["shop-be"], request_id=erasure["id"], subject=[email(typed)],
        time="2026-03-03T09:00:00Z",
    )  # fmt: skip
    if waits:
        await home.recorded(await home.publish(executed))
        assert await reason(home, typed) == "ERASED"
        await home.recorded(await home.publish(erasure))
    else:
        await home.recorded(*await home.publish_together(erasure, executed))

    assert await reason(home, asked) == "ERASURE_REQUESTED"
    assert await reason(home, typed) == "ERASED"
    hashes = [await hashed(home, one) for one in (asked, typed)]
    rows = await home.fetch("SELECT DISTINCT dossier FROM ident WHERE hash = ANY($1)", hashes)
    assert len(rows) == 1


async def test_a_row_that_got_lost_comes_back_when_its_dossier_is_decided_on(
    home: Installation, address: Address
) -> None:
    an = address()
    await home.recorded(await home.publish(given(email(an))))
    assert await reason(home, an) == "CONSENT"
    lost = await hashed(home, an)

    async with home.superuser.transaction():
        await home.superuser.execute("SELECT FROM view_head FOR UPDATE")
        await home.superuser.execute("DELETE FROM view WHERE hash = $1", lost)
        await home.superuser.execute(
            "UPDATE dossier SET due_at = '-infinity' WHERE id = (SELECT dossier FROM ident WHERE hash = $1)", lost
        )
    await until(lambda: home.fetch("SELECT FROM view WHERE hash = $1", lost))

    assert await reason(home, an) == "CONSENT"


async def test_the_steps_of_a_request_find_it_by_its_name_and_nothing_waits(
    home: Installation, address: Address
) -> None:
    an, name = address(), str(uuid.uuid4())

    def step(type: str, **more: Any) -> dict[str, Any]:
        return builders.event(type, controllers=["shop-be"], request_id=name, **more)

    await home.recorded(await home.publish(step("identity-requested"), shard=2))
    await reason(home, an)
    waiting = await home.fetch("SELECT FROM waiting WHERE ref_id = $1", name)
    await home.recorded(await home.publish(step("request-received", article="15", subject=[email(an)])))
    await home.recorded(await home.publish(step("request-answered", article="15"), shard=2))
    await reason(home, an)

    (stored,) = await home.fetch(
        "SELECT d.facts FROM ident i JOIN dossier d ON d.id = i.dossier WHERE i.hash = $1", await hashed(home, an)
    )
    assert [one.type for one in sorted(Dossier.loads(stored["facts"]).facts, key=lambda one: one.recorded)] == [
        "identity-requested", "request-received", "request-answered"
    ]  # fmt: skip
    assert len(waiting) == 1
    assert await home.fetch("SELECT FROM waiting WHERE ref_id = $1", name) == []
