"""Who may make numbers listed, and that nobody may free one.

Seen to fail: forgetting of active snapshots allowed; delete granted to the operator; insert granted on whole rows.
"""

import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from consent_ledger.runtime.postgres import connect
from consent_ledger.store import dnc
from dnc.line import Line, ago, number


async def test_a_snapshot_that_counts_is_never_forgotten(line: Line) -> None:
    await line.imported(number(), at=ago(days=1))
    await line.reason(number())
    (snapshot,) = await line.home.fetch("SELECT id FROM dnc_snapshot WHERE register = $1", line.register)
    operator = await connect(line.home.settings.dsn, "consent_operator")

    forgotten = await operator.fetchval("SELECT forget_snapshot($1)", snapshot["id"])
    cleared = await dnc.forget_unfinished(operator, line.register)
    operator.terminate()

    assert (forgotten, cleared) == (False, 0)
    assert len(await line.home.fetch("SELECT FROM dnc_step WHERE register = $1", line.register)) == 1


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM dnc", "UPDATE dnc SET listed = false", "UPDATE dnc_step SET known_from = now()",
     "UPDATE dnc_snapshot SET recorded_at = now()", "DELETE FROM dnc_snapshot",
     "INSERT INTO dnc_snapshot SELECT gen_random_uuid(), 'x', 'x', now(), 0, '', 'active', NULL, now(), 0, 0, false"],
)  # fmt: skip
async def test_an_operator_makes_nothing_count_and_frees_nobody(line: Line, statement: str) -> None:
    operator = await connect(line.home.settings.dsn, "consent_operator")

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await operator.execute(statement)

    operator.terminate()


async def test_what_is_loaded_counts_for_nothing_without_its_entry(line: Line) -> None:
    id_, drawn_up = uuid.uuid4(), datetime.now(UTC) - timedelta(hours=1)
    operator = await connect(line.home.settings.dsn, "consent_operator")
    await dnc.add_snapshot(
        operator, id_, register=line.register, source="x", snapshot_at=drawn_up, numbers=1, digest="00"
    )
    await dnc.load(operator, id_, line.caller, [(await line.hash_of(number()), None)])
    await dnc.add_steps(operator, id_, line.register, line.caller, drawn_up, ())
    await dnc.finish_loading(operator, id_, numbers=1, digest="00")
    loaded = await line.reason(number())

    other = line.snapshot(at=ago(hours=1), digest="11", count=1, id=str(id_))
    del other["data"]["numbers"]
    await line.api.recorded(other)
    refused = await line.reason(number())
    snapshot = await dnc.snapshot(operator, id_)
    operator.terminate()

    assert loaded == refused == "DNC_STALE"
    assert snapshot is not None
    assert (snapshot.state, snapshot.problem) == ("refused", "the entry speaks of another list than was loaded")
