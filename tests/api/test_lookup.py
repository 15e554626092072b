"""An officer is shown a person at one controller: what is recorded, and nothing of anybody else.

Seen to fail: another controller's payloads, identifiers or events shown; everybody of a dossier taken for the person;
voided entries not marked; what is erased told as if it were elsewhere; a page that begins one too early; earlier looks,
or events that refer to the person, left out; steps of a request not found by its name, by the person or by the step;
steps of other controllers shown, also by their own id, or those of other people of the dossier, or of the first who
used the name; a ring of events followed for ever.
"""

import json
import uuid
from collections.abc import Callable
from typing import Any

from api.looking import erase, shown, types
from api.served import Api
from builders import email, event, given, linked, objected, withdrawn
from running import Installation

Address = Callable[[], str]


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
