"""What a service says all day long is planned once, however few rows it is about.

Seen to fail: the planner left to choose.
"""

import pytest

from consent_ledger.runtime.postgres import Role, connect

SAID = "SELECT h.shard FROM unnest($1::int[]) AS s (shard) JOIN consent.shard_head h USING (shard)"
# From the sixth time on the planner compares what its plans cost.
OFTEN = 8


@pytest.mark.parametrize("role", ["consent_recorder", "consent_viewer", "consent_relay"])
async def test_a_statement_is_planned_once(database: str, role: Role) -> None:
    connection = await connect(database, role)
    try:
        for _ in range(OFTEN):
            await connection.fetch(SAID, [1])

        plans = await connection.fetchrow(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $1", SAID
        )
    finally:
        connection.terminate()

    assert plans is not None
    assert tuple(plans) == (OFTEN, 0)
