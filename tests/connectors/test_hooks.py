"""What a tool calls comes back as an event at once, and what only mirrors the connector's own doing as nothing.

Seen to fail:
- a signature not looked at, or of another body or time; a password not looked at; a large body read to its end;
- the contact not looked at before the next sweep; a call that is not understood passed over;
- a no on which both sides agree told when the ledger says yes again; a person's own entry behind ours overlooked;
- listened to where everybody can call.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from client.topic import Clock, address, apply, copied, no, view_of, yes
from connectors import listmonk as listmonks
from connectors import mautic as mautics
from connectors.webserver import served
from consent_ledger.client.copy import Copy
from consent_ledger.connectors.contacts import ContactConnector, Declared, Tool
from consent_ledger.connectors.hooks import LISTMONK, MAUTIC, Calls, Hooks, application, listening
from consent_ledger.connectors.http import Api
from consent_ledger.connectors.index import Index
from consent_ledger.connectors.listmonk import ListmonkTool, ListOf
from consent_ledger.connectors.mautic import MauticTool, Sends
from consent_ledger.connectors.runner import Runner
from consent_ledger.connectors.state import State
from running import serving, until

AN = "an@example.be"
KEY = b"secret of the hook"
YES = {"newsletter": {"email": yes()}}
NO = {"newsletter": {"email": no("CONSENT_EXPIRED")}}
HOOKS = Hooks(listen="127.0.0.1:0", secret_file="unused")
Sign = Callable[[bytes], dict[str, str]]


def mautic_signs(body: bytes, key: bytes = KEY) -> dict[str, str]:
    return {"Webhook-Signature": base64.b64encode(hmac.digest(key, body, hashlib.sha256)).decode()}


def listmonk_signs(body: bytes, key: bytes = KEY, at: float | None = None) -> dict[str, str]:
    stamp = str(int(time.time() if at is None else at))
    signature = hmac.digest(key, stamp.encode() + b"." + body, hashlib.sha256).hex()
    return {"X-Listmonk-Signature": f"sha256={signature}", "X-Listmonk-Timestamp": stamp}


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"hook:{password}".encode()).decode()}


@asynccontextmanager
async def receiver(calls: Calls, look_at: Callable[[Collection[str]], None]) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        listening(application("tool", KEY, calls, look_at), HOOKS) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        yield client


# -- who may call, and what is read


BODY = json.dumps({"event": "subscriber.unsubscribed", "data": {"subscriber": {"id": 7}}}).encode()


@pytest.mark.parametrize(
    ("calls", "headers", "taken"),
    [
        (MAUTIC, lambda: mautic_signs(BODY), True),
        (MAUTIC, lambda: mautic_signs(BODY, b"other"), False),
        (MAUTIC, lambda: mautic_signs(b"other"), False),
        (MAUTIC, dict, False),
        (LISTMONK, lambda: listmonk_signs(BODY), True),
        (LISTMONK, lambda: listmonk_signs(BODY, b"other"), False),
        (LISTMONK, lambda: listmonk_signs(b"other"), False),
        (LISTMONK, lambda: listmonk_signs(BODY, at=time.time() - 3600), False),
        (
            LISTMONK,
            lambda: {**listmonk_signs(BODY, at=time.time() - 3600), "X-Listmonk-Timestamp": str(int(time.time()))},
            False,
        ),
        (LISTMONK, lambda: {**listmonk_signs(BODY), "X-Listmonk-Timestamp": "now"}, False),
        (LISTMONK, lambda: basic(KEY.decode()), True),
        (LISTMONK, lambda: basic("other"), False),
        (LISTMONK, lambda: {"Authorization": "Basic %%%"}, False),
        (LISTMONK, dict, False),
    ],
)
async def test_only_the_tool_may_call(calls: Calls, headers: Callable[[], dict[str, str]], taken: bool) -> None:  # noqa: FBT001
    looked: list[Collection[str]] = []
    async with receiver(calls, looked.append) as client:
        answer = await client.post("/hooks/tool", content=BODY, headers=headers())

    assert answer.status_code == (204 if taken else 401)
    assert bool(looked) == taken


@pytest.mark.parametrize(
    ("calls", "sign", "said", "looked"),
    [
        (LISTMONK, listmonk_signs, {"event": "subscriber.bounced", "data": {"subscriber": {"id": 7}}}, ["7"]),
        (LISTMONK, listmonk_signs, {"event": "subscriber.bounced", "data": {"subscriber_id": 7}}, ["7"]),
        (LISTMONK, listmonk_signs, {"event": "campaign.started", "data": {"id": 7}}, []),
        (LISTMONK, listmonk_signs, ["what is this"], []),
        (LISTMONK, listmonk_signs, {"data": {"subscriber": {"id": "x' or 1"}}}, []),
        (MAUTIC, mautic_signs, {"mautic.x": [{"contact": {"id": 3}}, {"contact": {"id": 4}}]}, ["3", "4"]),
        (MAUTIC, mautic_signs, {"mautic.lead_post_save_new": [{"lead": {}}]}, []),
    ],
)  # fmt: skip
async def test_a_call_names_contacts_or_concerns_all(calls: Calls, sign: Sign, said: Any, looked: list[str]) -> None:
    found: list[Collection[str]] = []
    body = json.dumps(said).encode()
    async with receiver(calls, found.append) as client:
        answer = await client.post("/hooks/tool", content=body, headers=sign(body))

    assert answer.status_code == 204
    assert [list(one) for one in found] == [looked]


async def test_a_body_without_end_is_not_read() -> None:
    found: list[Collection[str]] = []
    async with receiver(MAUTIC, found.append) as client:
        body = b"x" * (2 << 20)
        answer = await client.post("/hooks/tool", content=body, headers=mautic_signs(body))

    assert (answer.status_code, found) == (413, [])


@pytest.mark.parametrize("listen", ["0.0.0.0:9181", "192.0.2.1:9181", "example.be:9181", "9181"])
def test_only_this_machine_is_listened_to(listen: str) -> None:
    with pytest.raises(ValueError, match=r"loopback|address"):
        Hooks(listen=listen, secret_file="unused")


# -- what comes of it


class Connected:
    """A connector that runs, and would sweep only once."""

    def __init__(self, path: Path, tool: Callable[[Api], Tool], url: str, auth: tuple[str, str], calls: Calls) -> None:
        self.copy: Copy = copied(path / "copy")
        self.state = State(path / "state")
        self.api = Api(url, auth=auth, rate=1000.0)
        self.declared: list[Declared] = []
        self.calls = calls
        self.connector = ContactConnector(
            tool(self.api), view_of(self.copy, clock=Clock()), Index(self.state.connection),
            declare=self.declared.append, sweep_seconds=3600.0, news_seconds=3600.0, is_parked=self.state.is_parked,
        )  # fmt: skip

    @asynccontextmanager
    async def runs(self) -> AsyncIterator[httpx.AsyncClient]:
        async with (
            serving(Runner("tool", self.connector, self.state).run()) as service,
            receiver(self.calls, self.connector.look_at) as client,
        ):
            await until(self._swept, service=service)
            yield client

    async def _swept(self) -> bool:
        return bool(self.connector.counts["sweeps"])

    async def looked_at(self, client: httpx.AsyncClient, sign: Sign, said: Any) -> None:
        """Call, and wait until the contact was looked at."""
        before = self.connector.counts["contacts"]
        body = json.dumps(said).encode()
        assert (await client.post("/hooks/tool", content=body, headers=sign(body))).status_code == 204

        async def done() -> bool:
            return self.connector.counts["contacts"] > before

        await until(done)

    def say(self, answers: Any, version: int) -> None:
        apply(self.copy, address(AN, answers, version=version))


class World:
    """One contact in a tool, and what the tool calls about it."""

    def __init__(self, connected: Connected, tool: listmonks.Listmonk | mautics.Mautic, id_: int) -> None:
        self.connected = connected
        self.tool = tool
        self.id = id_

    def leaves(self) -> None:
        if isinstance(self.tool, listmonks.Listmonk):
            self.tool.leave(self.id, 1)
        else:
            self.tool.leave(self.id, "email")

    def is_on(self) -> bool:
        if isinstance(self.tool, listmonks.Listmonk):
            return self.tool.on(self.id) == {1}
        return self.tool.dnc(self.id) == {}

    async def calls(self, client: httpx.AsyncClient) -> None:
        if isinstance(self.tool, listmonks.Listmonk):
            subscriber = {"id": self.id, "email": "lies@example.be"}
            said: Any = {"event": "subscriber.unsubscribed", "data": {"subscriber": subscriber}}
            await self.connected.looked_at(client, listmonk_signs, said)
        else:
            change = {"contact": {"id": self.id}, "channel": "email", "old_status": "contactable"}
            changes = [{**change, "new_status": "unsubscribed", "timestamp": "2026-03-01T12:00:00+00:00"}]
            said = {"mautic.lead_channel_subscription_changed": changes}
            await self.connected.looked_at(client, mautic_signs, said)


@pytest.fixture(params=["listmonk", "mautic"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    tool: listmonks.Listmonk | mautics.Mautic
    if request.param == "listmonk":
        tool = listmonks.Listmonk()
        tool.lists[1] = {"name": "News", "type": "private", "optin": "single"}
        tool.managed.add(1)
        id_ = tool.subscribe(AN, 1)
        lists = [ListOf(id=1, controller="shop-be", purpose="newsletter")]
        with served(tool) as url:
            made = Connected(
                tmp_path, lambda api: ListmonkTool(api, lists, blocklist=False), url,
                (listmonks.USER, listmonks.TOKEN), LISTMONK,
            )  # fmt: skip
            yield World(made, tool, id_)
            made.copy.close()
        return
    tool = mautics.Mautic()
    id_ = tool.enter(email=AN)
    sends = [Sends(channel="email", controller="shop-be", purpose="newsletter")]
    with served(tool) as url:
        made = Connected(tmp_path, lambda api: MauticTool(api, sends), url, (mautics.USER, mautics.PASSWORD), MAUTIC)
        yield World(made, tool, id_)
        made.copy.close()


async def test_who_leaves_in_the_tool_is_told_at_once_and_once(world: World) -> None:
    connected = world.connected
    connected.say(YES, 2)
    async with connected.runs() as client:
        world.leaves()
        await world.calls(client)
        await world.calls(client)

    (said,) = connected.declared
    assert (said.type, said.data["subject"]) == ("consent-withdrawn", [{"type": "email", "value": AN}])


async def test_a_call_is_not_believed_but_looked_up(world: World) -> None:
    connected = world.connected
    connected.say(YES, 2)
    async with connected.runs() as client:
        await world.calls(client)

    assert connected.declared == []


async def test_what_mirrors_the_connectors_own_stop_comes_to_nothing(world: World) -> None:
    connected = world.connected
    connected.say(NO, 2)
    async with connected.runs() as client:
        assert not world.is_on()
        await world.calls(client)
        connected.say(YES, 3)
        await world.calls(client)

    assert connected.declared == []


async def test_a_no_that_was_seen_does_not_end_a_later_consent(world: World) -> None:
    connected = world.connected
    connected.say(NO, 2)
    async with connected.runs() as client:
        world.leaves()
        await world.calls(client)
        connected.say(YES, 3)
        await world.calls(client)

    assert connected.declared == []


async def test_a_persons_own_entry_behind_ours_is_told(tmp_path: Path) -> None:
    """Mautic shows whose an entry is; listmonk does not."""
    tool = mautics.Mautic()
    id_ = tool.enter(email=AN)
    sends = [Sends(channel="email", controller="shop-be", purpose="newsletter")]
    with served(tool) as url:
        connected = Connected(
            tmp_path, lambda api: MauticTool(api, sends), url, (mautics.USER, mautics.PASSWORD), MAUTIC
        )
        world = World(connected, tool, id_)
        connected.say(NO, 2)
        async with connected.runs() as client:
            connected.say(YES, 3)
            world.leaves()
            await world.calls(client)
        connected.copy.close()

    assert [one.type for one in connected.declared] == ["consent-withdrawn"]
