"""Whose an entry is, is fixed when it is recorded; who may read it, is whom it speaks to.

Seen to fail: the personal fields encrypted for everybody reached; hashes for the addressed ones only; one hash key
for all controllers; a salt for each controller; no salt; a key for each event instead of each person; tags that are
not the person's; the leaf computed over another body; the roles of identifiers lost; the source not asked whom it
serves.
"""

import hashlib
import json
import uuid

from builders import REGISTER, confirmed, email, encode, erasure_requested, event, given, linked, objected, withdrawn
from consent_ledger.domain.leaf import leaf_hash
from recorder.reading import hashes, opened_payloads, outcome, subjects
from running import Installation, Place


def address() -> str:
    return f"{uuid.uuid4().hex}@example.be"


async def take(home: Installation, said: object) -> Place:
    place = await home.publish(said)
    await home.recorded(place)
    return place


async def test_a_consent_is_found_and_read_at_the_controller_it_names_and_nowhere_else(home: Installation) -> None:
    who = address()

    place = await take(home, given(email(who)))

    assert await subjects(home, place) == {"shop-be": [(await hashes(home, "email", who))["shop-be"]]}
    assert (await opened_payloads(home, place)).keys() == {"shop-be"}


async def test_an_objection_for_the_group_is_found_at_each_controller_and_read_by_the_addressed_one(
    home: Installation,
) -> None:
    who = address()

    place = await take(home, objected(email(who)))

    known = await hashes(home, "email", who)
    assert await subjects(home, place) == {name: [known[name]] for name in ("shop-be", "shop-nl")}
    assert (await opened_payloads(home, place)).keys() == {"shop-be"}


async def test_an_objection_to_one_entity_is_found_there_alone(home: Installation) -> None:
    place = await take(home, objected(email(address()), controllers=["shop-nl"]))

    assert (await subjects(home, place)).keys() == {"shop-nl"}


async def test_a_refusal_that_names_no_controller_reaches_all_that_its_source_serves(home: Installation) -> None:
    known = await take(home, erasure_requested(email(address()), controllers=None, source="web:garage-be"))
    unknown = await take(home, erasure_requested(email(address()), controllers=None, source="web:nobody"))

    assert (await subjects(home, known)).keys() == {"garage-be"}
    assert (await subjects(home, unknown)).keys() == REGISTER["controllers"].keys()
    assert (await opened_payloads(home, unknown)).keys() == REGISTER["controllers"].keys()


async def test_a_withdrawal_reaches_everybody_who_may_be_named_in_the_same_consent(home: Installation) -> None:
    place = await take(home, withdrawn(email(address())))

    assert (await subjects(home, place)).keys() == {"shop-be", "shop-nl"}
    assert (await opened_payloads(home, place)).keys() == {"shop-be"}


async def test_every_identifier_has_a_hash_in_the_order_of_the_event(home: Installation) -> None:
    mail = address()

    place = await take(
        home, linked(email(mail.upper()), {"type": "phone", "value": "0032 470 12 34 56", "shared": True})
    )

    rows = await home.fetch(
        "SELECT ordinal, role, who.type, shared, hash FROM entry_subject AS who JOIN ledger USING (shard, pos)"
        " WHERE shard = $1 AND k_offset = $2 ORDER BY ordinal",
        *place,
    )
    phone = (await hashes(home, "phone", "+32470123456"))["shop-be"]
    assert [tuple(row) for row in rows] == [
        (0, "subject", "email", False, (await hashes(home, "email", mail))["shop-be"]),
        (1, "subject", "phone", True, phone),
    ]


async def test_a_change_of_address_keeps_who_was_old_and_who_is_new(home: Installation) -> None:
    old, new = address(), address()

    place = await take(home, event("identifier-changed", controllers=["shop-be"], old=email(old), new=email(new)))

    rows = await home.fetch(
        "SELECT role, hash FROM entry_subject JOIN ledger USING (shard, pos)"
        " WHERE shard = $1 AND k_offset = $2 ORDER BY ordinal",
        *place,
    )
    assert [tuple(row) for row in rows] == [
        ("old", (await hashes(home, "email", old))["shop-be"]),
        ("new", (await hashes(home, "email", new))["shop-be"]),
    ]


