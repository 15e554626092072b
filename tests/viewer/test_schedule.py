"""Registers that are loaded ahead: not in force before their instant, and in force from it on, by the recorders' clock.

Seen to fail: a load ahead taken into force at once; the append that does not look at the schedule; the schedule kept by
appends alone; the barrier and the horizon that do not look at it; a load merged when it is recorded instead of when it
comes into force; the newest load winning over a later instant.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import builders
from builders import email, given
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import overview
from consent_ledger.store.decisions import BehindError, behind_barrier
from running import Installation, Place, installation, serving, until
from viewer.asking import REGISTER, reason

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
THEN = NOW + timedelta(days=1)
LATER = NOW + timedelta(days=2)
A_MOMENT = timedelta(microseconds=1)

Made = Callable[[], Any]


@pytest.fixture
def made(kafka: str, postgres: str, template: str, tmp_path: Path) -> Made:
    """Make an installation whose clock stands at `NOW`, with recorder, viewer and a register in force."""

    @asynccontextmanager
    async def make() -> AsyncIterator[Installation]:
        async with installation(kafka, postgres, template, tmp_path) as home:
            home.clock.instant = NOW
            async with home.at_work(REGISTER):
                yield home

    return make


def changed(name: str, **terms: Any) -> dict[str, Any]:
    """A load that changes one purpose of the first shop and names nothing else."""
    (before,) = [one for one in REGISTER["purposes"] if (one["controller"], one["id"]) == ("shop-be", name)]
    return {"purposes": [{**deepcopy(before), **terms}]}


async def load(home: Installation, document: dict[str, Any], valid_from: datetime | None) -> Place:
    fields = {"valid_from": valid_from} if valid_from else {}
    place = await home.publish(builders.register_loaded(document, **fields), shard=0)
    await home.recorded(place)
    return place


async def stamped(home: Installation, said: Any) -> int:
    """Publish an event and return the version of the register that its entry carries."""
    place = await home.publish(said)
    await home.recorded(place)
    rows = await home.fetch("SELECT register_version FROM ledger WHERE shard = $1 AND k_offset = $2", *place)
    return int(rows[0]["register_version"])


async def versions(home: Installation) -> int:
    return int((await home.fetch("SELECT count(*) AS n FROM register"))[0]["n"])


async def in_force(home: Installation) -> dict[str, dict[str, Any]]:
    """The purposes of the first shop in the register in force, by name."""
    rows = await home.fetch("SELECT document::text FROM register ORDER BY version DESC LIMIT 1")
    purposes = json.loads(rows[0]["document"])["purposes"]
    return {one["id"]: one for one in purposes if one["controller"] == "shop-be"}


async def test_a_register_loaded_ahead_is_an_entry_at_once_and_in_force_from_its_instant_on(made: Made) -> None:
    async with made() as home:
        an = "an@example.be"
        await home.recorded(await home.publish(given(email(an))))
        place = await load(home, changed("newsletter", min_text_version=2), THEN)
        of_the_load = await home.fetch(
            "SELECT register_version FROM ledger WHERE shard = 0 AND k_offset = $1", place[1]
        )

        home.clock.instant = THEN - A_MOMENT
        before = await stamped(home, given(email("early@example.be"))), await reason(home, an)
        home.clock.instant = THEN
        after = await stamped(home, given(email("late@example.be"))), await reason(home, an)

        assert [row["register_version"] for row in of_the_load] == [1]
        assert before == (1, "CONSENT")
        assert after[0] == 2
        await until(lambda: _is(home, an, "CONSENT_OUTDATED"))
        assert await reason(home, "late@example.be") == "CONSENT_OUTDATED"
        connection = await connect(home.settings.dsn, "consent_operator")
        at = [await overview.register_version_at(connection, one) for one in (NOW - A_MOMENT, THEN - A_MOMENT, THEN)]
        await connection.close()
        assert at == [0, 1, 2]


async def _is(home: Installation, address: str, wanted: str) -> bool:
    return await reason(home, address) == wanted


async def test_its_instant_needs_no_event(made: Made) -> None:
    async with made() as home:
        an = "an@example.be"
        await load(home, changed("newsletter", min_text_version=2), THEN)
        # When this is recorded, the recorder has long read the register again for the load.
        await home.recorded(await home.publish(given(email(an))))

        home.clock.instant = THEN

        await until(lambda: _is(home, an, "CONSENT_OUTDATED"))
        assert await home.fetch("SELECT FROM view WHERE type = '!purposes' AND register_version = 2") != []


async def test_nothing_is_decided_under_a_register_whose_time_is_over(
    kafka: str, postgres: str, template: str, tmp_path: Path
) -> None:
    async with (
        installation(kafka, postgres, template, tmp_path) as home,
        serving(home.viewer().run()),
    ):
        home.clock.instant = NOW
        async with serving(home.recorder().run()):
            await home.recorded(await home.load_register(REGISTER))
            await load(home, changed("newsletter", min_text_version=2), THEN)
            await reason(home, "an@example.be")
        # From here on nobody brings it into force.
        home.clock.instant = THEN
        connection = await connect(home.settings.dsn, "consent_api")

        with pytest.raises(BehindError):
            async with behind_barrier(connection, timedelta(milliseconds=50), home.clock):
                pass
        home.clock.instant = THEN - A_MOMENT
        async with behind_barrier(connection, timedelta(seconds=5), home.clock) as snapshot:
            assert snapshot.register_version == 1

        await connection.close()


async def test_a_horizon_behind_the_instant_says_that_its_register_is_in_use(
    kafka: str, postgres: str, template: str, tmp_path: Path
) -> None:
    async with (
        installation(kafka, postgres, template, tmp_path) as home,
        serving(home.viewer().run()),
    ):
        home.clock.instant = NOW
        async with serving(home.recorder().run()):
            await home.recorded(await home.load_register(REGISTER))
            await load(home, changed("newsletter", min_text_version=2), THEN)
            await home.recorded_to_the_end()
        home.clock.instant = THEN

        with pytest.raises(TimeoutError):
            await until(lambda: _has_passed(home, THEN), timeout=1)
        async with serving(home.recorder().run()):
            await until(lambda: _has_passed(home, THEN))

        assert await home.fetch("SELECT FROM view_head WHERE register_version = 2") != []


async def _has_passed(home: Installation, instant: datetime) -> bool:
    return await home.fetch("SELECT FROM horizon WHERE instant >= $1", instant) != []


async def test_loads_ahead_follow_one_another_by_their_instants_and_change_what_is_then_in_force(made: Made) -> None:
    async with made() as home:
        await load(home, changed("newsletter", min_text_version=3), LATER)
        await load(home, changed("newsletter", min_text_version=2), THEN)
        await load(home, changed("club", min_text_version=7), None)
        assert (await versions(home), (await in_force(home))["newsletter"].get("min_text_version")) == (2, None)

        home.clock.instant = THEN
        await until(lambda: _versions_are(home, 3))
        first = await in_force(home)
        home.clock.instant = LATER
        await until(lambda: _versions_are(home, 4))
        second = await in_force(home)

        assert [one["newsletter"]["min_text_version"] for one in (first, second)] == [2, 3]
        assert [one["club"]["min_text_version"] for one in (first, second)] == [7, 7]


async def _versions_are(home: Installation, number: int) -> bool:
    return await versions(home) == number


async def test_of_two_loads_for_one_instant_the_later_takes_the_place_of_the_earlier(made: Made) -> None:
    async with made() as home:
        await load(home, changed("newsletter", min_text_version=3), THEN)
        await load(home, changed("newsletter", min_text_version=2), THEN)

        home.clock.instant = THEN
        stamp = await stamped(home, given(email("an@example.be")))

        assert stamp == 3
        assert (await in_force(home))["newsletter"]["min_text_version"] == 2


async def test_a_load_dated_back_counts_from_its_recording(made: Made) -> None:
    async with made() as home:
        await load(home, changed("newsletter", min_text_version=2), NOW - timedelta(days=300))

        connection = await connect(home.settings.dsn, "consent_operator")
        at = [await overview.register_version_at(connection, one) for one in (NOW - timedelta(days=1), NOW)]
        await connection.close()

        assert await stamped(home, given(email("an@example.be"))) == 2
        assert at == [0, 2]


async def test_a_load_that_would_spoil_one_that_is_scheduled_is_refused(made: Made) -> None:
    async with made() as home:
        fresh = {**REGISTER["purposes"][0], "controller": "shop-be", "id": "catalogue"}
        await load(home, {"purposes": [{**fresh, "basis": "consent"}]}, THEN)

        await load(home, {"purposes": [{**fresh, "basis": "contract"}]}, None)

        rows = await home.fetch("SELECT reason, detail FROM quarantine WHERE shard = 0")
        assert [row["reason"] for row in rows] == ["BAD_REGISTER"]
        assert "with the load scheduled for 2027-03-02" in rows[0]["detail"]
        assert await versions(home) == 1


async def test_a_schedule_cannot_be_changed_by_anybody(made: Made) -> None:
    async with made() as home:
        await load(home, changed("newsletter", min_text_version=2), THEN)

        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await home.fetch("DELETE FROM scheduled_register")
