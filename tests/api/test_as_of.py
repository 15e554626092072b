"""What was known then, and what was answered by it.

Seen to fail: entries beyond `known` counted; entries recorded after the instant counted; the register in force now used
for then; the clock of now used for then; the scope decide enough; `known` of more than there is accepted; a later
instant accepted. What was deleted not asked after, with `as_of`, or with `at` alone; the later of both taken
for the age of a question.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.conftest import REGISTER
from api.served import Api, question
from builders import email, erased, event, given, withdrawn
from consent_ledger.api.known import Known

Address = Callable[[], str]
INVALID = "urn:consent-ledger:problem:invalid"


async def told(api: Api, as_of: str, **asked: Any) -> tuple[bool, str]:
    """The answer by what was known then."""
    answer = await api.ask(question(**asked), as_of=as_of)
    assert answer.status_code == 200, answer.text
    (said,) = answer.json()["decisions"]
    return said["allow"], said["reason"]


async def test_an_answer_is_given_again_from_what_it_rested_on(api: Api, address: Address) -> None:
    an = address()
    knowledge = []
    for one in (given(email(an)), withdrawn(email(an), time="2026-03-02T09:00:00Z")):
        knowledge.append((await api.ask(question(an))).json()["known"])
        await api.recorded(one)
    knowledge.append((await api.ask(question(an))).json()["known"])

    again = [await told(api, known, value=an) for known in knowledge]

    assert again == [(False, "CONSENT_ABSENT"), (True, "CONSENT"), (False, "CONSENT_WITHDRAWN")]


async def test_what_was_recorded_up_to_an_instant_is_known_then(api: Api, address: Address) -> None:
    an = address()
    (first,) = await api.recorded(given(email(an)))
    (second,) = await api.recorded(withdrawn(email(an), time="2026-03-02T09:00:00Z"))
    instant = datetime.fromisoformat(second["recorded_at"])

    before = await told(api, (instant - timedelta(microseconds=1)).isoformat(), value=an)
    then = await told(api, instant.isoformat(), value=an)
    happened = await told(api, instant.isoformat(), value=an, at="2026-03-01T12:00:00Z")

    assert datetime.fromisoformat(first["recorded_at"]) < instant
    assert (before, then, happened) == ((True, "CONSENT"), (False, "CONSENT_WITHDRAWN"), (True, "CONSENT"))


async def test_the_clock_and_the_register_are_those_of_then(api: Api, address: Address) -> None:
    an, now = address(), datetime.now(UTC)
    await api.recorded(given(email(an), purposes=["week"], time=(now - timedelta(days=7, minutes=-1)).isoformat()))
    known = (await api.ask(question(an, purpose="week"))).json()["known"]
    installed = api.installation
    longer = {**REGISTER, "purposes": [
        {**one, "consent_ttl": "P1D"} if one["id"] == "week" else one for one in REGISTER["purposes"]
    ]}  # fmt: skip
    await installed.recorded(await installed.load_register(longer))
    (today,) = await api.decide(question(an, purpose="week"))

    api.clock.instant = now + timedelta(minutes=2)
    then = await told(api, known, value=an, purpose="week")
    later = await told(api, known, value=an, purpose="week", at=(now + timedelta(minutes=2)).isoformat())
    api.clock.instant = None
    await installed.recorded(await installed.load_register(REGISTER))

    assert today["reason"] == "CONSENT_EXPIRED"
    assert (then, later) == ((True, "CONSENT"), (False, "CONSENT_EXPIRED"))


async def test_before_there_was_a_register_nothing_is_known(api: Api) -> None:
    assert await told(api, "2020-01-01T00:00:00Z") == (False, "UNKNOWN_CONTROLLER")


async def test_the_past_is_for_auditors(api: Api) -> None:
    decider, auditor = await api.key("decide"), await api.key("audit")
    now = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()

    past = [(await api.ask(question(), key=key, as_of=now)).status_code for key in (decider, auditor)]
    present = [(await api.ask(question(), key=key)).status_code for key in (decider, auditor)]

    assert (past, present) == ([403, 200], [200, 403])


@pytest.mark.parametrize(
    "as_of",
    ["yesterday", "2026-03-01", "2026-03-01T09:00:00", "", "kg", Known(-(10**18)).dumps(), "2999-01-01T00:00:00Z"],
)
async def test_what_says_no_time_of_the_past_is_invalid(api: Api, as_of: str) -> None:
    answer = await api.ask(question(), as_of=as_of)

    assert (answer.status_code, answer.json()["type"]) == (422, INVALID)


async def test_what_was_never_known_is_invalid(api: Api) -> None:
    now = int(datetime.now(UTC).timestamp() * 1_000_000) - 1_000_000
    unheard = [Known(now, (10**9, 0, 0), 1), Known(now, (0, 0, 0, 0), 1), Known(now, (0,), 10**9), Known(now, (0,), -1)]

    statuses = [(await api.ask(question(), as_of=known.dumps())).status_code for known in unheard]

    assert statuses == [422] * 4


async def test_what_rested_on_something_erased_is_not_guessed(api: Api, address: Address) -> None:
    an, bert = address(), address()
    call = event("contact-recorded", controllers=["shop-be"], subject=[email(an)], initiated_by="subject", kind="call")
    await api.recorded(given(email(an)), given(email(bert)), call)
    known = (await api.ask(question(an))).json()["known"]
    erasure = erased(email(an), time=datetime.now(UTC).isoformat())
    await api.recorded(erasure)
    await api.installation.carried_out(erasure)
    after = (await api.ask(question(an))).json()["known"]

    then = await told(api, known, value=an)
    happened = [(one["allow"], one["reason"]) for one in await api.decide(question(an, at="2026-03-02T12:00:00Z"))]
    both = await told(api, after, value=an, at="2026-03-02T12:00:00Z")
    (item,) = (await api.ask(question(an), as_of=known)).json()["decisions"]
    explained = await api.client.post(
        "/v1/decisions",
        params={"explain": "true"},
        json={"questions": [question(an)], "as_of": known, "reason": "complaint"},
    )

    assert (then, *happened, both) == ((False, "NOT_REPRODUCIBLE"),) * 3
    assert item["final"]
    assert explained.json()["decisions"][0]["explanation"]["reason"] == "NOT_REPRODUCIBLE"
    assert await told(api, known, value=bert) == (True, "CONSENT")
    assert await told(api, after, value=an) == (False, "ERASED")
    assert [one["reason"] for one in await api.decide(question(an))] == ["ERASED"]


async def test_what_the_kept_proof_of_a_consent_says_is_still_answered(api: Api, address: Address) -> None:
    an = address()
    await api.recorded(given(email(an)))
    known = (await api.ask(question(an))).json()["known"]
    erasure = erased(email(an), time=datetime.now(UTC).isoformat())
    await api.recorded(erasure)
    await api.installation.carried_out(erasure)

    assert await told(api, known, value=an) == (True, "CONSENT")
