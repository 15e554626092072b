"""Doctor finds what is wrong: sums, owners, age, keys.

Seen to fail: the sums of the heads compared with themselves; a lease that has passed taken for an owner; the key file
only looked for and not tried; what was resolved counted as open; entries that wait for ever not told of, or those that
have just begun told of too.
"""

from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from consent_ledger.cli.checkup import Checkup, check_up
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import keys

HEALTHY_HEAD = """
INSERT INTO consent.shard_head (shard, topic, partition, start_offset, next_offset, duplicates, holes, lease_until)
VALUES (1, 'consent.events', 0, 10, 13, 1, 2, clock_timestamp() + interval '1 minute');
INSERT INTO consent.duplicate VALUES (1, 10, gen_random_uuid());
INSERT INTO consent.hole VALUES (1, 11, 13);
"""


@pytest.fixture
async def settings(database: str, tmp_path: Path) -> Settings:
    KeyFile.create(tmp_path / "keys.json")
    return Settings(database_url=SecretStr(database), partitions=1, key_file=tmp_path / "keys.json")


async def execute(settings: Settings, *scripts: str) -> None:
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(settings.dsn)
    for script in scripts:
        await connection.execute(script)
    await connection.close()


def about(checkup: Checkup, word: str) -> list[str]:
    return [problem for problem in checkup.problems if word in problem]


async def test_a_shard_of_which_every_offset_is_there_is_in_order(settings: Settings) -> None:
    await execute(settings, HEALTHY_HEAD)

    checkup = await check_up(settings)

    assert about(checkup, "shard 1:") == []
    assert checkup.total == {"entries": 0, "duplicates": 1, "rejected": 0, "holes": 2, "offsets": 3}


@pytest.mark.parametrize(
    "miscount",
    ["UPDATE consent.shard_head SET next_pos = 1, next_offset = 14",
     "UPDATE consent.shard_head SET rejected = 1, next_offset = 14",
     "UPDATE consent.shard_head SET holes = 3, next_offset = 14",
     "UPDATE consent.shard_head SET duplicates = 2, next_offset = 14",
     "UPDATE consent.shard_head SET duplicates = 2, holes = 1"],
)  # fmt: skip
async def test_what_a_head_counts_and_no_table_holds_is_found(settings: Settings, miscount: str) -> None:
    await execute(settings, HEALTHY_HEAD, miscount)

    checkup = await check_up(settings)

    assert about(checkup, "do not add up") == ["shard 1: its offsets do not add up to what is in the ledger"]


WAITING = """
INSERT INTO consent.ledger
SELECT 1, n, ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'event-voided', now(), now() - n * interval '20 hours',
       n, 0, '', sha256(''), '', sha256('') FROM generate_series(1, 3) AS n;
INSERT INTO consent.waiting SELECT gen_random_uuid(), shard, pos FROM consent.ledger;
"""


async def test_what_has_waited_for_more_than_a_day_for_an_event_is_told(settings: Settings) -> None:
    await execute(settings, HEALTHY_HEAD)
    before = await check_up(settings)
    await execute(settings, WAITING)

    checkup = await check_up(settings)

    assert not [one for one in before.warnings if "nobody has published" in one]
    (told,) = [one for one in checkup.warnings if "nobody has published" in one]
    assert told.startswith("2 entries refer to an event that nobody has published, the oldest for 2 days; ")
    assert "--event 00000000-0000-0000-0000-000000000003`" in told


async def test_what_nobody_owns_is_found(settings: Settings) -> None:
    await execute(settings, HEALTHY_HEAD, "UPDATE consent.shard_head SET lease_until = clock_timestamp()")

    checkup = await check_up(settings)

    assert len(about(checkup, "shard 1: no recorder owns it")) == 1
    assert len(about(checkup, "shards [0] have never been owned")) == 1
    assert len(about(checkup, "no viewer owns the view")) == 1
    assert len(about(checkup, "no relay owns partitions [0]")) == 1


@pytest.mark.parametrize(
    ("since", "said"),
    [
        ("UPDATE consent.horizon SET instant = clock_timestamp() - interval '61 seconds'", ["is 61 s behind Kafka"]),
        ("UPDATE consent.horizon SET instant = clock_timestamp() - interval '1 second'", []),
        ("SELECT", ["has never been level with Kafka"]),
    ],
)
async def test_a_view_that_is_behind_is_found(settings: Settings, since: str, said: list[str]) -> None:
    await execute(settings, since)

    checkup = await check_up(settings)

    assert about(checkup, "every answer is no") == [f"the view {words}: every answer is no" for words in said]


QUARANTINE = """
INSERT INTO consent.quarantine (shard, k_offset, reason, detail, recorded_at, record)
VALUES (1, 1, 'BAD_FIELD', '', clock_timestamp() - interval '9 days', ''),
       (1, 2, 'BAD_FIELD', '', clock_timestamp() - interval '5 hours 7 minutes', ''),
       (1, 3, 'BAD_FIELD', '', clock_timestamp(), ''),
       (1, 4, 'NOT_JSON', '', clock_timestamp() - interval '100 days', '');
INSERT INTO consent.quarantine_resolution (shard, k_offset, outcome, event_id, said)
VALUES (1, 1, 'corrected', gen_random_uuid(), ''), (1, 1, 'voided', gen_random_uuid(), ''),
       (1, 4, 'voided', gen_random_uuid(), '');
"""


async def test_what_is_open_in_quarantine_is_told_with_the_age_of_the_oldest(settings: Settings) -> None:
    await execute(settings, QUARANTINE)

    checkup = await check_up(settings)

    told = [warning for warning in checkup.warnings if warning.startswith("quarantine")]
    assert told == [
        "quarantine: 2 of BAD_FIELD are open, the oldest for 5 h 7 min; `consent quarantine list --open` shows them"
    ]
    assert [(one["reason"], one["records"], one["unresolved"]) for one in checkup.quarantine] == [
        ("BAD_FIELD", 3, 2),
        ("NOT_JSON", 1, 0),
    ]


async def test_another_installations_key_file_is_found(settings: Settings, tmp_path: Path) -> None:
    connection = await connect(settings.dsn, "consent_operator")
    await keys.service_keys(connection, KeyFile(settings.key_file))
    await connection.close()
    KeyFile.create(tmp_path / "other.json")

    same = await check_up(settings)
    other = await check_up(settings.model_copy(update={"key_file": tmp_path / "other.json"}))
    missing = await check_up(settings.model_copy(update={"key_file": tmp_path / "missing.json"}))

    assert about(same, "keys:") == []
    assert "lacks" in about(other, "keys:")[0]
    assert "no key file" in about(missing, "keys:")[0]


async def test_a_database_without_a_ledger_is_said(postgres: str, tmp_path: Path) -> None:
    settings = Settings(database_url=SecretStr(postgres), key_file=tmp_path / "keys.json")

    checkup = await check_up(settings)

    assert len(about(checkup, "consent migrate")) == 1
