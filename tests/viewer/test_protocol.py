"""The viewer's part of the protocol: barrier, epoch, register loads in one instant, the horizon.

Seen to fail:
- the barrier removed (`caught_up` always true): the decision is answered while the fold is held;
- `open_head` without its check of the epoch: the stopped viewer writes after another has taken over;
- `put_needs` left out: the old yes counts under the new register;
- `_sweep` left out of the fold: old rows never come under the new register;
- the horizon taken without waiting for the recorders: it passes an event that nobody has recorded;
- the horizon taken without waiting for the view: it passes an event that nobody has folded.
"""

import asyncio
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from builders import email, given, withdrawn
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import view
from consent_ledger.store.decisions import BehindError, behind_barrier
from running import Installation, installation, serving, until
from viewer.asking import REGISTER, answers, hashed, reason

Address = Callable[[], str]
LEASE = timedelta(seconds=1)


async def test_a_decision_waits_while_an_entry_is_being_folded(home: Installation, address: Address) -> None:
    an = address()
    await home.recorded(await home.publish(given(email(an))))
    assert await reason(home, an) == "CONSENT"
    holder = await asyncpg.connect(home.settings.dsn, server_settings={"search_path": "consent"})
    async with holder.transaction():
        await holder.execute("SELECT FROM view_head FOR UPDATE")
        await home.recorded(await home.publish(withdrawn(email(an), time="2026-03-02T09:00:00Z")))
        asked = asyncio.create_task(reason(home, an))

        finished, _ = await asyncio.wait({asked}, timeout=0.5)

        assert not finished
    await holder.close()

    assert await asked == "CONSENT_WITHDRAWN"


async def test_a_decision_that_has_waited_long_enough_is_no_decision(home: Installation, address: Address) -> None:
    an = address()
    connection = await connect(home.settings.dsn, "consent_api")
    holder = await asyncpg.connect(home.settings.dsn, server_settings={"search_path": "consent"})
    async with holder.transaction():
        await holder.execute("SELECT FROM view_head FOR UPDATE")
        await home.recorded(await home.publish(given(email(an))))

        with pytest.raises(BehindError):
            async with behind_barrier(connection, timedelta(milliseconds=50)):
                pass

    await holder.close()
    await connection.close()


async def test_a_viewer_that_was_overtaken_writes_nothing(database: str) -> None:
    first = await connect(database, "consent_viewer")
    second = await connect(database, "consent_viewer")
    old = await view.claim(first, "first", timedelta(0))
    assert old is not None
    new = await view.claim(second, "second", LEASE)
    again = await connect(database, "consent_viewer")

    with pytest.raises(view.FencedError):
        async with again.transaction():
            await view.open_head(again, old)

    assert new == old + 1
    first.terminate()
    await again.close()
    await second.close()


async def test_a_viewer_stopped_in_its_transaction_is_ended_by_its_successor(database: str) -> None:
    first = await connect(database, "consent_viewer")
    second = await connect(database, "consent_viewer")
    epoch = await view.claim(first, "first", timedelta(0))
    assert epoch is not None
    transaction = first.transaction()
    await transaction.start()
    await view.open_head(first, epoch)

    taken = await asyncio.wait_for(view.claim(second, "second", LEASE), timeout=5)

    assert taken == epoch + 1
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await first.execute("UPDATE view_head SET seq = seq + 1")
    first.terminate()
    await second.close()


async def test_a_viewer_that_stands_by_takes_over_after_the_lease(
    kafka: str, postgres: str, template: str, tmp_path: Path, address: Address
) -> None:
    an = address()
    async with installation(kafka, postgres, template, tmp_path, lease_seconds=1) as made:
        silent = await connect(made.settings.dsn, "consent_viewer")
        await view.claim(silent, "silent", LEASE)
        async with (
            made.at_work(REGISTER) as recorder,
        ):
            await made.recorded(await made.publish(given(email(an))), service=recorder)

            assert await reason(made, an) == "CONSENT"
        silent.terminate()


