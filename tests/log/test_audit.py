"""An administrator's edit shows, whatever it is, and the verifier names the first entry that it concerns.

Every edit is made as the superuser, with triggers off, inside a transaction in which the verifier looks as well, and
which is then undone.

Seen to fail: the columns not looked at, only the stored hash; entries behind the heads overlooked. Personal parts not
counted; what an erasure took counted as gone; the type, controller, instant or person of an erasure not asked for; a
run of retention believed that is no entry. What an erasure took not compared with its evidence; evidence not asked for;
the digest of the evidence not compared.
"""

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from random import Random
from typing import Any

import asyncpg
import pytest

from consent_ledger.domain.leaf import NOTHING_PERSONAL
from consent_ledger.store import audit as stored
from consent_ledger.store.audit import Audited
from consent_ledger.verifier.audit import Report, audit
from consent_ledger.verifier.note import VerifierKey
from log.sealing import Log, logging
from log.tampering import EDITS, Found, carry_out, evidence, order
from store.drafts import NOON

SEEDS = range(2)
NEW_SHARD = (
    "INSERT INTO ledger SELECT 7, 0, gen_random_uuid(), type, occurred_at, recorded_at, k_offset, register_version,"
    " body, payload_commit, tags, leaf_hash FROM ledger LIMIT 1"
)
SEALED = ((0, 5), (1, 300), (2, 40)), ((2, 3), (1, 10)), ((1, 200), (2, 150))


@pytest.fixture(scope="module")
async def log(kafka: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Log]:
    """A log of 708 entries on three shards by three checkpoints, and nine that are not sealed.

    Of these four are erasures: of the person whom all entries are about, of somebody else, at another controller, and
    one that happened before all entries. The last entry is the evidence of what the first of them took.
    """
    async with logging(kafka, postgres, template, tmp_path_factory.mktemp("audit")) as made:
        for parts in SEALED:
            for shard, number in parts:
                await made.append(number, shard=shard)
            await made.seal(seal_seconds=0.01)
        await made.append(4, shard=1, body=b"[1,{}]", tags=b"", commitment=hashlib.sha256().digest())
        orders: list[tuple[bytes, dict[str, Any]]] = [
            (b"an", {}),
            (b"bert", {}),
            (b"an", {"body": b'[1,{"controllers":["shop-nl"]}]'}),
            (b"an", {"occurred_at": NOON - timedelta(days=1)}),
        ]
        for one, fields in orders:
            subjects = (("shop-be", 0, "subject", "email", False, hashlib.sha256(one).digest()),)
            await made.append(1, shard=1, type="erasure-executed", subjects=subjects, **fields)
        plain: dict[str, Any] = {"subjects": (), "payloads": (), "tags": b"", "commitment": NOTHING_PERSONAL}
        body = evidence(await order(made.made.superuser))
        await made.append(1, shard=1, type="erasure-carried-out", body=body, **plain)
        yield made


async def checked(log: Log) -> Report:
    """Audit within the superuser's own transaction, against what is published."""
    key = VerifierKey.parse((await log.key()).public)
    return await audit(Audited(log.made.superuser), key, log.published())


async def test_what_nobody_touched_is_as_it_was_sealed(log: Log) -> None:
    report = await checked(log)

    assert report.finding is None
    assert (report.size, report.unsealed) == (708, 9)
    assert report.root == (await log.last()).root


async def test_an_auditor_reads_in_a_role_that_can_change_nothing(log: Log) -> None:
    async with stored.reading(log.settings.dsn) as source:
        report = await audit(source, VerifierKey.parse((await log.key()).public), log.published())
        with pytest.raises(asyncpg.PostgresError, match=r"read-only transaction|permission denied"):
            await source._connection.execute("DELETE FROM ledger")

    assert report.finding is None


async def test_what_an_erasure_destroyed_is_no_finding(log: Log) -> None:
    superuser = log.made.superuser
    undo = superuser.transaction()
    await undo.start()
    try:
        await carry_out(superuser)
        report = await checked(log)
    finally:
        await undo.rollback()

    assert report.finding is None


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", EDITS)
async def test_every_edit_is_found_and_named(log: Log, name: str, seed: int) -> None:
    superuser = log.made.superuser
    undo = superuser.transaction()
    await undo.start()
    try:
        await superuser.execute("SET LOCAL session_replication_role = replica")
        await superuser.execute("ALTER TABLE shard_head DROP CONSTRAINT shard_head_check")
        expected = await EDITS[name](superuser, Random(f"{name}{seed}"))
        report = await checked(log)
    finally:
        await undo.rollback()

    assert report.finding is not None, "nobody would see it"
    assert report.finding.what in ((expected.what,) if isinstance(expected.what, str) else expected.what), (
        report.finding
    )
    if expected.shard is not None:
        assert (report.finding.shard, report.finding.position) == (expected.shard, expected.position), report.finding


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ("DELETE FROM ledger WHERE shard = 1 AND pos = 511", Found("removed", 1, 511)),
        ("UPDATE ledger SET k_offset = 1 WHERE shard = 1 AND pos = 512", Found("altered", 1, 512)),
        ("UPDATE shard_head SET next_pos = 3 WHERE shard = 0", Found("truncated", 0, 3)),
        ("UPDATE ledger SET shard = 7 WHERE shard = 1 AND pos = 513", Found("removed", 1, 513)),
        (NEW_SHARD, Found("added", 7, 0)),
    ],
    ids=["gap", "unsealed", "head", "moved", "new shard"],
)  # fmt: skip
async def test_what_is_not_sealed_yet_is_looked_at_too(log: Log, edit: str, expected: Found) -> None:
    superuser = log.made.superuser
    undo = superuser.transaction()
    await undo.start()
    try:
        await superuser.execute("SET LOCAL session_replication_role = replica")
        await superuser.execute("ALTER TABLE shard_head DROP CONSTRAINT shard_head_check")
        await superuser.execute(edit)
        report = await checked(log)
    finally:
        await undo.rollback()

    assert report.finding is not None
    assert report.finding[:1] + report.finding[2:4] == expected


async def test_a_log_that_somebody_else_has_signed_is_not_taken_for_ours(log: Log) -> None:
    key = VerifierKey.parse(type(await log.key())("log.example/consent", bytes(32)).public)

    report = await audit(Audited(log.made.superuser), key)

    assert report.finding is not None
    assert report.finding.what == "checkpoint"
    assert "nobody who is trusted" in report.finding.detail
