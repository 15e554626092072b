"""What the tables say of a number equals what all snapshots together say, at any instant and as of any recording.

Seen to fail:
- steps known before they were recorded;
- the step onward from a late snapshot counted from the next one alone;
- of snapshots of one date by several sources, the clock of one taken for that of the listing.
"""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consent_ledger.domain.calls import CallHistory
from consent_ledger.domain.durations import NEVER, instant
from consent_ledger.domain.scenario import Snapshot, Snapshots
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.store import dnc

START = datetime(2026, 1, 1, tzinfo=UTC)
NUMBERS = (b"an", b"bert")


def day(number: float) -> datetime:
    return START + timedelta(days=number)


registered = st.none() | st.integers(0, 9).map(day)
snapshots = st.lists(
    st.tuples(
        st.integers(0, 6), st.dictionaries(st.sampled_from(NUMBERS), registered), st.sampled_from(["feed", "desk"])
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=snapshots)
async def test_the_tables_say_what_all_snapshots_say(
    database: str, said: list[tuple[int, dict[bytes, datetime | None], str]]
) -> None:
    register = uuid.uuid4().hex
    connection = await connect(database, "consent_viewer")
    try:
        for order, (drawn_up, numbers, source) in enumerate(said):
            await take(connection, register, day(drawn_up), day(10 + order), numbers, source)
        steps = (await dnc.steps(connection, [register]))[register, register]
        changes = await dnc.changes(connection, [token(register, one) for one in NUMBERS])
    finally:
        connection.terminate()

    known = CallHistory(steps, changes)
    whole = Snapshots(as_told(register, order, *one) for order, one in enumerate(said))
    for as_of in (*(instant(day(10 + order)) for order in range(-1, len(said))), NEVER):
        for at in (*(instant(day(at / 2)) for at in range(-1, 14)), NEVER):
            for one in NUMBERS:
                asked = (token(register, one), at, as_of)
                assert known.look_up(*asked) == whole.look_up(*asked)


async def take(
    connection: Connection,
    register: str,
    drawn_up: datetime,
    recorded: datetime,
    numbers: dict[bytes, Any],
    source: str,
) -> None:
    """Load a snapshot and make it count, as the viewer does."""
    id_ = uuid.uuid4()
    known = (await dnc.steps(connection, [register])).get((register, register), ())
    await dnc.add_snapshot(
        connection, id_, register=register, source=source, snapshot_at=drawn_up, numbers=len(numbers), digest=""
    )
    await dnc.load(connection, id_, register, ((token(register, one), date) for one, date in numbers.items()))
    await dnc.add_steps(connection, id_, register, register, drawn_up, known)
    await dnc.finish_loading(connection, id_, numbers=len(numbers), digest="")
    await dnc.activate(connection, id_, snapshot_at=drawn_up, recorded_at=recorded, place=(1, 0))


def as_told(register: str, order: int, drawn_up: int, numbers: dict[bytes, datetime | None], source: str) -> Snapshot:
    listed = {token(register, one): None if date is None else instant(date) for one, date in numbers.items()}
    return Snapshot(instant(day(drawn_up)), instant(day(10 + order)), source, listed)


def token(register: str, one: bytes) -> bytes:
    return register.encode() + one