async def test_a_register_load_ends_old_yeses_at_once_and_then_decides_anew(
    kafka: str, postgres: str, template: str, tmp_path: Path, address: Address
) -> None:
    people = [address() for _ in range(5)]
    stricter = deepcopy(REGISTER)
    stricter["purposes"][0]["min_text_version"] = 2
    async with (
        installation(kafka, postgres, template, tmp_path, sweep_chunk=2) as made,
        made.at_work(REGISTER),
    ):
        await made.recorded(*[await made.publish(given(email(one))) for one in people])
        before = [await reason(made, one) for one in people]

        await made.recorded(await made.load_register(stricter))
        connection = await connect(made.settings.dsn, "consent_api")
        async with behind_barrier(connection, timedelta(seconds=5)) as snapshot:
            needs = await snapshot.needs(["shop-be"])
            rows = await snapshot.rows([await hashed(made, one) for one in people])
        await connection.close()

        async def swept() -> bool:
            return [await reason(made, one) for one in people] == ["CONSENT_OUTDATED"] * len(people)

        await until(swept)

        assert before == ["CONSENT"] * len(people)
        assert needs["shop-be", "newsletter"] == 2
        stale = [row for row in rows.values() if row.register_version == 1]
        assert all(row.register_version < needs["shop-be", "newsletter"] for row in stale)
        assert await made.fetch("SELECT FROM view WHERE type = '!purposes' AND register_version = 2") != []


async def horizon(home: Installation) -> datetime:
    rows = await home.fetch("SELECT instant FROM horizon")
    return datetime.fromisoformat(str(rows[0]["instant"]))


async def require_to_stand_still(home: Installation, since: datetime) -> None:
    """Look for a while, because nothing can signal that something does not happen."""

    async def beyond() -> bool:
        return await horizon(home) > since

    with pytest.raises(TimeoutError):
        await until(beyond, timeout=1.5)


async def test_the_horizon_waits_for_what_nobody_has_recorded(
    kafka: str, postgres: str, template: str, tmp_path: Path, address: Address
) -> None:
    async with (
        installation(kafka, postgres, template, tmp_path) as made,
        serving(made.viewer().run()),
    ):
        place = await made.publish(given(email(address())))
        published = datetime.now(UTC)

        async def beyond() -> bool:
            return await horizon(made) > published

        await require_to_stand_still(made, published)
        async with serving(made.recorder().run()) as recorder:
            await made.recorded(place, service=recorder)
            await until(beyond)


async def test_the_horizon_waits_for_what_nobody_has_folded(home: Installation, address: Address) -> None:
    holder = await asyncpg.connect(home.settings.dsn, server_settings={"search_path": "consent"})
    async with holder.transaction():
        await holder.execute("SELECT FROM view_head FOR UPDATE")
        await home.recorded(await home.publish(given(email(address()))))
        recorded = datetime.now(UTC)

        await require_to_stand_still(home, recorded)
    await holder.close()

    async def beyond() -> bool:
        return await horizon(home) > recorded

    await until(beyond)


async def test_the_same_entries_in_other_batches_give_the_same_view(
    kafka: str, postgres: str, template: str, tmp_path: Path, address: Address
) -> None:
    an, private = address(), address()
    said = [
        given(email(an)),
        given(email(private)),
        withdrawn(email(an), email(private), time="2026-03-02T09:00:00Z"),
        given(email(private), time="2026-03-03T09:00:00Z"),
    ]
    found = []
    for fold_max in (1, 1000):
        home = tmp_path / str(fold_max)
        home.mkdir()
        async with installation(kafka, postgres, template, home, fold_max=fold_max) as made:
            async with serving(made.recorder().run()) as recorder:
                await made.recorded(await made.load_register(REGISTER), service=recorder)
                await made.recorded(*await made.publish_together(*said), service=recorder)
            async with serving(made.viewer().run()):
                found.append([(await answers(made, one))["newsletter"]["email"].reason for one in (an, private)])

    assert found[0] == found[1] == ["CONSENT_WITHDRAWN", "CONSENT"]
