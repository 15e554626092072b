"""The view made anew says what the live one says; where it does not, the cause is told and the live one put right.

Seen to fail: entries that wait not compared; dates at which time acts not compared; register versions not compared; a
row on a wrong partition left where it was; a row put right under a version that does not rise; a row that no entry
speaks of left; views compared that are not as of the same entries. What a killed one left cleared away by nobody; a
rebuild that is under way cleared away; an erasure, or a run of retention, in the middle of one; the patience of a
service for statements about whole tables.
"""

import asyncio
import hashlib
import itertools
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import psutil
import pytest

from builders import confirmed, email, erased, event, given, objected, withdrawn
from consent_ledger.relay.app import Relay
from consent_ledger.relay.reconcile import reconcile
from consent_ledger.runtime import postgres as servers
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import rebuild as store
from consent_ledger.viewer.app import Viewer
from consent_ledger.viewer.erasure import Eraser
from consent_ledger.viewer.rebuild import BusyError, Rebuild, Report, WorkerError
from consent_ledger.viewer.retention import RebuildUnderWayError
from running import Installation, installation, serving, until
from viewer.asking import REGISTER, answers, hashed, reason
from viewer.retaining import run

Address = Callable[[], str]


@pytest.fixture(scope="module")
async def home(
    kafka: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    async with (
        installation(kafka, postgres, template, tmp_path_factory.mktemp("rebuild"), lease_seconds=1) as made,
        serving(made.recorder().run()) as recorder,
        serving(Viewer(made.settings, made.keks, made.clock).run()),
        serving(Relay(made.settings, made.keks, made.clock).run()),
    ):
        await made.recorded(await made.load_register(REGISTER), service=recorder)
        yield made


async def rebuilt(home: Installation, *, swap: bool = False, **options: Any) -> Report:
    return await Rebuild(home.settings, home.keks, **{"processes": 1, **options}).run(swap=swap)


async def people(home: Installation, address: Address) -> tuple[dict[str, str], bytes]:
    """Somebody for each way in which entries come to a dossier, and the row of the one who objects from before that."""
    now = datetime.now(UTC)
    one = {
        name: address() for name in ("yes", "no", "work", "private", "third", "club", "early", "week", "later", "other")
    }
    consent = given(email(one["club"]), purposes=["club"], time=now)
    late = given(email(one["early"]), purposes=["club"], time=now)
    said = [
        given(email(one["yes"]), time=now),
        given(email(one["no"]), time=now),
        given(email(one["work"]), time=now),
        given(email(one["third"]), time=now),
        given(email(one["private"]), email(one["third"]), time=now),
        withdrawn(email(one["work"]), email(one["private"]), time=now),
        consent,
        confirmed(consent, time=now),
        confirmed(late, time=now),
        late,
        given(email(one["week"]), purposes=["week"], time=now),
        given(email(one["later"]), purposes=["week"], time=now),
        event("event-voided", voids="0199c3a0-5b00-7000-8000-00000000dead", entered_by="staff:an", time=now),
        given(email(one["other"]), controllers=["shop-nl"], source="web:shop-nl", time=now),
    ]
    places = [await home.publish(each, shard=1 + number % 2) for number, each in enumerate(said)]
    await home.recorded(*places)
    await folded(home)
    stale = await home.fetch("SELECT decisions FROM view WHERE hash = $1", await hashed(home, one["no"]))
    await home.recorded(await home.publish(objected(email(one["no"]), time=datetime.now(UTC))))
    await folded(home)
    return one, stale[0][0]


async def folded(home: Installation) -> None:
    await until(
        lambda: home.fetch(
            "SELECT FROM view_head v WHERE (SELECT bool_and(h.next_pos = coalesce(v.applied[h.shard + 1], 0))"
            " FROM shard_head h)"
        )
    )


_numbers = itertools.count()


@pytest.fixture
def address() -> Address:
    return lambda: f"rebuilt{next(_numbers)}@example.be"


async def test_whoever_was_erased_stays_so(home: Installation, address: Address) -> None:
    an, other, shared = address(), address(), address()
    now = datetime.now(UTC)
    said = [given(email(an), email(shared), time=now), given(email(other), time=now)]
    await home.recorded(*[await home.publish(one) for one in said])
    erasure = erased(email(an), time=datetime.now(UTC))
    await home.recorded(await home.publish(erasure))
    await home.carried_out(erasure)
    await home.recorded(await home.publish(given(email(an), time=datetime.now(UTC))))
    await folded(home)
    before = [await reason(home, one) for one in (an, other, shared)]

    report = await rebuilt(home, swap=True)

    assert report.found == []
    assert (before[1], [await reason(home, one) for one in (an, other, shared)]) == ("CONSENT", before)


async def test_made_anew_nothing_differs(home: Installation, address: Address) -> None:
    one, _ = await people(home, address)

    report = await rebuilt(home, processes=2)

    assert report.found == []
    assert report.differences == 0
    rows = await home.fetch("SELECT count(*) FROM view WHERE left(type, 1) <> '!'")
    assert report.addresses == rows[0][0]
    assert await reason(home, one["yes"]) == "CONSENT"


class Spoilt:
    """Ways in which a view can come to be wrong, each done to an address of its own."""

    def __init__(self, home: Installation, one: dict[str, str], stale: bytes) -> None:
        self.stale = stale
        self.home = home
        self.one = one
        self.hashes: dict[str, str] = {}

    async def spoil(self) -> None:
        home = self.home
        for name, value in self.one.items():
            controller = "shop-nl" if name == "other" else "shop-be"
            self.hashes[name] = (await hashed(home, value, controller=controller)).hex()
        yes, no, club, work, week, other, later = (
            bytes.fromhex(self.hashes[name]) for name in ("yes", "no", "club", "work", "week", "other", "later")
        )
        await home.fetch("UPDATE view SET decisions = $1 WHERE hash = $2", self.stale, no)
        await home.fetch("DELETE FROM view WHERE hash = $1", club)
        await home.fetch(
            "UPDATE dossier SET facts = (SELECT facts FROM dossier JOIN ident ON dossier = id WHERE hash = $1)"
            " WHERE id = (SELECT dossier FROM ident WHERE hash = $2)", yes, work,
        )  # fmt: skip
        await home.fetch(
            """UPDATE view SET decisions = '{"week":{"email":{"allow":true,"reason":"CONSENT"}}}' WHERE hash = $1""",
            week,
        )
        await home.fetch("UPDATE view SET register_version = 0 WHERE hash = $1", other)
        await home.fetch("UPDATE view SET q = 1 - q WHERE hash = $1", yes)
        await home.fetch(
            "UPDATE dossier SET due_at = 'infinity' WHERE id = (SELECT dossier FROM ident WHERE hash = $1)", later
        )
        await home.fetch("DELETE FROM waiting")
        await home.fetch(
            "INSERT INTO view SELECT sha256($1), controller, type, q, seq, register_version, shard, pos,"
            " recorded_at, decisions FROM view WHERE hash = $1", yes,
        )  # fmt: skip


async def state(home: Installation) -> list[Any]:
    tables = ("view", "ident", "dossier", "waiting")
    return [await home.fetch(f"SELECT * FROM consent.{table} ORDER BY 1, 2") for table in tables]  # noqa: S608


async def test_what_is_wrong_is_named_refused_and_put_right(home: Installation, address: Address) -> None:
    one, stale = await people(home, address)
    right = {name: await answers(home, value) for name, value in one.items() if name != "other"}
    spoilt = Spoilt(home, one, stale)
    await spoilt.spoil()
    before = await state(home)

    refused = await rebuilt(home)
    after = await state(home)
    swapped = await rebuilt(home, swap=True)
    again = await rebuilt(home)

    causes = {difference.hash or difference.what: difference for difference in refused.found}
    names = {hash_: name for name, hash_ in spoilt.hashes.items()}
    nobody = hashlib.sha256(bytes.fromhex(spoilt.hashes["yes"])).hexdigest()
    names |= {nobody: "nobody", "waiting": "entry"}
    assert {names[hash_]: causes[hash_].what for hash_ in causes} == {
        "no": "answers", "club": "missing", "work": "facts", "private": "facts", "third": "facts", "week": "answers",
        "other": "version", "yes": "place", "later": "due", "nobody": "unexpected", "entry": "waiting",
    }  # fmt: skip
    assert "before entry" in causes[spoilt.hashes["no"]].cause
    assert "(objection-raised)" in causes[spoilt.hashes["no"]].cause
    answered = [(one.purpose, one.live, one.anew) for one in causes[spoilt.hashes["no"]].answers]
    assert ("newsletter", "CONSENT", "OBJECTION_DM+CONSENT_WITHDRAWN") in answered
    assert before == after, "a refused rebuild has changed the live view"
    assert (swapped.swapped, swapped.written, again.differences) == (True, 6, 0)
    topic = await reconcile(home.settings, home.keks)
    assert (topic.missing, topic.stale, topic.falling) == (0, 0, 0), "what differed was not published"
    assert {name: await answers(home, value) for name, value in one.items() if name != "other"} == right


async def test_events_flow_while_the_view_is_made_anew_and_what_differs_is_replaced(
    home: Installation, address: Address
) -> None:
    one, stale = await people(home, address)
    await Spoilt(home, one, stale).spoil()
    published: list[str] = []
    done = asyncio.Event()

    async def traffic() -> None:
        # Also of those whose dossiers are wrong, so that what is folded meanwhile has to be brought together.
        known = itertools.cycle([one["work"], one["club"], one["no"], one["yes"]])
        while not done.is_set():
            new = address()
            places = [
                await home.publish(given(email(new), email(next(known)), time=datetime.now(UTC)), shard=1),
                await home.publish(objected(email(new), time=datetime.now(UTC)), shard=2),
            ]
            published.append(new)
            await home.recorded(*places)

    task = asyncio.create_task(traffic())
    try:
        swapped = await rebuilt(home, swap=True)
    finally:
        done.set()
        await task
    await folded(home)
    again = await rebuilt(home)

    assert len(published) > 3
    assert swapped.swapped
    assert again.found == []
    assert {await reason(home, new) for new in published} == {"OBJECTION_DM"}
    topic = await reconcile(home.settings, home.keks)
    assert (topic.missing, topic.stale, topic.falling) == (0, 0, 0)


class Loading(Rebuild):
    """A register comes into force between the making and the comparing, once."""

    loaded = False

    async def _compare(self, *connections: Any) -> Report:
        if not self.loaded:
            self.loaded = True
            purposes = [{**one, "channels": ["email"]} for one in REGISTER["purposes"]]
            await HOME[0].recorded(await HOME[0].load_register({**REGISTER, "purposes": purposes}))
            await until(
                lambda: HOME[0].fetch(
                    "SELECT FROM view_head WHERE register_version = (SELECT max(version) FROM register)"
                )
            )
        return await super()._compare(*connections)


HOME: list[Installation] = []


async def test_under_a_register_that_came_meanwhile_all_is_made_again(home: Installation, address: Address) -> None:
    await people(home, address)
    HOME[:] = [home]
    before = await home.fetch("SELECT max(version) FROM register")

    report = await Loading(home.settings, home.keks, processes=1).run(swap=False)

    assert report.found == []
    assert report.register_version == before[0][0] + 1


HALTED = """
import asyncio, sys
import psutil
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.settings import Settings
from consent_ledger.viewer.rebuild import Rebuild

def progress(what, done, every):
    if what == "deciding":
        print(*[child.pid for child in psutil.Process().children()], flush=True)
        sys.stdin.read()

settings = Settings()
asyncio.run(Rebuild(settings, KeyFile(settings.key_file), processes=1, progress=progress).run(swap=True))
"""


@asynccontextmanager
async def halted(home: Installation) -> AsyncIterator[tuple[Process, list[int]]]:
    """A rebuild that stands still between reading and deciding, and the processes that it has started."""
    process = await started(home, "-c", HALTED, stdin=PIPE)
    assert process.stdout is not None
    try:
        yield process, [int(pid) for pid in (await process.stdout.readline()).split()]
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_what_one_that_is_killed_leaves_is_cleared_away_and_nothing_else(
    home: Installation, address: Address
) -> None:
    one, stale = await people(home, address)
    await Spoilt(home, one, stale).spoil()
    before = await state(home)
    connection = await store.live_side(home.settings.dsn)

    async with halted(home) as (process, workers):
        assert workers
        assert await store.left_over(home.superuser)
        assert not await store.clear_away(connection), "a rebuild that is under way was cleared away"
        assert await facts_beside(home)
        process.kill()
    connection.terminate()

    await until(lambda: gone(workers))
    await until(lambda: nothing_beside(home))
    assert not await store.left_over(home.superuser)
    assert await state(home) == before
    assert (await rebuilt(home, swap=True)).swapped
    assert (await rebuilt(home)).found == []
    assert not await facts_beside(home)


async def test_what_is_to_go_waits_until_the_view_is_made(home: Installation, address: Address) -> None:
    """The new view holds what was read before; else it would bring that back."""
    an = address()
    consent = given(email(an), birth_date="1990-05-04")
    await home.recorded(await home.publish(consent))
    await folded(home)
    connection = await connect(home.settings.dsn, "consent_eraser")
    eraser = Eraser(home.settings, home.keks, home.clock)

    async with halted(home) as (process, _):
        erasure = erased(email(an), time=datetime.now(UTC))
        await home.recorded(await home.publish(erasure))
        await folded(home)
        await eraser.erase_waiting(connection)
        # Had it announced what goes, that would be an entry now, and the second round would destroy.
        await home.recorded_to_the_end()
        await eraser.erase_waiting(connection)
        kept = await personal_parts(home, consent)
        with pytest.raises(RebuildUnderWayError):
            await run(home)
        assert process.stdin is not None
        process.stdin.close()
        status = await process.wait()
    await connection.close()
    await home.carried_out(erasure)

    assert (kept, await personal_parts(home, consent)) == (1, 0)
    assert status == 0
    assert (await rebuilt(home)).found == []
    assert await reason(home, an) == "ERASED"


async def test_after_an_erasure_nothing_is_left_of_the_person_beside_the_live_view(
    home: Installation, address: Address
) -> None:
    an = address()
    await home.recorded(await home.publish(given(email(an), birth_date="1990-05-04")))
    await folded(home)

    async with halted(home) as (process, _):
        assert await facts_beside(home)
        erasure = erased(email(an), time=datetime.now(UTC))
        await home.recorded(await home.publish(erasure))
        process.kill()
    await home.carried_out(erasure)

    await until(lambda: nothing_beside(home))


async def personal_parts(home: Installation, said: dict[str, Any]) -> int:
    """How many personal parts are kept of an event."""
    query = "SELECT count(*) FROM payload JOIN event USING (shard, pos) WHERE event_id = $1::text::uuid"
    return int((await home.fetch(query, said["id"]))[0][0])


async def facts_beside(home: Installation) -> int:
    """How many rows the tables of a rebuild hold, all but the one that says how far it is."""
    tables = await home.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'consent_rebuild' AND tablename <> 'view_head'"
    )
    counts = [await home.fetch(f"SELECT count(*) FROM consent_rebuild.{row[0]}") for row in tables]  # noqa: S608
    assert len(counts) > 5
    return sum(int(rows[0][0]) for rows in counts)


