"""An officer is shown a person at one controller, after the ledger has recorded the look, and never otherwise.

Seen to fail: an answer sent before the ledger had the look; looks folded; a look that makes a key, or is kept under one
that was destroyed; scope and controllers of the key not looked at; another controller's payloads, identifiers or events
shown; everybody of a dossier taken for the person; voided entries not marked; what is erased told as if it were
elsewhere; a digest without a key; a look under an address that has no key beside one that has; looks let through when
published; a page that begins one too early; earlier looks, or events that refer to the person, left out; steps of a
request not found by its name, by the person or by the step; steps of other controllers shown, also by their own id, or
those of other people of the dossier, or of the first who used the name; a ring of events followed for ever.
"""

import hmac
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from api.served import Api, bearer, question, served
from builders import email, event, given, linked, objected, withdrawn
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import keys
from running import Installation, installation, serving

Address = Callable[[], str]
REASON = "request of 3 March"


async def looked(api: Api, value: str | None = None, *, wait: int = 20, key: str | None = None, **more: Any) -> Any:
    said = {"controller": "shop-be", "reason": REASON, **({"subject": [email(value)]} if value else {}), **more}
    headers = {"Prefer": f"wait={wait}"} | bearer(key)
    return await api.client.post("/v1/subjects/lookup", json=said, headers=headers)


