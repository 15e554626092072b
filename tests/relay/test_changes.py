"""The changes topic tells of every entry once per controller, without what is personal, and what it has changed.

Seen to fail:
- an entry that changes nothing left out; only the last of several that came at once told; the same told twice;
- `merged_from` left out, or with dossiers that nobody was ever told of;
- the controllers of an entry, its subject or its whole body told;
- rows forgotten before the commit, or not at all; the same sent again at each commit;
- told while the suppressions have a backlog; never told while they have one; late for ever once it was late, or late no
  more after one look; a lane that is busy after any row, or for ever; a relay whose teller does not ask its lane.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from aiokafka.errors import ProducerFenced

from builders import confirmed, email, given, linked, objected, withdrawn
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.domain.published import ChangeRecord
from consent_ledger.relay import lane, teller
from consent_ledger.relay.app import Relay
from consent_ledger.relay.lane import Lane, take_over
from consent_ledger.relay.records import Records
from consent_ledger.relay.teller import Teller
from consent_ledger.runtime.clock import SystemClock
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import keys
from consent_ledger.store import relay as store
from consent_ledger.store.relay import TOLD_ROWS
from consent_ledger.viewer.app import Viewer
from relay.stage import CONTROLLER, Stage
from running import Installation, installation, serving, until
from viewer.asking import REGISTER

Taken = Callable[[], Awaitable[Teller]]
ZOE = "zoe-personal@example.be"


@pytest.fixture(scope="module")
async def home(
    kafka: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    async with (
        installation(kafka, postgres, template, tmp_path_factory.mktemp("changes"), lease_seconds=2) as made,
        serving(made.recorder().run()) as recorder,
        serving(Viewer(made.settings, made.keks, made.clock).run()),
        serving(Relay(made.settings, made.keks, made.clock).run()),
    ):
        await made.recorded(await made.load_register(REGISTER), service=recorder)
        yield made


async def told(home: Installation, *events: dict[str, Any]) -> list[ChangeRecord]:
    """Return what the topic tells of events, in order, once each of them is there."""
    stage = Stage(
        settings=home.settings, keks=home.keks, hash_key=b"", kid="", viewer=home.superuser, relay=home.superuser,
        superuser=home.superuser,
    )  # fmt: skip
    wanted = {event["id"] for event in events}

    async def found() -> list[ChangeRecord]:
        records = [one for q in range(2) for one in await stage.read(q, topic="changes", committed=True)]
        assert not [one.value for one in records if b"personal" in one.value or b"example.be" in one.value]
        read = [msgspec.json.decode(one.value, type=ChangeRecord) for one in records]
        assert [one.key for one in records] == [f"{one.controller}/{one.dossier}".encode() for one in read]
        ours = [one for one in read if one.controller == CONTROLLER and one.entry and str(one.entry.id) in wanted]
        return ours if {str(one.entry.id) for one in ours if one.entry} == wanted else []

    return await until(found)


async def hash_of(home: Installation, address: str) -> str:
    key = (await keys.controller_keys(home.superuser, home.keks))[CONTROLLER]
    return address_hash(key.key, "email", address).hex()


async def test_an_entry_is_told_with_what_it_changed(home: Installation) -> None:
    said = withdrawn(email(ZOE), time="2026-03-02T09:00:00Z")
    await home.publish(said)

    (record,) = await told(home, said)

    assert record.entry is not None
    assert (record.controller, record.merged_from, record.entry.type) == (CONTROLLER, [], "consent-withdrawn")
    assert record.entry.source == said["source"]
    assert record.entry.occurred_at.isoformat() == "2026-03-02T09:00:00+00:00"
    (address,) = record.addresses
    assert (address.type, address.hash) == ("email", await hash_of(home, ZOE))
    assert address.decisions["newsletter"]["email"].reason == "CONSENT_WITHDRAWN"


async def test_each_entry_is_told_once_also_one_that_changes_nothing(home: Installation) -> None:
    first, again = objected(email("twice@example.be")), objected(email("twice@example.be"))
    await home.publish_together(first, again)

    records = await told(home, first, again)

    assert [str(one.entry.id) for one in records if one.entry] == [first["id"], again["id"]]
    assert len({one.dossier for one in records}) == 1
    assert sorted(len(one.addresses) for one in records) == [0, 1]
    assert records[0].seq < records[1].seq


async def test_an_entry_that_names_nobody_is_told_of_whom_it_means(home: Installation) -> None:
    consent = given(email("club@example.be"), purposes=["club"])
    confirmation = confirmed(consent)
    await home.publish(confirmation)
    await home.publish(consent, shard=2)

    records = await told(home, consent, confirmation)

    assert len({one.dossier for one in records}) == 1


async def test_who_takes_in_another_says_so(home: Installation) -> None:
    one, two = given(email("one@example.be")), given(email("two@example.be"))
    for each in (one, two):
        await home.recorded(await home.publish(each))
    before = await told(home, one, two)
    link = linked(email("one@example.be"), email("two@example.be"))
    await home.publish(link)

    (record,) = await told(home, link)

    assert {record.dossier, *record.merged_from} == {each.dossier for each in before}
    assert record.dossier == min(each.dossier for each in before)


async def test_dossiers_that_nobody_was_told_of_are_not_named(home: Installation) -> None:
    events = [given(email("new1@example.be")), given(email("new2@example.be"))]
    link = linked(email("new1@example.be"), email("new2@example.be"))
    await home.publish_together(*events, link)

    records = await told(home, *events, link)

    # They came at once, so all of them are one person's; if not, the first two were told of before.
    assert {id_ for one in records for id_ in one.merged_from} <= {one.dossier for one in records[:-1]}
    assert len(records) == 3


async def test_what_was_told_is_forgotten_behind_the_commit(stage: Stage, taken: Taken) -> None:
    await tell(stage, 7)
    owner = await taken()

    before = await left(stage)
    await owner.round()

    assert (before, await left(stage)) == (1, 0)
    (record,) = await stage.read(0, topic="changes")
    assert (record.key, msgspec.json.decode(record.value, type=ChangeRecord).merged_from) == (b"shop-be/7", [3, 4])


async def test_who_lost_the_partition_can_tell_nothing_more(stage: Stage, taken: Taken) -> None:
    slow = await taken()
    await stage.let_leases_pass()
    quick = await taken()
    await tell(stage, 7)

    await slow.round()
    # As if it had been stopped between its look and its sending.
    with pytest.raises(ProducerFenced):
        await slow.producer.send({0: [(b"shop-be/7", b"{}")]})

    assert (await stage.read(0, topic="changes"), await left(stage)) == ([], 1)
    await quick.round()
    assert len(await stage.read(0, topic="changes")) == 1


async def test_what_was_sent_and_not_committed_is_sent_again(stage: Stage, taken: Taken) -> None:
    await tell(stage, 7)
    first = await taken()
    # Stopped between sending and committing.
    assert await first.send() == 1
    await first.producer.drop()
    await stage.let_leases_pass()

    second = await taken()
    await second.round()

    assert len(await stage.read(0, topic="changes", committed=True)) == 1


async def test_a_backlog_of_suppressions_comes_first_for_a_minute(
    stage: Stage, taken: Taken, busy: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(teller, "_now", lambda: now[0])
    owner = await taken()
    for dossier in range(TOLD_ROWS + 1):
        await tell(stage, dossier)
    stood_back = [owner.stands_back]

    busy.append(True)
    for now[0] in (0.0, 59.9, 60.0):
        stood_back.append(owner.stands_back)
    assert await owner.send() == TOLD_ROWS
    stood_back.append(owner.stands_back)
    await owner.round()
    for now[0] in (119.9, 120.0):
        stood_back.append(owner.stands_back)

    # What is late is told whole, before anybody is waited for again.
    assert stood_back == [False, True, True, False, False, True, False]
    assert (len(await stage.read(0, topic="changes")), await left(stage)) == (TOLD_ROWS + 1, 0)


async def test_a_relay_whose_lane_is_always_busy_tells_all_the_same(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Lane] = []

    def is_busy(lane: Lane) -> bool:
        asked.append(lane)
        return True

    async def has_been_asked_twice() -> bool:
        return len(asked) > 1

    async def all_is_told() -> bool:
        return await left(stage) == 0

    monkeypatch.setattr(Lane, "is_busy", property(is_busy))
    await tell(stage, 7)
    async with serving(Relay(stage.settings, stage.keks, SystemClock()).run()):
        await until(has_been_asked_twice)
        assert await left(stage) == 1
        monkeypatch.setattr(teller, "_PATIENCE_SECONDS", 0.0)
        await until(all_is_told)


@pytest.mark.parametrize(
    ("rows", "busy_then"), [(lane._MANY - 1, [False, False, False]), (lane._MANY, [False, True, False])]
)
async def test_a_lane_is_busy_after_many_rows_at_once(
    stage: Stage, rows: int, busy_then: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    owner = await take_over(stage.settings, stage.relay, Records(stage.keks), qs=[0], owner="relay")
    assert owner is not None
    monkeypatch.setattr(lane, "_now", lambda: now[0])
    await stage.put(stage.numbers_on(0, rows))

    found = [owner.is_busy]
    await owner.step()
    found.append(owner.is_busy)
    now[0] += 1.0
    found.append(owner.is_busy)

    assert found == busy_then
    await owner.end()


@pytest.fixture
def busy() -> list[bool]:
    """Say by anything in it that the suppressions have a backlog."""
    return []


@pytest.fixture
async def taken(stage: Stage, busy: list[bool]) -> AsyncIterator[Taken]:
    """Take the first partition over, each time as another relay."""
    owners: list[Teller] = []
    connections: list[Connection] = []

    async def take() -> Teller:
        connections.append(await store.connect(stage.settings.dsn))
        epoch = await store.claim(connections[-1], [0], f"relay-{len(connections)}", timedelta(seconds=300))
        assert epoch is not None
        owner = Teller(
            stage.settings, connections[-1], Records(stage.keks), q=0, epoch=epoch, is_busy=lambda: bool(busy)
        )
        await owner.producer.start()
        owners.append(owner)
        return owner

    yield take
    for owner in owners:
        await owner.producer.drop()
    for connection in connections:
        connection.terminate()


async def tell(stage: Stage, dossier: int) -> None:
    await stage.superuser.execute(
        "INSERT INTO consent.told (q, controller, dossier, merged_from, hashes) VALUES (0, $1, $2, '{3,4}', '')",
        CONTROLLER, dossier,
    )  # fmt: skip


async def left(stage: Stage) -> int:
    return int(await stage.superuser.fetchval("SELECT count(*) FROM consent.told"))
