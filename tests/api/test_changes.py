"""Who changed since when, over HTTP: nothing is passed over, however many write meanwhile.

Seen to fail: the cursor of a full page set to where the view is; the page cut without its order; no barrier; the
cursor of another installation, or of the future, believed; no cursor taken for the start; an empty answer given while
the service lags behind Kafka, or `more` false in one that is not empty; a controller beyond the key; the hash of what
is no address told.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from api.looking import hash_of
from api.served import Api, bearer, question
from builders import email, given, objected, withdrawn
from consent_ledger.api.changes import Cursor, read_cursor
from consent_ledger.runtime.postgres import connect
from running import Installation

Address = Callable[[], str]


async def ask(api: Api, *controllers: str, key: str | None = None, **more: Any) -> httpx.Response:
    body = {"controllers": controllers or ("shop-be",), **more}
    return await api.client.post("/v1/changes", json=body, headers=bearer(key))


async def changed(api: Api, *controllers: str, **more: Any) -> dict[str, Any]:
    answer = await ask(api, *controllers, **more)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def now(api: Api) -> str:
    cursor: str = (await changed(api))["cursor"]
    return cursor


async def hashed(installed: Installation, person: str, controller: str = "shop-be") -> str:
    return (await hash_of(installed, person, controller)).hex()


async def test_the_people_changed_since_a_cursor_are_told_by_hash_and_nobody_else(
    api: Api, installed: Installation, address: Address
) -> None:
    earlier, person = address(), address()
    await api.recorded(given(email(earlier)))
    cursor = await now(api)
    (entry,) = await api.recorded(withdrawn(email(person)))

    answer = await changed(api, cursor=cursor)

    (change,) = answer["changes"]
    assert change.pop("version") > read_cursor(cursor).seq
    assert change == {
        "controller": "shop-be",
        "type": "email",
        "hash": await hashed(installed, person),
        "position": {"shard": entry["shard"], "position": entry["position"]},
        "recorded_at": entry["recorded_at"],
    }
    assert answer["more"] is False
    assert (await changed(api, cursor=answer["cursor"]))["changes"] == []


async def test_one_who_changes_twice_is_told_once_and_again_after_the_next_change(api: Api, address: Address) -> None:
    person = address()
    cursor = await now(api)
    await api.recorded(given(email(person)))
    await api.recorded(withdrawn(email(person)))
    twice = await changed(api, cursor=cursor)
    await api.recorded(objected(email(person)))

    after = await changed(api, cursor=twice["cursor"])

    assert len(twice["changes"]) == len(after["changes"]) == 1
    assert twice["changes"][0]["hash"] == after["changes"][0]["hash"]
    assert twice["changes"][0]["version"] < after["changes"][0]["version"]


async def test_without_a_cursor_nothing_is_told_but_where_things_stand_and_from_the_start_everything(
    api: Api, address: Address
) -> None:
    await api.recorded(given(email(address())))

    nothing, everything = await changed(api), await changed(api, from_start=True, limit=10_000)

    assert nothing["changes"] == []
    assert nothing["more"] is False
    assert nothing["cursor"] == everything["cursor"]
    assert len(everything["changes"]) > 1
    versions = [change["version"] for change in everything["changes"]]
    assert versions == sorted(versions)


async def test_a_register_that_changes_the_rules_is_told_as_a_change_of_everyone(api: Api) -> None:
    everything = await changed(api, from_start=True, limit=10_000)

    rules = [change for change in everything["changes"] if change["type"] == "!purposes"]

    assert [(change["controller"], change["hash"]) for change in rules] == [("shop-be", None)]


async def test_nobody_is_passed_over_while_several_write(api: Api, installed: Installation, address: Address) -> None:
    people = [address() for _ in range(120)]
    cursor = await now(api)
    is_written = asyncio.Event()

    async def write(mine: list[str]) -> None:
        for first in range(0, len(mine), 4):
            await api.recorded(*(given(email(person)) for person in mine[first : first + 4]))

    async def follow() -> list[dict[str, Any]]:
        nonlocal cursor
        told = []
        while True:
            was_written = is_written.is_set()
            answer = await changed(api, cursor=cursor, limit=7)
            told += answer["changes"]
            cursor = answer["cursor"]
            if was_written and not answer["more"]:
                return told

    following = asyncio.create_task(follow())
    await asyncio.gather(*(write(people[number::4]) for number in range(4)))
    is_written.set()
    told = await following

    newest = {change["hash"]: change["version"] for change in told}
    rows = await installed.fetch("SELECT hash, seq FROM view WHERE controller = 'shop-be' AND type = 'email'")
    stored = {row["hash"].hex(): row["seq"] for row in rows}
    written = [await hashed(installed, person) for person in people]
    assert {hash_: newest.get(hash_) for hash_ in written} == {hash_: stored[hash_] for hash_ in written}


async def test_a_change_that_is_committed_late_is_behind_the_cursor_given_before(
    api: Api, installed: Installation, address: Address
) -> None:
    async with installed.superuser.transaction():
        await installed.fetch("SELECT FROM view_head FOR UPDATE")
        published = await installed.publish(given(email(address())))
        connection = await connect(installed.settings.dsn, "consent_api")
        place = await connection.fetchval("SELECT seq FROM view_head")
        await connection.close()
    await installed.recorded(published)

    cursor = Cursor(read_cursor(await now(api)).installation, place).dumps()

    assert len((await changed(api, cursor=cursor))["changes"]) == 1


async def test_only_the_controllers_asked_for_are_told(api: Api, address: Address) -> None:
    cursor = await now(api)
    await api.recorded(given(email(address()), controllers=["garage-be"], source="web:garage-be"))

    mine, theirs = await changed(api, cursor=cursor), await changed(api, "garage-be", cursor=cursor)

    assert mine["changes"] == []
    assert [change["controller"] for change in theirs["changes"]] == ["garage-be"]


async def test_what_the_key_does_not_reach_is_refused_whole(api: Api) -> None:
    narrow = await api.key("decide", controllers=["shop-be"])
    publisher = await api.key("publish")

    answers = [
        await ask(api, "shop-be", key=narrow),
        await ask(api, "shop-be", "garage-be", key=narrow),
        await ask(api, "nobody", key=narrow),
        await ask(api, "shop-be", key=publisher),
    ]

    assert [answer.status_code for answer in answers] == [200, 403, 403, 403]


async def test_a_cursor_of_another_ledger_or_of_the_future_is_refused(api: Api) -> None:
    mine = read_cursor(await now(api))
    foreign = Cursor(mine.installation.__class__(int=mine.installation.int ^ 1), mine.seq)

    answers = [await ask(api, cursor=one.dumps()) for one in (foreign, mine._replace(seq=mine.seq + 1_000_000))]

    assert [(answer.status_code, answer.json()["type"]) for answer in answers] == [
        (409, "urn:consent-ledger:problem:cursor-unknown")
    ] * 2


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"controllers": []},
        {"controllers": ["shop-be"], "limit": 0},
        {"controllers": ["shop-be"], "limit": 10_001},
        {"controllers": ["shop-be"], "cursor": "nonsense"},
        {"controllers": ["shop-be"], "cursor": "=" * 50},
        {"controllers": ["shop-be"], "cursor": "dumps", "from_start": True},
        {"controllers": ["shop-be"], "unknown": 1},
    ],
)
async def test_a_question_that_is_none_is_refused(api: Api, body: dict[str, Any]) -> None:
    answer = await api.client.post("/v1/changes", json=body)

    assert answer.status_code == 422


async def test_what_is_recorded_is_told_or_nothing_is(api: Api, installed: Installation, address: Address) -> None:
    cursor = await now(api)
    async with installed.superuser.transaction():
        await installed.fetch("SELECT FROM view_head FOR UPDATE")
        published = await installed.publish(given(email(address())))
        await installed.recorded(published)
        asking = asyncio.create_task(changed(api, cursor=cursor))
        finished, _ = await asyncio.wait({asking}, timeout=0.3)
    answer = await asking

    assert not finished
    assert len(answer["changes"]) == 1


async def test_while_the_service_lags_behind_kafka_there_is_always_more(api: Api, address: Address) -> None:
    cursor = await now(api)
    await api.recorded(given(email(address())))
    api.clock.instant = datetime.now(UTC) + timedelta(seconds=api.installation.settings.max_staleness + 60)
    try:
        told, nothing = await changed(api, cursor=cursor), await ask(api)
    finally:
        api.clock.instant = None

    assert len(told["changes"]) == 1
    assert told["more"] is True
    assert (nothing.status_code, nothing.headers["Retry-After"]) == (503, "1")


async def test_whoever_is_asked_about_again_gets_the_answer_that_the_change_made(api: Api, address: Address) -> None:
    person = address()
    await api.recorded(given(email(person)))
    cursor = await now(api)
    await api.recorded(objected(email(person)))

    answer = await changed(api, cursor=cursor)
    (decision,) = await api.decide(question(person))

    assert answer["changes"][0]["position"] == decision["position"]
    assert decision["allow"] is False
    assert person not in msgspec.json.encode(answer).decode()
