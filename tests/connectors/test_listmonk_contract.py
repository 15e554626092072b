"""listmonk behaves as the connector takes it to: the stand-in always, and a real server where one is named.

With CONSENT_TEST_LISTMONK_URL, CONSENT_TEST_LISTMONK_USER and CONSENT_TEST_LISTMONK_TOKEN (an API user who may manage
lists and subscribers) the same is asked of that server; it makes lists and subscribers of its own and deletes them.
"""

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from connectors.listmonk import TOKEN, USER, Listmonk
from connectors.webserver import served
from consent_ledger.connectors.contacts import Contact, Stop
from consent_ledger.connectors.http import Api
from consent_ledger.connectors.listmonk import ListmonkTool, ListOf

_REAL = "CONSENT_TEST_LISTMONK"


@pytest.fixture(params=["stand-in", "real"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, tuple[str, str]]]:
    if request.param == "stand-in":
        with served(Listmonk()) as url:
            yield url, (USER, TOKEN)
        return
    if f"{_REAL}_URL" not in os.environ:
        pytest.skip(f"no real listmonk: {_REAL}_URL, _USER and _TOKEN name one")
    yield os.environ[f"{_REAL}_URL"], (os.environ[f"{_REAL}_USER"], os.environ[f"{_REAL}_TOKEN"])


class World:
    """Two lists of this test, and whoever it enters; all of them are deleted at its end."""

    def __init__(self, client: httpx.Client, tool: ListmonkTool, lists: list[int]) -> None:
        self.client = client
        self.tool = tool
        self.lists = lists
        self.made: list[int] = []

    def enter(self, *lists: int) -> Contact:
        address = f"{uuid.uuid4().hex}@example.be"
        body = {"email": address, "name": "N", "status": "enabled", "lists": lists, "preconfirm_subscriptions": True}
        said = _data(self.client.post("/api/subscribers", json=body))
        self.made.append(said["id"])
        return Contact(str(said["id"]), {"email": address})

    async def now(self, contact: Contact, *, since: datetime | None = None) -> Contact:
        """The contact as the tool gives it in its pages."""
        found = [one async for page in self.tool.contacts(since) for one in page if one.id == contact.id]
        assert len(found) == 1
        return found[0]

    def names(self, *lists: int) -> set[str]:
        return {f"list {one}" for one in lists}


@pytest.fixture
async def world(server: tuple[str, tuple[str, str]]) -> AsyncIterator[World]:
    url, auth = server
    api = Api(url, auth=auth, rate=1000.0)
    with httpx.Client(base_url=url, auth=auth) as client:
        lists = [
            _data(client.post("/api/lists", json={"name": f"test {number}", "type": "private", "optin": "single"}))[
                "id"
            ]
            for number in range(2)
        ]
        tool = ListmonkTool(
            api, [ListOf(id=one, controller="shop-be", purpose=f"p{one}") for one in lists], blocklist=True
        )
        made = World(client, tool, lists)
        yield made
        for id_ in made.made:
            _data(client.delete(f"/api/subscribers/{id_}"))
        for one in lists:
            _data(client.delete(f"/api/lists/{one}"))
    await tool.close()


def _data(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_a_subscriber_shows_what_he_gets(world: World) -> None:
    first, second = world.lists
    entered = world.enter(first)

    found = await world.now(entered)

    assert found.addresses == entered.addresses
    assert found.on == world.names(first)
    assert found.off == {}
    assert second != first


async def test_one_list_is_stopped_and_the_other_goes_on(world: World) -> None:
    first, second = world.lists
    both, one = world.enter(first, second), world.enter(first)

    stops = [Stop(each.id, f"list {first}", "CONSENT_WITHDRAWN") for each in (both, one)]
    await world.tool.stop(stops)
    await world.tool.stop(stops)

    now = await world.now(both)
    assert (set(now.on), set(now.off)) == (world.names(second), world.names(first))
    assert now.off[f"list {first}"].kind == "refused"
    assert now.off[f"list {first}"].since is not None
    assert (await world.now(one)).on == set()


async def test_nobody_is_put_on_a_list_by_being_stopped(world: World) -> None:
    first, second = world.lists
    entered = world.enter(first)

    await world.tool.stop([Stop(entered.id, f"list {second}", "CONSENT_WITHDRAWN")])

    now = await world.now(entered)
    assert (set(now.on), set(now.off)) == (world.names(first), set())


async def test_who_is_gone_needs_nothing(world: World) -> None:
    entered = world.enter(world.lists[0])
    _data(world.client.delete(f"/api/subscribers/{entered.id}"))
    world.made.clear()

    await world.tool.stop([Stop(entered.id, f"list {world.lists[0]}", "CONSENT_WITHDRAWN")])


async def test_who_is_to_be_erased_comes_onto_the_blocklist(world: World) -> None:
    entered = world.enter(*world.lists)

    await world.tool.stop([Stop(entered.id, f"list {one}", "ERASURE_REQUESTED") for one in world.lists])

    now = await world.now(entered)
    assert (set(now.on), set(now.off)) == (set(), world.names(*world.lists))
    assert await world.tool.why(entered.id) == "refused"


async def test_more_than_a_page_is_given_whole_and_news_first(world: World) -> None:
    entered = [world.enter(world.lists[0]) for _ in range(60)]

    every = [one.id async for page in world.tool.contacts() for one in page]
    newest = await world.now(entered[-1])
    assert newest.changed_at is not None
    news = [one.id async for page in world.tool.contacts(newest.changed_at) for one in page]

    assert {one.id for one in entered} <= set(every)
    assert len(set(every)) == len(every)
    assert news[0] == entered[-1].id
    assert [one async for page in world.tool.contacts(datetime.now(UTC) + timedelta(days=1)) for one in page]
