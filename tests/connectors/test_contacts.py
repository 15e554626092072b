"""A tool with contacts sends to nobody to whom the ledger says no, and what only the tool knows comes back as events.

Against a stand-in of listmonk, with a view made of records as the relay writes them.

Seen to fail:
- a refusal that stops every list; the record that has changed believed instead of the view now;
- a contact entered after the refusal never looked for; acknowledged before the first sweep;
- the connector's own stops told as the person's word, also when it died between memory and call;
- somebody's second no forgotten, because the first was told; the same told at each sweep; the tool's date left out;
- bounces and complaints told as refusals; a no for want of knowledge obeyed;
- a stop believed that listmonk did not make; contacts that are gone kept for ever.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from client.topic import KEY, Clock, address, apply, copied, no, view_of, yes
from connectors import webserver
from connectors.listmonk import TOKEN, USER, Listmonk
from connectors.webserver import served
from consent_ledger.client import HashKey
from consent_ledger.client.copy import Copy, Place
from consent_ledger.connectors.contacts import ContactConnector, Declared
from consent_ledger.connectors.http import Api
from consent_ledger.connectors.index import Index
from consent_ledger.connectors.listmonk import ListmonkTool, ListOf
from consent_ledger.connectors.runner import Batch, Runner
from consent_ledger.connectors.state import State
from consent_ledger.domain.suppression import Answer

AN, BO, CIS = "an@example.be", "bo@example.be", "cis@example.be"
YES = {"newsletter": {"email": yes()}, "invoice": {"email": yes("CONTRACT")}}
NO = {"newsletter": {"email": no("CONSENT_WITHDRAWN")}, "invoice": {"email": yes("CONTRACT")}}
NOTHING = {"newsletter": {"email": no("OBJECTION_DM")}, "invoice": {"email": no("OBJECTION_DM")}}
NEWS, BILLS = 1, 2


class Connected:
    """A connector, its tool, its view, and what it has declared and acknowledged."""

    def __init__(self, path: Path, url: str, listmonk: Listmonk) -> None:
        self.path, self.url, self.listmonk = path, url, listmonk
        self.copy: Copy = copied(path / "copy")
        self.keys: tuple[HashKey, ...] = (KEY,)
        self.lists = [ListOf(id=NEWS, controller="shop-be", purpose="newsletter"),
                      ListOf(id=BILLS, controller="shop-be", purpose="invoice")]  # fmt: skip
        self.declared: list[Declared] = []
        self.acknowledged: list[Sequence[Place]] = []
        self.clock = Clock()
        self.api: Api | None = None
        self.connector: ContactConnector | None = None

    def applied(self, places: Sequence[Place]) -> None:
        self.acknowledged.append(places)

    def open(self, *, dry: bool = False, sweep_seconds: float = 3600.0) -> tuple[ContactConnector, State]:
        state = State(self.path / "state", dry=dry)
        self.api = Api(self.url, auth=(USER, TOKEN), rate=1000.0, dry=dry)
        self.connector = ContactConnector(
            ListmonkTool(self.api, self.lists, blocklist=False), view_of(self.copy, keys=self.keys, clock=self.clock),
            Index(state.connection), declare=None if dry else self.declared.append, sweep_seconds=sweep_seconds,
            news_seconds=None if dry else 0.0, is_parked=state.is_parked,
        )  # fmt: skip
        return self.connector, state

    async def sweep(self, *, dry: bool = False) -> ContactConnector:
        """Start the connector, let it do all there is, and stop it."""
        connector, state = self.open(dry=dry)
        await Runner("listmonk", connector, state, acknowledger=self, attempts=2, pause=0.001).run(once=True)
        assert self.api is not None
        await self.api.close()
        state.close()
        return connector

    def say(self, who: str, answers: Mapping[str, Mapping[str, Answer]], version: int) -> None:
        apply(self.copy, address(who, answers, version=version))

    def parked(self) -> list[str]:
        state = State(self.path / "state")
        found = [one.reason for one in state.parked()]
        state.close()
        return found


@pytest.fixture
def listmonk() -> Listmonk:
    made = Listmonk()
    for id_ in (NEWS, BILLS):
        made.lists[id_] = {"name": f"list {id_}", "type": "private", "optin": "single"}
        made.managed.add(id_)
    return made


@pytest.fixture
def world(tmp_path: Path, listmonk: Listmonk) -> Iterator[Connected]:
    with served(listmonk) as url:
        made = Connected(tmp_path, url, listmonk)
        yield made
        made.copy.close()


async def test_a_refusal_of_one_purpose_stops_its_list_only(world: Connected, listmonk: Listmonk) -> None:
    an, bo = listmonk.subscribe(AN, NEWS, BILLS), listmonk.subscribe(BO, NEWS, BILLS)
    world.say(AN, NO, 2)
    world.say(BO, YES, 2)

    await world.sweep()

    assert (listmonk.on(an), listmonk.on(bo)) == ({BILLS}, {NEWS, BILLS})


async def test_an_objection_to_all_stops_every_list(world: Connected, listmonk: Listmonk) -> None:
    an = listmonk.subscribe(AN, NEWS, BILLS)
    world.say(AN, NOTHING, 2)

    await world.sweep()

    assert listmonk.on(an) == set()


async def test_nobody_is_ever_subscribed(world: Connected, listmonk: Listmonk) -> None:
    listmonk.subscribe(AN, NEWS)
    world.say(AN, NO, 2)
    await world.sweep()
    world.say(AN, YES, 3)
    await world.sweep()

    assert [(what, body["action"]) for what, body in listmonk.changes] == [("lists", "unsubscribe")]
    assert world.declared == []


async def test_a_change_is_applied_while_it_runs(world: Connected, listmonk: Listmonk) -> None:
    an = listmonk.subscribe(AN, NEWS)
    world.say(AN, YES, 2)
    async with running(world) as batches:
        await until_last(batches)
        world.say(AN, NO, 3)
        batch = await until_items(batches)

    assert [one.key for one in batch.items] == [f"contact/{an}"]
    assert batch.items[0].partitions == (0,)


async def test_who_is_entered_after_refusing_is_found_before_anything_is_acknowledged(
    world: Connected, listmonk: Listmonk
) -> None:
    listmonk.subscribe(BO, NEWS)
    world.say(BO, YES, 2)
    world.say(AN, NO, 2)
    async with running(world) as batches:
        await until_last(batches)
        an = listmonk.subscribe(AN, NEWS)
        batch = await anext(batches)

    assert [one.key for one in batch.items] == [f"contact/{an}"]
    assert batch.places


async def test_nothing_is_acknowledged_before_all_contacts_are_known(world: Connected, listmonk: Listmonk) -> None:
    for number in range(120):
        listmonk.subscribe(f"p{number}@example.be", BILLS)
    async with running(world) as batches:
        early = [await anext(batches) for _ in range(3)]
        late = await until_last(batches)

    assert not any(one.places or one.place for one in early)
    assert late.places
    assert late.place


async def test_after_a_start_new_contacts_are_known_before_anything_is_acknowledged(
    world: Connected, listmonk: Listmonk
) -> None:
    listmonk.subscribe(BO, BILLS)
    await world.sweep()
    an = listmonk.subscribe(AN, NEWS)
    async with running(world, again=True) as batches:
        batch = await anext(batches)

    assert [one.key for one in batch.items] == [f"contact/{an}"]
    assert not batch.places


async def test_while_contacts_cannot_be_read_nothing_is_acknowledged(world: Connected, listmonk: Listmonk) -> None:
    listmonk.subscribe(BO, BILLS)
    async with running(world) as batches:
        await until_last(batches)
        listmonk.refuse = webserver.Answer(503, {})
        batch = await anext(batches)

    assert not batch.places
    assert batch.place is None


async def test_what_is_done_is_what_the_view_says_now(world: Connected, listmonk: Listmonk) -> None:
    an = listmonk.subscribe(AN, NEWS)
    world.say(AN, NO, 2)
    async with running(world) as batches:
        batch = await until_items(batches)
        world.say(AN, YES, 3)
        assert world.connector is not None
        await world.connector.apply(batch.items)

    assert (listmonk.on(an), listmonk.changes) == ({NEWS}, [])


async def test_what_only_the_tool_knows_is_declared_once_with_its_date(world: Connected, listmonk: Listmonk) -> None:
    an = listmonk.subscribe(AN, NEWS, BILLS)
    world.say(AN, YES, 2)
    listmonk.leave(an, NEWS)
    left_at = listmonk.now
    await world.sweep()
    await world.sweep()

    (said,) = world.declared
    assert (said.type, said.occurred_at) == ("consent-withdrawn", left_at)
    assert said.data["subject"] == [{"type": "email", "value": AN}]
    assert (said.data["controllers"], said.data["purposes"], said.data["channels"]) == (
        ["shop-be"], ["newsletter"], ["email"],
    )  # fmt: skip
    assert listmonk.changes == []


async def test_who_comes_back_and_leaves_again_is_told_again(world: Connected, listmonk: Listmonk) -> None:
    an = listmonk.subscribe(AN, NEWS)
    world.say(AN, YES, 2)
    for _ in range(2):
        listmonk.subscribe(AN, NEWS)
        await world.sweep()
        listmonk.leave(an, NEWS)
        await world.sweep()

    assert len({said.id for said in world.declared}) == 2


async def test_what_the_connector_stopped_is_not_the_persons_word(world: Connected, listmonk: Listmonk) -> None:
    an = listmonk.subscribe(AN, NEWS)
    world.say(AN, NO, 2)
    await world.sweep()
    world.say(AN, YES, 3)
    await world.sweep()
    mirrored = list(world.declared)
    listmonk.subscribe(AN, NEWS)
    await world.sweep()
    listmonk.leave(an, NEWS)
    await world.sweep()

    assert (mirrored, [said.type for said in world.declared]) == ([], ["consent-withdrawn"])


async def test_a_stop_whose_end_nobody_saw_is_not_the_persons_word(world: Connected, listmonk: Listmonk) -> None:
    """As if the process had died after listmonk was told, and before anything was written down."""
    an = listmonk.subscribe(AN, NEWS)
    world.say(AN, NO, 2)
    async with running(world) as batches:
        batch = await until_items(batches)
        assert world.connector is not None
        await world.connector.apply(batch.items)
    world.say(AN, YES, 3)
    await world.sweep()

    assert (listmonk.on(an), world.declared) == (set(), [])


@pytest.mark.parametrize(
    ("bounces", "type_"),
    [
        (["soft", "hard"], "delivery-failed"),
        (["hard", "complaint"], "complaint-received"),
        (["soft"], "consent-withdrawn"),
        ([], "consent-withdrawn"),
    ],
)
async def test_why_somebody_is_blocked_is_kept_apart(
    world: Connected, listmonk: Listmonk, bounces: list[str], type_: str
) -> None:
    an = listmonk.subscribe(AN, NEWS)
    world.say(AN, YES, 2)
    listmonk.block(an, *bounces)

    await world.sweep()

    assert [said.type for said in world.declared] == [type_]


async def test_a_view_that_does_not_know_stops_nobody(world: Connected, listmonk: Listmonk) -> None:
    an = listmonk.subscribe(AN, NEWS)
    world.say(AN, NO, 2)
    world.keys = (HashKey(controller="shop-be", kid="kid-1", key=bytes(32)),)
    async with running(world) as batches:
        some = [await anext(batches) for _ in range(2)]

    assert not any(one.items or one.places for one in some)
    assert listmonk.on(an) == {NEWS}


async def test_a_purpose_that_the_register_does_not_have_stops_nobody(world: Connected, listmonk: Listmonk) -> None:
    an = listmonk.subscribe(AN, NEWS)
    world.lists = [ListOf(id=NEWS, controller="shop-be", purpose="newsletters")]
    async with running(world) as batches:
        some = [await anext(batches) for _ in range(2)]

    assert not any(one.items or one.places for one in some)
    assert listmonk.on(an) == {NEWS}


async def test_a_dry_run_says_what_it_would_do(world: Connected, listmonk: Listmonk) -> None:
    an, bo = listmonk.subscribe(AN, NEWS), listmonk.subscribe(BO, NEWS)
    world.say(AN, NO, 2)
    world.say(BO, YES, 2)
    listmonk.leave(bo, NEWS)

    connector = await world.sweep(dry=True)

    assert world.api is not None
    assert world.api.would == [f"unsubscribe from list {NEWS}: subscribers {an} (CONSENT_WITHDRAWN 1)"]
    assert (connector.counts["to be stopped"], connector.counts["to be declared"]) == (1, 1)
    assert (listmonk.changes, listmonk.on(an), world.declared) == ([], {NEWS}, [])


async def test_a_stop_that_listmonk_did_not_make_is_parked(world: Connected, listmonk: Listmonk) -> None:
    listmonk.subscribe(AN, NEWS)
    listmonk.managed.clear()
    world.say(AN, NO, 2)

    await world.sweep()

    assert world.parked() == ["listmonk did not unsubscribe from list 1: may its user manage it?"]
    assert not any(place.instant for place in world.acknowledged[-1])


async def test_the_connectors_files_hold_no_address(world: Connected, listmonk: Listmonk) -> None:
    listmonk.subscribe(AN, NEWS)
    world.say(AN, NO, 2)
    await world.sweep()

    files = [one for one in (world.path / "state").rglob("*") if one.is_file()]
    assert (world.path / "state" / "connector.db") in files
    assert not [one for one in files if b"example.be" in one.read_bytes()]


async def test_contacts_that_are_gone_are_forgotten(world: Connected, listmonk: Listmonk) -> None:
    listmonk.subscribe(AN, BILLS)
    cis = listmonk.subscribe(CIS, BILLS)
    await world.sweep()
    del listmonk.subscribers[cis]
    counts = []
    for _ in range(2):
        await world.sweep()
        state = State(world.path / "state")
        counts.append(Index(state.connection).count())
        state.close()

    assert counts == [2, 1]


# -- steps


class running:  # noqa: N801 - reads as a verb
    """The batches of a connector, applied by nobody but the test."""

    def __init__(self, world: Connected, *, again: bool = False) -> None:
        self._connector, self._state = world.open()
        self._place = self._state.place if again else None
        self._world = world

    async def __aenter__(self) -> AsyncIterator[Batch]:
        self._batches = self._connector.batches(self._place)
        return self._batches

    async def __aexit__(self, *_: object) -> None:
        async with aclosing(self._batches):  # type: ignore[type-var]
            pass
        assert self._world.api is not None
        await self._world.api.close()
        self._state.close()


async def until_last(batches: AsyncIterator[Batch]) -> Batch:
    async with asyncio.timeout(20):
        async for batch in batches:
            if batch.last:
                return batch
    raise AssertionError


async def until_items(batches: AsyncIterator[Batch]) -> Batch:
    async with asyncio.timeout(20):
        async for batch in batches:
            if batch.items:
                return batch
    raise AssertionError
