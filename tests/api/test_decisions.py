"""Recorded means suppressed, over HTTP: what is asked after a commit is answered with it, or with no.

Seen to fail: no barrier; a view that is behind answered from; the horizon not looked at; the version that a purpose
needs not looked at; a yes used beyond its end; `at` passed over, with and without the dossiers; only the first address,
or its dossier, looked at; an address that is none let pass; addresses not normalised; the register kept when a new one
is in force; answers out of order; 10,001 questions; what was sent quoted; every no called final;
the place of the first entry for the last; open questions answered for channels that the address cannot serve.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from api.served import Api, question, served
from builders import email, given, linked, objected, withdrawn
from consent_ledger.domain.durations import rfc3339
from running import Installation

Address = Callable[[], str]


def brief(answer: dict[str, object]) -> tuple[object, object]:
    return (answer["allow"], answer["reason"])


# -- answers


async def test_a_consent_allows_and_its_withdrawal_does_not_and_both_say_where_they_stand(
    api: Api, address: Address
) -> None:
    person = address()
    (consent,) = await api.recorded(given(email(person)))
    (before,) = await api.decide(question(person))
    (withdrawal,) = await api.recorded(withdrawn(email(person)))

    (after,) = await api.decide(question(person))

    assert before == {
        "allow": True,
        "reason": "CONSENT",
        "reasons": ["CONSENT"],
        "basis": "consent",
        "position": {"shard": consent["shard"], "position": consent["position"]},
        "recorded_at": consent["recorded_at"],
        "valid_until": None,
        "final": True,
    }
    assert after["allow"] is False
    assert after["reason"] == after["reasons"][0] == "CONSENT_WITHDRAWN"
    assert after["position"] == {"shard": withdrawal["shard"], "position": withdrawal["position"]}
    assert after["final"] is True


async def test_answers_come_in_the_order_of_the_questions(api: Api, address: Address) -> None:
    people = [address() for _ in range(60)]
    await api.recorded(*(given(email(person)) for person in people[::3]))
    await api.recorded(*(objected(email(person)) for person in people[::2]))

    answers = await api.decide(*map(question, people))

    expected = [
        "OBJECTION_DM" if number % 2 == 0 else "CONSENT" if number % 3 == 0 else "CONSENT_ABSENT"
        for number in range(60)
    ]
    assert [answer["reason"] for answer in answers] == expected
    assert [answer["allow"] for answer in answers] == [reason == "CONSENT" for reason in expected]


async def test_an_address_with_nothing_on_record_gets_the_default_and_no_position(api: Api, address: Address) -> None:
    newsletter, invoice = await api.decide(question(address()), question(address(), purpose="invoice"))

    assert brief(newsletter) == (False, "CONSENT_ABSENT")
    assert brief(invoice) == (True, "CONTRACT")
    assert [answer["position"] for answer in (newsletter, invoice)] == [None, None]
    assert invoice["basis"] == "contract"


async def test_an_address_is_found_however_it_is_written(api: Api, address: Address) -> None:
    person = address()
    await api.recorded(given(email(person)))

    (answer,) = await api.decide(question(f"  {person.upper()} "))

    assert brief(answer) == (True, "CONSENT")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"controller": "nobody"}, "UNKNOWN_CONTROLLER"),
        ({"purpose": "nothing"}, "UNKNOWN_PURPOSE"),
        ({"channel": "post"}, "CHANNEL_NOT_COVERED"),
        ({"channel": "pigeon"}, "CHANNEL_NOT_COVERED"),
        ({"channel": "sms"}, "NO_ADDRESS"),
        ({"subject": []}, "NO_ADDRESS"),
        ({"subject": [{"type": "email", "value": "no address"}]}, "NO_ADDRESS"),
        ({"subject": [email("an@example.be"), email("bert@example.be")]}, "NO_ADDRESS"),
        ({"subject": [{"type": "email", "value": "no address"}], "purpose": "invoice"}, "NO_ADDRESS"),
    ],
)
async def test_what_cannot_be_decided_is_no_and_says_why(api: Api, fields: dict[str, Any], reason: str) -> None:
    (answer,) = await api.decide(question(**fields))

    assert brief(answer) == (False, reason)


async def test_a_question_without_purpose_or_channel_is_answered_for_each(api: Api, address: Address) -> None:
    person = address()
    await api.recorded(given(email(person)))

    every, one_purpose, one_channel, of_nobody, nothing = await api.decide(
        question(person, purpose=None, channel=None),
        question(person, channel=None),
        question(person, purpose=None),
        question(person, controller="nobody", purpose=None),
        question(person, purpose="nothing", channel=None),
    )

    def told(answer: dict[str, list[dict[str, object]]]) -> list[tuple[object, ...]]:
        return [(one["purpose"], one["channel"], one["reason"]) for one in answer["decisions"]]

    all_three = [
        ("newsletter", "email", "CONSENT"),
        ("invoice", "email", "CONTRACT"),
        ("week", "email", "CONSENT_ABSENT"),
    ]
    assert told(every) == all_three
    assert told(one_purpose) == [("newsletter", "email", "CONSENT")]
    assert told(one_channel) == all_three
    assert told(of_nobody) == [(None, "email", "UNKNOWN_CONTROLLER")]
    assert told(nothing) == [("nothing", None, "UNKNOWN_PURPOSE")]
    assert every["decisions"][0]["position"] is not None


async def test_several_addresses_of_one_person_are_decided_together(api: Api, address: Address) -> None:
    person, number = address(), "+32470123456"
    await api.recorded(given(email(person)))
    (objection,) = await api.recorded(objected({"type": "phone", "value": number}))
    both = [email(person), {"type": "phone", "value": number}]

    alone, together = await api.decide(question(person), question(subject=both))

    assert brief(alone) == (True, "CONSENT")
    assert brief(together) == (False, "OBJECTION_DM")
    assert together["position"] == {"shard": objection["shard"], "position": objection["position"]}
    assert together["recorded_at"] == objection["recorded_at"]


async def test_a_refusal_by_another_address_of_the_person_counts(api: Api, address: Address) -> None:
    person, other = address(), address()
    await api.recorded(given(email(person)), linked(email(person), email(other)))
    await api.recorded(withdrawn(email(other)))

    (answer,) = await api.decide(question(person))

    assert brief(answer) == (False, "CONSENT_WITHDRAWN")


async def test_another_instant_is_answered_as_it_was_then_and_will_be(api: Api, address: Address) -> None:
    person = address()
    await api.recorded(given(email(person), purposes=["week"], time="2026-03-01T09:00:00Z"))

    answers = await api.decide(
        *(
            question(person, purpose="week", at=at)
            for at in (
                "2026-03-01T08:59:59Z",
                "2026-03-01T09:00:00Z",
                "2026-03-08T09:59:59+01:00",
                "2026-03-08T09:00:00Z",
            )
        )
    )

    assert [answer["reason"] for answer in answers] == ["CONSENT_ABSENT", "CONSENT", "CONSENT", "CONSENT_EXPIRED"]
    assert answers[1]["valid_until"] == "2026-03-08T09:00:00.000Z"


async def test_the_answer_says_what_it_rests_on(api: Api, address: Address) -> None:
    first = (await api.ask(question(address()))).json()
    await api.recorded(given(email(address())))

    second = (await api.ask(question(address()))).json()

    assert isinstance(first["known"], str)
    assert first["known"] != second["known"]
    assert datetime.fromisoformat(first["horizon"]) <= datetime.fromisoformat(second["horizon"])


# -- what is refused


@pytest.mark.parametrize(
    "wrong",
    [
        {"purpose": 7},
        {"controller": None},
        {"subject": {"type": "email", "value": "secret@example.be"}},
        {"subject": [{"type": "pigeon", "value": "secret@example.be"}]},
        {"subject": [{"type": "email", "value": "secret@example.be", "shared": True}]},
        {"purposes": "secret@example.be"},
        {"at": "2026-03-01T09:00:00"},
        {"at": "secret@example.be"},
        {"subject": [{"type": "email", "value": "secret@example.be"}] * 51},
    ],
)
async def test_a_malformed_question_is_named_by_its_index_and_not_quoted(api: Api, wrong: dict[str, Any]) -> None:
    answer = await api.ask(question(), question(**wrong), question())

    assert answer.status_code == 422
    assert answer.json()["index"] == 1
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text


async def test_other_malformed_bodies_are_told_apart(api: Api) -> None:
    statuses = [
        (await api.client.post("/v1/decisions", content=body)).status_code
        for body in (b"", b"{", b"\xff", b"[]", b"{}", b'{"questions": 1}', b'{"questions": [], "as_of": "?"}')
    ]

    assert statuses == [400, 400, 400, 422, 422, 422, 422]


async def test_ten_thousand_questions_are_answered_and_one_more_is_413(api: Api) -> None:
    answer = await api.ask(*[question()] * 10_000)
    too_many = await api.ask(*[question()] * 10_001)
    malformed = await api.ask(*[{}] * 10_001)

    assert len(answer.json()["decisions"]) == 10_000
    assert (too_many.status_code, malformed.status_code) == (413, 413)


# -- the barrier, the horizon and the register


@pytest.fixture
async def viewer_held(installed: Installation) -> AsyncIterator[Callable[[], object]]:
    """Hold the view's head in a transaction, so that nothing is folded, until the returned function is called."""
    other: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(installed.settings.dsn)
    held = other.transaction()
    await held.start()
    await other.execute("SELECT FROM consent.view_head FOR UPDATE")
    yield held.rollback
    await other.close()


