"""The role that destroys may destroy what an executed erasure is about, and nothing else.

Seen to fail: an erasure that lets go what is about somebody else; one of an earlier transaction that still lets go.
"""

import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.store import erasure
from consent_ledger.store.erasure import Evidence, Figures
from store.drafts import NOON, append, batch, claimed, draft

AN, BERT = (hashlib.sha256(name).digest() for name in (b"an", b"bert"))
KEY_OF_AN, KEY_OF_BERT = uuid.UUID(int=7), uuid.UUID(int=8)
CONSENT, CONTACT, REFUSAL, CONFIRMATION, OF_BERT, LATER, ERASURE, ELSEWHERE = range(8)
NOTHING = Figures(0, 0, 0, 0)
EVIDENCE = Evidence(uuid.UUID(int=10), bytes(32))
LATE = NOON + timedelta(days=1)


def subjects(hash_: bytes, controller: str = "shop-be") -> tuple[tuple[str, int, str, str, bool, bytes], ...]:
    return ((controller, 0, "subject", "email", False, hash_),)


@pytest.fixture
async def eraser(database: str, recorder: Connection, superuser: Connection) -> AsyncIterator[Connection]:
    """A connection in the role, to a ledger with entries of two people, an erasure of one, and keys of both."""
    consent = uuid.uuid4()
    await claimed(recorder)
    drafts = [
        draft(0, event_id=consent, subjects=subjects(AN)),
        draft(1, type="contact-recorded", subjects=subjects(AN)),
        draft(2, type="consent-withdrawn", subjects=subjects(AN)),
        draft(3, type="consent-confirmed", subjects=(), body=b'[1,{"consent_id":"%b"}]' % str(consent).encode()),
        draft(4, type="contact-recorded", subjects=subjects(BERT), payloads=(("shop-be", KEY_OF_BERT, b"x"),)),
        draft(5, type="contact-recorded", subjects=subjects(AN), occurred_at=LATE),
        draft(6, type="erasure-executed", subjects=subjects(AN)),
        draft(7, type="contact-recorded", subjects=subjects(AN, "shop-nl"), payloads=(("shop-nl", KEY_OF_AN, b"x"),)),
        draft(8, type="erasure-carried-out", event_id=EVIDENCE.event_id, subjects=(), payloads=()),
    ]
    await append(recorder, batch(*drafts))
    for anchor, person in ((AN, KEY_OF_AN), (BERT, KEY_OF_BERT)):
        await superuser.execute(
            "INSERT INTO consent.person_key VALUES ($1, $2, 'shop-be', 'kek', 'wrapped')", anchor, person
        )
    connection = await connect(database, "consent_eraser")
    yield connection
    connection.terminate()


async def begin(
    eraser: Connection, position: int = ERASURE, controller: str = "shop-be", *, whole: bool = True
) -> None:
    await erasure.begin(eraser, (1, position), controller, datetime.now(UTC), NOTHING, EVIDENCE, whole=whole)


Act = Callable[[Connection], Awaitable[object]]


def payload(position: int, controller: str = "shop-be") -> Act:
    return lambda eraser: erasure.delete_payloads(eraser, controller, [(1, position)])


def rows(position: int) -> Act:
    return lambda eraser: erasure.delete_index_rows(eraser, "shop-be", [(1, position)])


def say(statement: str, *values: object) -> Act:
    return lambda eraser: eraser.execute(statement, *values)


@pytest.mark.parametrize(
    "act", [payload(CONSENT), payload(CONFIRMATION), payload(REFUSAL), payload(ERASURE), rows(CONTACT)]
)
async def test_what_the_erasure_is_about_goes(eraser: Connection, act: Act) -> None:
    async with eraser.transaction():
        await begin(eraser)
        assert await act(eraser) == 1


async def test_a_personal_part_that_goes_is_noted_with_the_erasure(eraser: Connection, superuser: Connection) -> None:
    async with eraser.transaction():
        await begin(eraser)
        await erasure.delete_payloads(eraser, "shop-be", [(1, CONSENT)])

    noted = await superuser.fetch("SELECT shard, pos, controller, erasure, run FROM consent.destroyed")
    assert [tuple(one) for one in noted] == [(1, CONSENT, "shop-be", 1, None)]


async def test_the_key_goes_that_the_erasure_is_about(eraser: Connection, superuser: Connection) -> None:
    async with eraser.transaction():
        await begin(eraser)
        both = {KEY_OF_AN, KEY_OF_BERT}
        assert await erasure.destroy_keys(eraser, "shop-be", both, [(1, CONSENT), (1, OF_BERT)]) == 1

    left = await superuser.fetch("SELECT person FROM consent.person_key")
    assert [one["person"] for one in left] == [KEY_OF_BERT]


