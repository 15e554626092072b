"""Keys are random, wrapped, made once, and no use to anybody without the key file.

Seen to fail: the key file written over; readable for others; keys stored unwrapped; the key of a known person not
found; a second key used by the later of two recorders; a key that two controllers share; the context not
authenticated.
"""

import asyncio
import json
import stat
import uuid
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.runtime.keys import KeyFile, KeyUnavailableError, decrypt, encrypt, unwrap, wrap
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import keys
from running import until

KEY = bytes(range(32))
ANCHOR = b"anchor of a person"


@pytest.fixture
def key_file(tmp_path: Path) -> KeyFile:
    return KeyFile.create(tmp_path / "keys.json")


@pytest.fixture
def other_file(tmp_path: Path) -> KeyFile:
    return KeyFile.create(tmp_path / "other.json")


def test_a_missing_key_file_says_where_it_was_sought_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailableError, match=r"no key file at .*/keys\.json; `consent keys init`"):
        KeyFile(tmp_path / "keys.json")


def test_only_the_owner_may_read_the_key_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "keys.json"

    KeyFile.create(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_file_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    KeyFile.create(path)
    before = path.read_bytes()

    with pytest.raises(FileExistsError):
        KeyFile.create(path)

    assert path.read_bytes() == before


async def test_a_key_file_holds_the_same_key_when_it_is_read_again(tmp_path: Path, key_file: KeyFile) -> None:
    again = KeyFile(tmp_path / "keys.json")

    name = await key_file.current()
    assert await again.current() == name
    assert await again.key(name) == await key_file.key(name)
    assert len(await key_file.key(name)) == 32


async def test_another_installations_key_file_is_refused(
    recorder: Connection, key_file: KeyFile, other_file: KeyFile
) -> None:
    await keys.service_keys(recorder, key_file)

    with pytest.raises(KeyUnavailableError, match="the key file lacks kek-"):
        await keys.service_keys(recorder, other_file)


async def test_a_key_file_with_another_key_under_the_same_name_is_refused(
    recorder: Connection, key_file: KeyFile, tmp_path: Path
) -> None:
    await keys.service_keys(recorder, key_file)
    document = json.loads((tmp_path / "keys.json").read_text())
    document["keys"] = dict.fromkeys(document["keys"], "A" * 43 + "=")
    (tmp_path / "forged.json").write_text(json.dumps(document))

    with pytest.raises(KeyUnavailableError, match="wrapped under another key-encryption key"):
        await keys.service_keys(recorder, KeyFile(tmp_path / "forged.json"))


def test_wrapping_is_undone_by_the_same_key_only() -> None:
    wrapped = wrap(KEY, b"s" * 32)

    assert b"s" * 32 not in wrapped
    assert unwrap(KEY, wrapped) == b"s" * 32
    with pytest.raises(KeyUnavailableError):
        unwrap(bytes(32), wrapped)


@pytest.mark.parametrize("place", [0, 11, 12, 20, -1])
def test_a_ciphertext_altered_anywhere_is_refused(place: int) -> None:
    sealed = bytearray(encrypt(KEY, b"plain text", b"context"))
    sealed[place] ^= 1

    with pytest.raises(InvalidTag):
        decrypt(KEY, bytes(sealed), b"context")


def test_a_ciphertext_moved_to_another_entry_or_controller_is_refused() -> None:
    here = keys.payload_context(uuid.UUID(int=1), "shop-be")
    sealed = encrypt(KEY, b"plain text", here)

    assert decrypt(KEY, sealed, here) == b"plain text"
    assert encrypt(KEY, b"plain text", here) != sealed
    for elsewhere in (
        keys.payload_context(uuid.UUID(int=2), "shop-be"),
        keys.payload_context(uuid.UUID(int=1), "shop-nl"),
    ):
        with pytest.raises(InvalidTag):
            decrypt(KEY, sealed, elsewhere)


async def test_a_controllers_key_is_made_once_and_is_its_own(recorder: Connection, key_file: KeyFile) -> None:
    await keys.add_controller_keys(recorder, key_file, ["shop-be", "shop-nl"])
    before = await keys.controller_keys(recorder, key_file)

    await keys.add_controller_keys(recorder, key_file, ["shop-nl", "garage-be"])

    after = await keys.controller_keys(recorder, key_file)
    assert {name: after[name] for name in before} == before
    assert len({key.key for key in after.values()}) == len({key.kid for key in after.values()}) == 3
    hashes = {address_hash(key.key, "email", "an@example.be") for key in after.values()}
    assert len(hashes) == 3


async def test_no_key_stands_in_the_database_unwrapped(
    recorder: Connection, superuser: Connection, key_file: KeyFile
) -> None:
    service = await keys.service_keys(recorder, key_file)
    await keys.add_controller_keys(recorder, key_file, ["shop-be"])
    controllers = await keys.controller_keys(recorder, key_file)
    persons = await keys.person_keys(recorder, key_file, {ANCHOR: "shop-be"})

    stored = [
        row["wrapped"]
        for table in ("service_key", "controller_key", "person_key")
        for row in await superuser.fetch(f"TABLE consent.{table}")
    ]

    plain = [*service.values(), controllers["shop-be"].key, persons[ANCHOR].key]
    assert len(stored) == len(plain) == 4
    assert not any(key in wrapped for key in plain for wrapped in stored)


async def test_a_person_keeps_the_first_key(recorder: Connection, key_file: KeyFile) -> None:
    first = await keys.person_keys(recorder, key_file, {ANCHOR: "shop-be"})

    again = await keys.person_keys(recorder, key_file, {ANCHOR: "shop-be", b"other": "shop-be"})

    assert again[ANCHOR] == first[ANCHOR]
    assert again[b"other"].key != first[ANCHOR].key
    assert again[b"other"].person != first[ANCHOR].person


async def test_two_recorders_that_meet_a_person_at_once_use_one_key(
    recorder: Connection, second: Connection, superuser: Connection, key_file: KeyFile
) -> None:
    transaction = recorder.transaction()
    await transaction.start()
    first = await keys.person_keys(recorder, key_file, {ANCHOR: "shop-be"})
    meanwhile = asyncio.create_task(keys.person_keys(second, key_file, {ANCHOR: "shop-be", b"a": "shop-be"}))
    await until(lambda: superuser.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'transactionid'"))
    await transaction.commit()

    assert (await meanwhile)[ANCHOR] == first[ANCHOR]


async def test_an_erased_person_is_missing_from_the_answer(
    recorder: Connection, superuser: Connection, key_file: KeyFile
) -> None:
    made = await keys.person_keys(recorder, key_file, {ANCHOR: "shop-be", b"other": "shop-be"})
    await superuser.execute("DELETE FROM consent.person_key WHERE anchor = $1", ANCHOR)

    found = await keys.keys_of_persons(recorder, key_file, [key.person for key in made.values()])

    assert found == {made[b"other"].person: made[b"other"].key}
