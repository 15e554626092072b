"""Mautic writes to nobody to whom the ledger says no, and its reasons stay apart in both directions.

The contract is asked of the stand-in always, and of a real server where CONSENT_TEST_MAUTIC_URL,
CONSENT_TEST_MAUTIC_USER and CONSENT_TEST_MAUTIC_PASSWORD name one; contacts made there are deleted.

Seen to fail: one reason for everything; a bounce taken for something else; a reason of Mautic told as a refusal.
"""

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from client.topic import KEY, Clock, address, apply, copied, no, view_of, yes
from connectors.mautic import PASSWORD, USER, Mautic
from connectors.webserver import served
from consent_ledger.client.copy import Copy
from consent_ledger.connectors.contacts import Contact, ContactConnector, Declared, Stop
from consent_ledger.connectors.http import Api
from consent_ledger.connectors.index import Index
from consent_ledger.connectors.mautic import MauticTool, Sends, reason_of
from consent_ledger.connectors.runner import Runner
from consent_ledger.connectors.state import State
from consent_ledger.domain.reasons import RULES

AN = "an@example.be"
_REAL = "CONSENT_TEST_MAUTIC"
_SENDS = (
    Sends(channel="email", controller="shop-be", purpose="newsletter"),
    Sends(channel="sms", controller="shop-be", purpose="newsletter"),
)


# -- the contract


@pytest.fixture(params=["stand-in", "real"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, tuple[str, str]]]:
    if request.param == "stand-in":
        with served(Mautic()) as url:
            yield url, (USER, PASSWORD)
        return
    if f"{_REAL}_URL" not in os.environ:
        pytest.skip(f"no real Mautic: {_REAL}_URL, _USER and _PASSWORD name one")
    yield os.environ[f"{_REAL}_URL"], (os.environ[f"{_REAL}_USER"], os.environ[f"{_REAL}_PASSWORD"])


class World:
    """Contacts of this test, deleted at its end."""

    def __init__(self, client: httpx.Client, tool: MauticTool) -> None:
        self.client = client
        self.tool = tool
        self.made: list[int] = []

    def enter(self) -> Contact:
        email = f"{uuid.uuid4().hex}@example.be"
        answer = self.client.post("/api/contacts/new", json={"email": email, "mobile": "+32470112233"})
        assert answer.status_code == 201, answer.text
        self.made.append(answer.json()["contact"]["id"])
        return Contact(str(self.made[-1]), {"email": email, "phone": "+32470112233"})

    async def now(self, contact: Contact, since: datetime | None = None) -> Contact:
        found = [one async for page in self.tool.contacts(since) for one in page if one.id == contact.id]
        assert found
        return found[0]


@pytest.fixture
async def world(server: tuple[str, tuple[str, str]]) -> AsyncIterator[World]:
    url, auth = server
    tool = MauticTool(Api(url, auth=auth, rate=1000.0), _SENDS)
    with httpx.Client(base_url=url, auth=auth) as client:
        made = World(client, tool)
        yield made
        for id_ in made.made:
            assert client.delete(f"/api/contacts/{id_}/delete").status_code == 200
    await tool.close()


async def test_a_contact_shows_what_it_gets(world: World) -> None:
    entered = world.enter()
    now = await world.now(entered)

    assert now.addresses == entered.addresses
    assert (set(now.on), now.off) == ({"email", "sms"}, {})


async def test_one_channel_is_closed_with_its_reason_and_the_other_stays(world: World) -> None:
    entered = world.enter()
    stop = Stop(entered.id, "email", "CONSENT_WITHDRAWN")
    await world.tool.stop([stop])
    await world.tool.stop([stop])

    now = await world.now(entered)
    assert (set(now.on), now.off["email"].kind) == ({"sms"}, "refused")


async def test_a_reason_that_stands_is_not_written_over(world: World) -> None:
    entered = world.enter()
    await world.tool.stop([Stop(entered.id, "email", "HARD_BOUNCE")])
    await world.tool.stop([Stop(entered.id, "email", "CONSENT_ABSENT")])

    assert (await world.now(entered)).off["email"].kind == "bounced"


async def test_who_is_gone_needs_nothing(world: World) -> None:
    entered = world.enter()
    world.client.delete(f"/api/contacts/{entered.id}/delete")
    world.made.clear()

    await world.tool.stop([Stop(entered.id, "email", "CONSENT_WITHDRAWN")])