async def nothing_beside(home: Installation) -> bool:
    return not await facts_beside(home)


async def program(home: Installation, *arguments: str) -> tuple[int | None, bytes]:
    """Run Python on an installation; gives exit status and output."""
    process = await started(home, *arguments)
    said, _ = await process.communicate()
    return process.returncode, said


async def started(home: Installation, *arguments: str, stdin: int | None = None) -> Process:
    """Start Python on an installation."""
    variables = {
        **os.environ,
        "CONSENT_DATABASE_URL": home.settings.dsn,
        "CONSENT_KAFKA_BOOTSTRAP_SERVERS": home.settings.kafka_bootstrap_servers or "",
        "CONSENT_TOPIC_PREFIX": home.settings.topic_prefix,
        "CONSENT_PARTITIONS": "2",
        "CONSENT_KEY_FILE": str(home.settings.key_file),
    }
    return await asyncio.create_subprocess_exec(sys.executable, *arguments, env=variables, stdin=stdin, stdout=PIPE)


async def gone(pids: list[int]) -> bool:
    return not any(psutil.pid_exists(pid) for pid in pids)


async def test_when_a_process_fails_so_does_the_whole_and_nothing_is_changed(
    home: Installation, address: Address
) -> None:
    one, stale = await people(home, address)
    await Spoilt(home, one, stale).spoil()
    before = await state(home)
    await home.fetch("REVOKE INSERT ON consent_rebuild.arrival FROM consent_viewer")
    try:
        with pytest.raises(WorkerError):
            await rebuilt(home, swap=True)
    finally:
        await home.fetch("GRANT INSERT ON consent_rebuild.arrival TO consent_viewer")

    assert await state(home) == before
    assert (await rebuilt(home, swap=True)).swapped