async def test_an_event_without_a_person_of_its_own_refers_to_another(home: Installation) -> None:
    consent = given(email(address()))
    await take(home, consent)

    place = await take(home, confirmed(consent, reason="clicked the link"))

    found = await outcome(home, place)
    assert found.became == "entry"
    assert found.body["consent_id"] == consent["id"]
    assert await subjects(home, place) == {}
    assert json.loads((await opened_payloads(home, place))["shop-be"][32:]) == {"reason": "clicked the link"}


async def test_the_personal_fields_can_be_proved_to_be_those_committed_to(home: Installation) -> None:
    said = objected(email(address()), controllers=["shop-be", "garage-be"], reason="too often")

    place = await take(home, said)

    opened = await opened_payloads(home, place)
    entry = (await outcome(home, place)).entry
    assert entry is not None
    assert opened.keys() == {"shop-be", "garage-be"}
    # Salt and fields are the same for each controller, so that the one commitment holds for all of them.
    (content,) = set(opened.values())
    assert json.loads(content[32:]) == {"reason": "too often", "subject": said["data"]["subject"]}
    assert hashlib.sha256(content).digest() == entry["payload_commit"]


async def test_two_entries_of_the_same_person_have_nothing_in_common_that_is_not_keyed(home: Installation) -> None:
    said = given(email(address()))
    first = (await outcome(home, await take(home, said))).entry
    second = (await outcome(home, await take(home, {**said, "id": str(uuid.uuid4())}))).entry

    assert first is not None
    assert second is not None
    for column in ("payload_commit", "tags", "leaf_hash"):
        assert first[column] != second[column]
    persons = await home.fetch(
        "SELECT DISTINCT person FROM payload JOIN ledger USING (shard, pos) WHERE event_id = ANY($1)",
        [first["event_id"], second["event_id"]],
    )
    assert len(persons) == 1


async def test_the_leaf_of_an_entry_can_be_computed_again_from_what_is_stored(home: Installation) -> None:
    await take(home, objected(email(address())))

    for entry in await home.fetch("SELECT * FROM ledger"):
        assert entry["leaf_hash"] == leaf_hash(
            shard=entry["shard"],
            position=entry["pos"],
            event_id=entry["event_id"],
            type=entry["type"],
            occurred_at=entry["occurred_at"],
            recorded_at=entry["recorded_at"],
            offset=entry["k_offset"],
            register_version=entry["register_version"],
            body=entry["body"],
            commitment=entry["payload_commit"],
            tags=entry["tags"],
        )


async def test_the_same_address_at_two_controllers_has_unrelated_hashes_and_keys(home: Installation) -> None:
    who = address()

    place = await take(home, objected(email(who), controllers=["shop-nl", "garage-be"]))

    found = await subjects(home, place)
    assert found["shop-nl"] != found["garage-be"]
    persons = await home.fetch(
        "SELECT person, ciphertext FROM payload JOIN ledger USING (shard, pos) WHERE shard = $1 AND k_offset = $2",
        *place,
    )
    assert len({row["person"] for row in persons}) == len({row["ciphertext"] for row in persons}) == 2


async def test_what_stands_in_the_body_is_not_personal(home: Installation) -> None:
    place = await take(home, encode(given(email(address()), entered_by="desk 3", ip="192.0.2.7")))

    body = (await outcome(home, place)).body
    assert body["personal"] == ["entered_by", "evidence.ref", "ip", "subject"]
    assert body["evidence"] == {"text_id": "newsletter-nl", "text_version": 1, "ref": True}
    assert body.keys() == {
        *("controllers", "purposes", "channels", "origin", "mechanism", "evidence", "source", "personal")
    }