async def test_news_come_first_and_nothing_new_is_no_error(world: World) -> None:
    entered = world.enter()
    changed_at = (await world.now(entered)).changed_at
    assert changed_at is not None

    news = [one.id async for page in world.tool.contacts(changed_at) for one in page]
    later = [page async for page in world.tool.contacts(datetime.now(UTC) + timedelta(days=1))]

    assert entered.id in news
    assert len(later) <= 2


# -- with a view


class Connected:
    def __init__(self, path: Path, url: str) -> None:
        self.path, self.url = path, url
        self.copy: Copy = copied(path / "copy")
        self.declared: list[Declared] = []

    async def sweep(self) -> ContactConnector:
        state = State(self.path / "state")
        api = Api(self.url, auth=(USER, PASSWORD), rate=1000.0)
        connector = ContactConnector(
            MauticTool(api, _SENDS), view_of(self.copy, clock=Clock()), Index(state.connection),
            declare=self.declared.append, news_seconds=None, is_parked=state.is_parked,
        )  # fmt: skip
        await Runner("mautic", connector, state, attempts=2, pause=0.001).run(once=True)
        await api.close()
        state.close()
        return connector


@pytest.fixture
def mautic() -> Mautic:
    return Mautic()


@pytest.fixture
def connected(tmp_path: Path, mautic: Mautic) -> Iterator[Connected]:
    with served(mautic) as url:
        made = Connected(tmp_path, url)
        yield made
        made.copy.close()


@pytest.mark.parametrize(
    ("reason", "number"),
    [("CONSENT_WITHDRAWN", 1), ("OBJECTION_DM", 1), ("HARD_BOUNCE", 2), ("RESTRICTED", 3), ("CONSENT_EXPIRED", 3)],
)
async def test_the_ledgers_reasons_are_kept_apart(
    connected: Connected, mautic: Mautic, reason: str, number: int
) -> None:
    an = mautic.enter(email=AN)
    apply(connected.copy, address(AN, {"newsletter": {"email": no(reason)}}, version=2))

    await connected.sweep()

    assert mautic.dnc(an) == {"email": number}
    assert mautic.added == [(an, "email", {"reason": number, "comments": f"consent ledger: {reason}"})]


def test_every_reason_has_one_of_mautics() -> None:
    assert {reason_of(reason) for reason in RULES} == {1, 2, 3}


@pytest.mark.parametrize(
    ("reason", "type_"), [(1, "consent-withdrawn"), (2, "delivery-failed"), (3, "consent-withdrawn")]
)
async def test_mautics_reasons_are_kept_apart(connected: Connected, mautic: Mautic, reason: int, type_: str) -> None:
    an = mautic.enter(email=AN)
    apply(connected.copy, address(AN, {"newsletter": {"email": yes()}}, version=2))
    mautic.leave(an, "email", reason)

    await connected.sweep()
    await connected.sweep()

    assert [one.type for one in connected.declared] == [type_]
    assert mautic.added == []


async def test_nobody_is_ever_let_back_and_our_own_entry_is_not_his_word(connected: Connected, mautic: Mautic) -> None:
    an = mautic.enter(email=AN)
    apply(connected.copy, address(AN, {"newsletter": {"email": no("CONSENT_WITHDRAWN")}}, version=2))
    await connected.sweep()
    apply(connected.copy, address(AN, {"newsletter": {"email": yes()}}, version=3))
    await connected.sweep()

    assert (mautic.dnc(an), connected.declared) == ({"email": 1}, [])


async def test_what_is_no_address_gets_nothing(connected: Connected, mautic: Mautic) -> None:
    an = mautic.enter(email="an at example")

    await connected.sweep()

    assert mautic.dnc(an) == {"email": 3}


async def test_many_contacts_are_all_looked_at(connected: Connected, mautic: Mautic) -> None:
    for number in range(450):
        mautic.enter(email=f"p{number}@example.be")
        apply(connected.copy, address(f"p{number}@example.be", {"newsletter": {"email": yes()}}, version=2))
    last = mautic.enter(email=AN)

    connector = await connected.sweep()

    assert connector.counts["contacts"] == 451
    assert mautic.dnc(last) == {"email": 3}
    assert KEY.controller == "shop-be"