async def shown(api: Api, value: str | None = None, **more: Any) -> Any:
    answer = await looked(api, value, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()["shown"]


def types(seen: Any) -> list[str]:
    return [entry["type"] for entry in seen["entries"]]


async def looks_of(installed: Installation, value: str) -> list[Any]:
    """What the ledger holds of looks at an address of the first shop."""
    hash_ = await hash_of(installed, value)
    return await installed.fetch(
        "SELECT l.*, p.person,"
        "       (SELECT count(*) FROM entry_subject s WHERE (s.shard, s.pos) = (l.shard, l.pos)) AS named"
        "  FROM entry_subject e JOIN ledger l USING (shard, pos) LEFT JOIN payload p USING (shard, pos)"
        " WHERE e.hash = $1 AND l.type = 'subject-viewed' ORDER BY l.recorded_at",
        hash_,
    )


async def hash_of(installed: Installation, value: str, controller: str = "shop-be") -> bytes:
    connection = await connect(installed.settings.dsn, "consent_operator")
    try:
        key = (await keys.controller_keys(connection, installed.keks))[controller].key
    finally:
        await connection.close()
    return address_hash(key, "email", value)


# -- what is shown


async def test_a_person_is_shown_in_clear_with_times_places_and_who_typed(api: Api, address: Address) -> None:
    person = address()
    refused = withdrawn(email(person), entered_by="staff:jan", received_via="phone", time="2026-03-05T10:00:00Z")
    (first,) = await api.recorded(given(email(person)))
    (second,) = await api.recorded(refused)

    seen = await shown(api, person)

    assert types(seen) == ["consent-given", "consent-withdrawn"]
    consent, withdrawal = seen["entries"]
    assert consent["identifiers"] == [{"role": "subject", "type": "email", "value": person}]
    assert consent["position"] == {"shard": first["shard"], "position": first["position"]}
    assert consent["said"]["evidence.ref"] == "form-snapshot"
    assert withdrawal["event_id"] == refused["id"]
    assert (withdrawal["entered_by"], withdrawal["source"]) == ("staff:jan", "web:shop-be")
    assert withdrawal["occurred_at"] == "2026-03-05T10:00:00Z"
    assert withdrawal["recorded_at"] == second["recorded_at"]
    assert withdrawal["register_version"] == (await api.client.get("/v1/register")).json()["version"]
    assert {entry["personal"] for entry in seen["entries"]} == {"shown"}
    newsletter = next(one for one in seen["answers"][0]["decisions"] if one["purpose"] == "newsletter")
    assert (newsletter["allow"], newsletter["reason"]) == (False, "CONSENT_WITHDRAWN")
    assert [(one["type"], one["value"]) for one in seen["suppression"]] == [("email", person)]


async def test_linked_identifiers_are_shown_with_the_entries_that_name_them(api: Api, address: Address) -> None:
    person, other, stranger = address(), address(), address()
    await api.recorded(given(email(person)), given(email(stranger)))
    (link,) = await api.recorded(linked(email(person), email(other)))
    await api.recorded(objected(email(other)))

    seen = await shown(api, person)

    assert types(seen) == ["consent-given", "identifiers-linked", "objection-raised"]
    found = {one["value"]: one for one in seen["identifiers"]}
    assert set(found) == {person, other}
    assert found[person]["asked"]
    assert not found[other]["asked"]
    assert {"shard": link["shard"], "position": link["position"]} in found[other]["positions"]
    assert {answers["value"] for answers in seen["answers"]} == {person, other}
    assert stranger not in json.dumps(seen)


async def test_a_changed_address_is_shown_with_what_it_was(api: Api, address: Address) -> None:
    old, new = address(), address()
    await api.recorded(
        event("identifier-changed", controllers=["shop-be"], old=email(old.upper()), new=email(new), verified=True)
    )

    seen = await shown(api, new)

    assert seen["entries"][0]["identifiers"] == [
        {"role": "old", "type": "email", "value": old},
        {"role": "new", "type": "email", "value": new},
    ]


async def test_two_people_who_share_a_number_are_not_shown_together(api: Api, address: Address) -> None:
    person, other = address(), address()
    hotel = {"type": "phone", "value": "+3212345678", "shared": True}
    await api.recorded(given(email(person), hotel), given(email(other), hotel))

    seen = await shown(api, person)

    assert types(seen) == ["consent-given"]
    assert other not in json.dumps(seen)


async def test_marks_say_what_was_voided_malformed_and_in_conflict(api: Api, address: Address) -> None:
    person = address()
    consent = given(email(person))
    await api.recorded(consent)
    refusal = withdrawn(email(person))
    again = withdrawn(email(person), purposes=["invoice"], id=refusal["id"])
    await api.recorded(event("event-voided", controllers=["shop-be"], voids=consent["id"], entered_by="a"))
    await api.recorded(refusal)
    await api.recorded(again)
    await api.recorded(objected(email(person), kind=7))

    seen = await shown(api, person)

    assert types(seen)[:2] == ["consent-given", "event-voided"]
    assert [entry["voided"] for entry in seen["entries"]] == [True, False, False, False, False]
    assert [entry["conflicts_with"] for entry in seen["entries"]] == [None, None, None, refusal["id"], None]
    malformed = seen["entries"][4]
    assert (malformed["malformed"], malformed["entered_by"]) == (True, "ledger")
    assert [record["reason"] for record in malformed["in_quarantine"]] == ["BAD_FIELD"]


async def test_an_event_is_found_by_its_id_and_says_what_it_waits_for(api: Api, address: Address) -> None:
    person, missing = address(), str(uuid.uuid4())
    consent = given(email(person))
    early = event("consent-confirmed", controllers=["shop-be"], consent_id=missing)
    await api.recorded(consent, early)

    by_event = await shown(api, event_id=consent["id"])
    waiting = await shown(api, event_id=early["id"])
    nothing = await shown(api, event_id=missing)

    assert types(by_event) == ["consent-given"]
    assert by_event["identifiers"][0]["value"] == person
    assert [(entry["event_id"], entry["waits_for"]) for entry in waiting["entries"]] == [(early["id"], missing)]
    assert nothing["entries"] == []


async def test_steps_of_a_request_are_found_by_its_name_or_its_event(api: Api, address: Address) -> None:
    """Also by a step's own id, and by an event that voids one."""
    person, name = address(), str(uuid.uuid4())
    at: dict[str, Any] = {"controllers": ["shop-be"], "request_id": name}
    asked = event("request-received", article="15", subject=[email(person)], **at)
    doubted = event("identity-requested", **at)
    answered = event("request-answered", digest="sha256:1", **at)
    erased = event("erasure-requested", controllers=["shop-be"], subject=[email(person)])
    refused = event("erasure-refused", controllers=["shop-be"], request_id=erased["id"], grounds="17(3)(e)")
    mistake = event("event-voided", controllers=["shop-be"], voids=doubted["id"])
    # A step may come before its request.
    for one in (answered, asked, doubted, event("request-extended", **at), mistake, erased, refused):
        await api.recorded(one)

    seen = await shown(api, person)
    by_step = await shown(api, event_id=answered["id"])

    expected = ["request-answered", "request-received", "identity-requested", "request-extended", "event-voided",
                "erasure-requested", "erasure-refused"]  # fmt: skip
    assert types(seen) == expected
    assert [one for one in types(by_step) if one != "subject-viewed"] == expected
    assert {entry["waits_for"] for entry in seen["entries"]} == {None}


async def test_steps_of_others_and_of_other_controllers_are_not_shown(api: Api, address: Address) -> None:
    """Neither of whoever shares an identifier, nor of whoever took the name of another's request for theirs."""
    person, other, phone = address(), address(), {"type": "phone", "value": "+3225550177", "shared": True}
    names = [str(uuid.uuid4()) for _ in range(2)]
    shops = ["shop-be", "shop-nl"]

    def step(kind: str, name: str, *controllers: str, **more: Any) -> Any:
        return event(kind, request_id=name, controllers=list(controllers), **more)

    abroad = step("request-answered", names[0], "shop-nl", digest="sha256:1")
    for one in (
        given(email(person), phone),
        given(email(other), phone),
        step("request-received", names[0], *shops, article="15", subject=[email(person)]),
        step("request-received", names[1], "shop-be", article="15", subject=[email(other)]),
        step("request-received", names[0], "shop-be", article="16", subject=[email(other)]),
        abroad,
        step("identity-requested", names[0], "shop-be"),
        step("request-extended", names[1], "shop-be"),
    ):
        await api.recorded(one)

    seen = await shown(api, person)
    sister = await shown(api, person, controller="shop-nl")
    others = await shown(api, other)
    by_step = await shown(api, event_id=abroad["id"])

    assert abroad["id"] not in {entry["event_id"] for entry in by_step["entries"]}
    assert types(seen) == ["consent-given", "request-received", "identity-requested"]
    assert types(sister) == ["request-received", "request-answered"]
    assert types(others) == ["consent-given", "request-received", "request-received", "request-extended"]


async def test_events_that_void_each_other_lead_to_nobody(api: Api) -> None:
    one, other = (event("event-voided", controllers=["shop-be"]) for _ in range(2))
    one["data"]["voids"], other["data"]["voids"] = other["id"], one["id"]
    await api.recorded(one, other)

    seen = await shown(api, event_id=one["id"])

    assert types(seen) == ["event-voided"]


async def test_a_controller_never_sees_anothers_entries_or_copies(api: Api, address: Address) -> None:
    person = address()
    at_garage = given(email(person), controllers=["garage-be"], source="web:garage-be", evidence={"text_id": "garage"})
    for_group = objected(email(person), entered_by="staff:jan")
    await api.recorded(at_garage, for_group)

    seen = await shown(api, person)
    sister = await shown(api, person, controller="shop-nl")
    foreign = await shown(api, event_id=at_garage["id"])

    assert types(seen) == ["objection-raised"]
    assert (sister["entries"][0]["type"], sister["entries"][0]["personal"]) == ("objection-raised", "elsewhere")
    assert "staff:jan" not in json.dumps(sister)
    assert foreign["entries"] == []
    assert "garage" not in json.dumps([seen, sister, foreign["entries"]])


async def test_what_cannot_be_decrypted_any_more_is_shown_as_erased(
    api: Api, installed: Installation, address: Address
) -> None:
    person = address()
    await api.recorded(given(email(person)))
    await erase(installed, person)

    seen = await shown(api, person)
    await api.recorded(withdrawn(email(person), entered_by="staff:jan"))
    later = await shown(api, person)

    assert [(entry["type"], entry["personal"]) for entry in later["entries"]] == [
        ("consent-given", "erased"),
        ("subject-viewed", "none"),
        ("consent-withdrawn", "shown"),
    ]
    assert seen["entries"][0]["identifiers"] == [{"role": "subject", "type": "email", "value": None}]
    assert seen["entries"][0]["said"]["evidence"]["ref"] is True


async def erase(installed: Installation, value: str) -> None:
    """Destroy the keys of a person, as an erasure does."""
    hash_ = await hash_of(installed, value)
    await installed.fetch("DELETE FROM person_key WHERE anchor = $1", hash_)


async def test_a_long_timeline_comes_in_pages(api: Api, address: Address) -> None:
    person = address()
    for _ in range(5):
        await api.recorded(withdrawn(email(person)))

    pages, after = [], None
    while True:
        page = await shown(api, person, limit=2, **({"after": after} if after else {}))
        pages.append([entry["event_id"] for entry in page["entries"] if entry["type"] != "subject-viewed"])
        if (after := page["next"]) is None or not pages[-1]:
            break

    whole = [entry["event_id"] for entry in (await shown(api, person))["entries"][:5]]
    assert [len(page) for page in pages[:3]] == [2, 2, 1]
    assert [one for page in pages for one in page] == whole


# -- the look


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
    from consent_ledger.viewer.app import Viewer  # noqa: PLC0415

    return serving(Viewer(made.settings, made.keks, made.clock).run())


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