async def test_a_decision_waits_for_the_view_to_fold_what_was_committed_before_it(
    api: Api, address: Address, viewer_held: Callable[[], AsyncIterator[None]]
) -> None:
    person = address()
    await api.recorded(objected(email(person)))

    asked = asyncio.create_task(api.decide(question(person, purpose="invoice"), question(person)))
    finished, _ = await asyncio.wait({asked}, timeout=0.3)
    assert not finished
    await viewer_held()  # type: ignore[misc]
    answers = await asked

    assert [brief(answer) for answer in answers] == [(True, "CONTRACT"), (False, "OBJECTION_DM")]


async def test_a_view_that_stays_behind_is_answered_no_for_the_moment(
    installed: Installation, address: Address, viewer_held: object
) -> None:
    async with served(installed, barrier_ms=50) as impatient:
        await impatient.decide(question())
        await impatient.recorded(objected(email(address())))

        answer = (await impatient.ask(question(), question(purpose=None))).json()

    assert viewer_held
    assert (brief(answer["decisions"][0]), answer["decisions"][0]["final"]) == ((False, "STALE"), False)
    assert {one["reason"] for one in answer["decisions"][1]["decisions"]} == {"STALE"}
    assert answer["known"] is answer["horizon"] is None


async def test_a_horizon_older_than_the_limit_is_no_to_everything_for_the_moment(api: Api, address: Address) -> None:
    person = address()
    await api.recorded(given(email(person)))
    limit = timedelta(seconds=api.installation.settings.max_staleness)
    horizon = (await api.installation.fetch("SELECT instant FROM consent.horizon"))[0][0]

    api.clock.instant = horizon + limit - timedelta(seconds=1)
    (fresh,) = await api.decide(question(person))
    api.clock.instant = datetime.now(UTC) + limit + timedelta(seconds=1)
    stale, other = await api.decide(question(person), question(purpose="invoice", at="2026-03-01T09:00:00Z"))
    api.clock.instant = None

    assert brief(fresh) == (True, "CONSENT")
    assert [(brief(one), one["final"]) for one in (stale, other)] == [((False, "STALE"), False)] * 2


