"""Every look at a person is an entry before anything is shown, changes nothing, and is for officers alone.

Seen to fail: an answer sent before the ledger had the look; looks folded; a look that makes a key, or is kept under one
that was destroyed; scope and controllers of the key not looked at; a digest without a key; a look under an address that
has no key beside one that has; looks let through when published.
"""

import hmac
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from api.looking import REASON, erase, hash_of, looked, looks_of, shown, types
from api.served import Api, question, served
from builders import email, event, given
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import keys
from running import Installation, installation, serving

Address = Callable[[], str]


async def test_a_look_is_an_entry_that_says_who_whose_why_and_what(
    api: Api, installed: Installation, address: Address
) -> None:
    person = address()
    await api.recorded(given(email(person)))
    key = await api.key("audit", sources=(), controllers=["shop-be"])

    answer = await looked(api, person, key=key, viewer="staff:eva")
    again = await shown(api, person)

    look = answer.json()["look"]
    shown_then = answer.content[answer.content.index(b'"shown":') + len(b'"shown":') : -1]
    assert types(again) == ["consent-given", "subject-viewed"]
    entry = again["entries"][1]
    assert (entry["event_id"], entry["position"]) == (look["event_id"], look["position"])
    assert (entry["entered_by"], entry["said"]["reason"]) == ("staff:eva", REASON)
    assert entry["said"]["api_key"] == key.split("_")[1]
    assert entry["said"]["shown"] == 1
    assert entry["identifiers"] == [{"role": "viewed", "type": "email", "value": person}]
    assert entry["said"]["digest"] == look["digest"] == await digest(installed, shown_then)
    (row, _) = await looks_of(installed, person)
    assert REASON.encode() not in row["body"]
    assert b"staff:eva" not in row["body"]
    assert person.encode() not in row["body"]


async def digest(installed: Installation, content: bytes) -> str:
    connection = await connect(installed.settings.dsn, "consent_operator")
    key = (await keys.controller_keys(connection, installed.keks))["shop-be"].key
    await connection.close()
    return "hmac-sha256:" + hmac.digest(key, content, "sha256").hex()


async def test_nothing_is_shown_before_the_ledger_has_the_look(
    kafka: str, postgres: str, template: str, tmp_path: Any
) -> None:
    async with installation(kafka, postgres, template, tmp_path) as made:
        person = "an@example.be"
        async with serving(made.recorder().run()) as recorder:
            await made.recorded(await made.load_register(), service=recorder)
            await made.recorded(await made.publish(given(email(person))), service=recorder)
        async with follow(made), served(made, barrier_ms=5000) as api:
            unrecorded = await looked(api, person, wait=1)
        unheard = await looks_of(made, person)

        async with follow(made), serving(made.recorder().run()), served(made, barrier_ms=5000) as api:
            recorded = await looked(api, person)

    assert (unrecorded.status_code, unrecorded.json()["type"]) == (503, "urn:consent-ledger:problem:not-recorded")
    assert person not in unrecorded.text
    assert unheard == []
    assert recorded.status_code == 200


def follow(made: Installation) -> Any:

    return serving(made.viewer().run())


async def test_without_kafka_nothing_is_shown(
    api: Api, installed: Installation, address: Address, unused_port: int
) -> None:
    person = address()
    await api.recorded(given(email(person)))

    async with served(installed, barrier_ms=5000, kafka_bootstrap_servers=f"127.0.0.1:{unused_port}") as cut_off:
        answer = await looked(cut_off, person)

    assert answer.status_code == 503
    assert person not in answer.text
    assert await looks_of(installed, person) == []


async def test_looks_change_no_answer_no_dossier_and_no_row_of_the_view(
    api: Api, installed: Installation, address: Address
) -> None:
    person = address()
    await api.recorded(given(email(person)))
    before = (await api.decide(question(person)), await state(installed, person))

    for _ in range(3):
        await shown(api, person)

    assert (await api.decide(question(person)), await state(installed, person)) == before
    assert len(await looks_of(installed, person)) == 3


async def state(installed: Installation, value: str) -> list[Any]:
    hash_ = await hash_of(installed, value)
    return await installed.fetch(
        "SELECT d.facts, v.seq, v.decisions FROM ident i JOIN dossier d ON d.id = i.dossier JOIN view v USING (hash)"
        " WHERE i.hash = $1",
        hash_,
    )


async def test_a_look_makes_no_key_for_whom_there_is_none(api: Api, installed: Installation, address: Address) -> None:
    nobody, erased = address(), address()
    await api.recorded(given(email(erased)))
    await erase(installed, erased)

    for person in (nobody, erased):
        await shown(api, person)

    for person in (nobody, erased):
        (look,) = await looks_of(installed, person)
        assert look["person"] is None
        assert look["payload_commit"] == bytes(32)
        found = await installed.fetch("SELECT FROM person_key WHERE anchor = $1", await hash_of(installed, person))
        assert found == []


async def test_a_look_is_kept_under_the_persons_key_whichever_address_was_asked(
    api: Api, installed: Installation, address: Address
) -> None:
    person, other = address(), address()
    await api.recorded(given(email(person), email(other)))

    await shown(api, other)
    again = await shown(api, person)

    assert [entry["personal"] for entry in again["entries"]] == ["shown", "shown"]
    assert all(look["named"] == 1 for look in await looks_of(installed, person))


async def test_a_look_cannot_be_published(api: Api, address: Address) -> None:
    forged = event(
        "subject-viewed", controllers=["shop-be"], subject=[email(address())], entered_by="x", reason="y", shown=0,
        digest="z",
    )  # fmt: skip

    answer = await api.publish(forged)

    assert (answer.status_code, answer.json()["type"]) == (422, "urn:consent-ledger:problem:look")


# -- who may


async def test_only_officers_of_the_controller_look(api: Api, installed: Installation, address: Address) -> None:
    person = address()
    await api.recorded(given(email(person)))
    no_officer = await api.key("decide", "publish", "admin")
    elsewhere = await api.key("audit", controllers=["shop-nl"])

    answers = [await looked(api, person, key=key) for key in (no_officer, elsewhere)]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert await looks_of(installed, person) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": None},
        {"reason": " "},
        {"subject": None},
        {"subject": []},
        {"event_id": str(uuid.uuid4())},
        {"subject": [{"type": "pigeon", "value": "secret@example.be"}]},
        {"limit": 0},
        {"limit": 1001},
        {"after": {"shard": 77, "position": 1}},
        {"secret@example.be": 1},
    ],
)
async def test_a_wrong_request_is_refused_without_repeating_it(api: Api, wrong: dict[str, Any]) -> None:
    plain = {"controller": "shop-be", "reason": REASON, "subject": [email("secret@example.be")]}
    said = {name: value for name, value in (plain | wrong).items() if value is not None}

    answer = await api.client.post("/v1/subjects/lookup", json=said)

    assert answer.status_code == 422
    assert "secret" not in answer.text


async def test_a_controller_that_does_not_exist_is_said(api: Api) -> None:
    assert (await looked(api, "an@example.be", controller="nobody")).status_code == 404
