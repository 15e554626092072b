"""Who may make numbers listed, and that nobody may free one.

Seen to fail:
- steps that count without their entry;
- a list taken that was compared with another than counts now, or whose entry speaks of another;
- forgetting of a snapshot that counts allowed;
- delete granted to the operator, or insert on whole rows.
"""

import uuid
from datetime import datetime

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


async def load(line: Line, value: str) -> uuid.UUID:
    """Lay down a list of one number beside whatever counts, as if nothing did."""
    id_, drawn_up = uuid.uuid4(), datetime.fromisoformat(ago(hours=1))
    operator = await connect(line.home.settings.dsn, "consent_operator")
    await dnc.add_snapshot(
        operator, id_, register=line.register, source="x", snapshot_at=drawn_up, numbers=1, digest="00"
    )
    await dnc.load(operator, id_, line.caller, [(await line.hash_of(value), None)])
    await dnc.add_steps(operator, id_, line.register, line.caller, drawn_up, ())
    await dnc.finish_loading(operator, id_, numbers=1, digest="00")
    operator.terminate()
    return id_


async def activate(line: Line, id_: uuid.UUID, digest: str) -> None:
    said = line.snapshot(at=ago(hours=1), digest=digest, count=1, id=str(id_))
    del said["data"]["numbers"]
    await line.api.recorded(said)


async def problem(line: Line, id_: uuid.UUID) -> str | None:
    (row,) = await line.home.fetch("SELECT problem FROM dnc_snapshot WHERE id = $1", id_)
    return str(row["problem"]) if row["problem"] else None


async def test_a_list_counts_from_the_entry_that_names_it(line: Line) -> None:
    listed = number()
    id_ = await load(line, listed)
    loaded = await line.reason(listed)

    await activate(line, id_, "00")

    assert (loaded, await line.reason(listed)) == ("DNC_STALE", "DNC_LISTED")


async def test_an_entry_that_speaks_of_another_list_makes_nothing_count(line: Line) -> None:
    listed = number()
    id_ = await load(line, listed)

    await activate(line, id_, "11")

    assert await line.reason(listed) == "DNC_STALE"
    assert await problem(line, id_) == "the entry speaks of another list than was loaded"


async def test_a_list_that_was_compared_with_another_than_counts_now_does_not_count(line: Line) -> None:
    loaded, listed = number(), number()
    id_ = await load(line, loaded)
    await line.imported(listed, at=ago(hours=2))

    await activate(line, id_, "00")

    assert [await line.reason(one) for one in (loaded, listed)] == ["LEGITIMATE_INTEREST", "DNC_LISTED"]
    assert "another snapshot was activated" in (await problem(line, id_) or "")
