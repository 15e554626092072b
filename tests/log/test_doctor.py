"""The doctor sees how the log stands, outside the database as well, and its witnesses.

Seen to fail: a place that cannot be read passed over; what stands there not compared; the quorum not counted; an owner
whose lease has passed taken for one.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from consent_ledger.cli.checkup_log import LogState, look_at_log
from consent_ledger.runtime.logkey import WitnessKey
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import log as tables
from log.sealing import ORIGIN, Log, logging


@pytest.fixture
async def log(kafka: str, postgres: str, template: str, tmp_path: Path) -> AsyncIterator[Log]:
    async with logging(kafka, postgres, template, tmp_path) as made:
        await made.append(3)
        await made.seal()
        await made.append(2)
        yield made


async def looked(log: Log, **settings: object) -> LogState:
    connection = await connect(log.settings.dsn, "consent_operator")
    try:
        return await look_at_log(log.settings.model_copy(update=settings), connection)
    finally:
        await connection.close()


def about(found: LogState, word: str) -> list[str]:
    return [problem for problem in found.problems if word in problem]


async def test_size_and_what_waits_and_what_stands_outside_are_told(log: Log) -> None:
    found = await looked(log)

    assert (found.shown["origin"], found.shown["size"], found.shown["behind"]) == (ORIGIN, 3, 2)
    assert found.shown["outside"] == [{"place": "topic", "size": 3}, {"place": "place", "size": 3}]
    assert found.problems == ["no sealer owns the log, so nothing new comes into it"]


async def test_a_log_that_was_set_back_is_told_of(log: Log) -> None:
    await log.seal()
    await log.set_back()

    found = await looked(log)

    assert len(about(found, "5 entries is published, and the database has one of 3")) == 2
    assert len(about(found, "--after-restore")) == 2


async def test_a_place_that_cannot_be_read_is_told_of(log: Log) -> None:
    log.directory.rename(log.directory.with_name("away"))
    log.directory.write_bytes(b"no directory")

    assert about(await looked(log), "place cannot be read") == ["the log's place cannot be read: ObjectsError"]


async def test_a_place_that_is_behind_for_long_is_told_of(log: Log) -> None:
    (log.directory / "checkpoint").unlink()
    assert about(await looked(log), "of 3 entries") == []

    await log.made.fetch("SET session_replication_role = replica")
    await log.made.fetch("UPDATE checkpoint SET sealed_at = sealed_at - interval '2 minutes'")
    await log.made.fetch("UPDATE seal_head SET lease_until = 'infinity'")

    found = await looked(log)
    assert found.problems == ["2 entries wait for their checkpoint", "the log's place has 0 of 3 entries"]


async def test_witnesses_that_do_not_sign_are_told_of(log: Log) -> None:
    well, away, unasked = (WitnessKey(f"w.example/{name}", name.encode() * 8) for name in ("well", "away", "none"))
    await tables.heard(log.made.superuser, well.name, 3, None)
    await tables.heard(log.made.superuser, away.name, None, "it does not answer: ConnectError")
    witnesses = {key.public: "http://127.0.0.1:1" for key in (well, away, unasked)}

    enough, few = (
        await looked(log, witnesses=witnesses, witness_quorum=1),
        await looked(log, witnesses=witnesses, witness_quorum=2),
    )

    assert [(one["name"], one["size"], one["problem"]) for one in enough.shown["witnesses"]] == [
        ("w.example/well", 3, None),
        ("w.example/away", 0, "it does not answer: ConnectError"),
        ("w.example/none", 0, "it was never asked"),
    ]
    assert len(enough.warnings) == 2
    assert about(enough, "witnesses sign") == []
    assert about(few, "witnesses sign") == ["1 witnesses sign and 2 must: no new checkpoint is shown"]