async def test_a_yes_that_time_has_ended_is_decided_anew(api: Api, address: Address) -> None:
    person, now = address(), datetime.now(UTC)
    (recorded,) = await api.recorded(given(email(person), purposes=["week"], time=now.isoformat()))
    (before,) = await api.decide(question(person, purpose="week"))

    then = now + timedelta(days=7)
    # The viewer's clock has not moved, so the stored yes is still there.
    async with served(api.installation, max_staleness=timedelta(days=8).total_seconds()) as patient:
        patient.clock.instant = then
        (after,) = await patient.decide(question(person, purpose="week"))

    assert recorded["status"] == "entry"
    assert brief(before) == (True, "CONSENT")
    assert before["valid_until"] == rfc3339(then)
    assert brief(after) == (False, "CONSENT_EXPIRED")


async def test_a_stored_yes_under_a_register_that_has_changed_since_is_no(api: Api, address: Address) -> None:
    person = address()
    await api.recorded(given(email(person)))
    superuser = api.installation.superuser

    await superuser.execute("INSERT INTO consent.needs VALUES ('shop-be', 'newsletter', 99) "
                            "ON CONFLICT (controller, purpose) DO UPDATE SET version = 99")  # fmt: skip
    changed, unconcerned, unknown = await api.decide(
        question(person), question(person, purpose="invoice"), question(address())
    )
    await superuser.execute("UPDATE consent.needs SET version = 1")

    assert (brief(changed), changed["final"]) == ((False, "REGISTER_CHANGED"), False)
    assert brief(unconcerned) == (True, "CONTRACT")
    assert brief(unknown) == (False, "CONSENT_ABSENT")


async def test_a_new_register_is_in_force_for_the_next_question(
    api: Api, installed: Installation, address: Address
) -> None:
    before = await api.decide(question(address(), purpose="brochure"))
    brochure = {"controller": "shop-be", "id": "brochure", "basis": "contract", "channels": ["email"],
                "description": "brochures that were asked for"}  # fmt: skip

    await installed.recorded(await installed.load_register({"purposes": [brochure]}))
    after = await api.decide(question(address(), purpose="brochure"))

    assert brief(before[0]) == (False, "UNKNOWN_PURPOSE")
    assert brief(after[0]) == (True, "CONTRACT")


async def test_without_the_database_it_is_503(installed: Installation, unused_port: int) -> None:
    dead = SecretStr(f"postgresql://nobody@127.0.0.1:{unused_port}/none")
    async with served(installed, database_url=dead) as api:
        answer = await api.ask(question())

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert json.loads(answer.text)["type"] == "urn:consent-ledger:problem:unavailable"