async def test_a_statement_about_whole_tables_may_take_longer_than_one_of_a_service(
    home: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_SILENCE_SECONDS", 0.1)
    connections = [
        await store.beside(home.settings.dsn, whole_tables=True),
        await store.live_side(home.settings.dsn),
        await servers.connect(home.settings.dsn, "consent_viewer"),
    ]
    try:
        for one in connections[:2]:
            await one.execute("SELECT pg_sleep(0.5)")
        with pytest.raises(TimeoutError):
            await connections[2].execute("SELECT pg_sleep(0.5)")
    finally:
        for one in connections:
            one.terminate()


async def test_only_one_is_made_at_a_time(home: Installation) -> None:
    await home.fetch("SELECT pg_advisory_lock(hashtext('consent.rebuild'))")
    try:
        with pytest.raises(BusyError, match="another rebuild"):
            await rebuilt(home)
    finally:
        await home.fetch("SELECT pg_advisory_unlock(hashtext('consent.rebuild'))")


async def test_the_tables_beside_have_the_columns_of_those_of_the_view(home: Installation) -> None:
    columns = """
        SELECT table_name, column_name, data_type, column_default, is_nullable FROM information_schema.columns
         WHERE table_schema = $1 AND table_name IN ('view_head', 'ident', 'dossier', 'waiting', 'view', 'outbox')
         ORDER BY table_name, ordinal_position
    """

    assert await home.fetch(columns, "consent_rebuild") == await home.fetch(columns, "consent")


async def command(home: Installation, *arguments: str) -> tuple[int | None, Any]:
    status, said = await program(home, "-m", "consent_ledger.cli.main", *arguments, "--json")
    return status, json.loads(said)


async def evidence(home: Installation, number: int) -> list[dict[str, Any]]:
    """What is recorded of rebuilds, once there are so many."""
    rows = await until(lambda: runs(home, number))
    return [json.loads(row["body"])[1] for row in rows]


async def runs(home: Installation, number: int) -> list[Any]:
    rows = await home.fetch("SELECT body FROM ledger WHERE type = 'rebuild-run' ORDER BY recorded_at")
    return rows if len(rows) >= number else []


async def test_a_drill_changes_nothing_and_is_evidence_that_the_doctor_tells(
    home: Installation, address: Address
) -> None:
    one, stale = await people(home, address)
    await Spoilt(home, one, stale).spoil()
    before = await state(home)

    status, drill = await command(home, "rebuild", "--drill", "--processes", "1")
    (recorded,) = await evidence(home, 1)
    await folded(home)
    assert await state(home) == before
    assert (status, drill["swapped"]) == (1, False)
    assert recorded["drill"]
    assert recorded["differences"] == drill["differences"] >= 12
    assert recorded["digest"] == f"sha256:{drill['digest']}"
    _, doctor = await command(home, "doctor")
    assert any("not what the ledger says" in problem for problem in doctor["problems"])

    status, swapped = await command(home, "rebuild", "--accept-differences", "--processes", "1")
    recorded = (await evidence(home, 2))[1]
    assert (status, swapped["swapped"], recorded["written"]) == (0, True, 6)
    _, doctor = await command(home, "doctor")
    assert not any("not what the ledger says" in problem for problem in doctor["problems"])
    assert doctor["rebuild"]["written"] == 6