@pytest.mark.parametrize(
    "act",
    [
        payload(OF_BERT), payload(LATER), payload(ELSEWHERE, "shop-nl"), rows(CONSENT), rows(REFUSAL), rows(LATER),
        rows(OF_BERT), rows(ERASURE),
        say("UPDATE payload SET ciphertext = 'other' WHERE pos = $1", CONSENT),
        say("UPDATE payload SET pos = 99"), say("UPDATE payload SET person = $1", KEY_OF_BERT),
        say("DELETE FROM person_key"), say("DELETE FROM ledger"), say("DELETE FROM event"),
        say("DELETE FROM quarantine"),
        say("DELETE FROM erased"), say("DELETE FROM forgotten"), say("DELETE FROM destroyed"),
        say("UPDATE erasure SET pos = 0"), say("INSERT INTO destroyed VALUES (1, 4, 'shop-be', 1, null)"),
        say("UPDATE person_key SET wrapped = 'x'"), say("DELETE FROM service_key"), say("TABLE quarantine"),
        say("INSERT INTO ledger DEFAULT VALUES"), say("INSERT INTO payload DEFAULT VALUES"),
        say("INSERT INTO entry_subject VALUES (1, 4, 'shop-be', 1, 'subject', 'email', false, $1)", AN),
        say("INSERT INTO entry_subject VALUES (1, 6, 'shop-be', 1, 'subject', 'email', true, $1)", BERT),
        say("TABLE service_key"), say("TRUNCATE payload"), say("TABLE api_key"),
    ],
)  # fmt: skip
async def test_nothing_else_goes_or_changes(eraser: Connection, act: Act) -> None:
    async def try_it() -> None:
        async with eraser.transaction():
            await begin(eraser)
            await act(eraser)

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await try_it()


@pytest.mark.parametrize("act", [payload(CONSENT), rows(CONTACT), say("DELETE FROM payload")])
async def test_without_an_erasure_in_the_same_transaction_nothing_goes(eraser: Connection, act: Act) -> None:
    async with eraser.transaction():
        await begin(eraser)

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await act(eraser)
    async with eraser.transaction():
        assert await erasure.destroy_keys(eraser, "shop-be", {KEY_OF_AN}, [(1, CONSENT)]) == 0


@pytest.mark.parametrize(("position", "controller"), [(CONSENT, "shop-be"), (ERASURE, "shop-nl"), (99, "shop-be")])
async def test_an_erasure_needs_an_entry_that_says_so_for_the_controller(
    eraser: Connection, position: int, controller: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="no entry orders this erasure"):
        await begin(eraser, position, controller)


@pytest.mark.parametrize("event", [uuid.UUID(int=11), None, "consent"])
async def test_an_erasure_needs_an_entry_that_says_what_goes(eraser: Connection, event: uuid.UUID | str | None) -> None:
    if event == "consent":
        event = await eraser.fetchval("SELECT event_id FROM ledger WHERE pos = $1", CONSENT)
    given = None if event is None else bytes(32)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="no entry says what goes"):
        await eraser.execute(
            "INSERT INTO erasure VALUES (1, 1, $1, 'shop-be', now(), true, 0, 0, 0, 0, '{}', default, $2, $3)",
            ERASURE, event, given,
        )  # fmt: skip


async def test_an_erasure_of_a_part_destroys_no_key(eraser: Connection) -> None:
    async with eraser.transaction():
        await begin(eraser, whole=False)
        assert await erasure.destroy_keys(eraser, "shop-be", {KEY_OF_AN}, [(1, CONSENT)]) == 0


async def test_what_is_kept_is_put_under_another_key_of_the_controller(eraser: Connection) -> None:
    fresh = uuid.UUID(int=9)
    async with eraser.transaction():
        await begin(eraser)
        await erasure.destroy_keys(eraser, "shop-be", {KEY_OF_AN}, [(1, CONSENT)])
        await erasure.add_key(eraser, "shop-be", erasure.WrappedKey(AN, fresh, "kek", b"wrapped"))
        part = erasure.Part(1, LATER, fresh, b"anew", uuid.uuid4())
        await erasure.rekey(eraser, "shop-be", [part])

    rows_ = await eraser.fetch("SELECT person, ciphertext FROM payload WHERE pos = $1", LATER)
    assert [tuple(one) for one in rows_] == [(fresh, b"anew")]
