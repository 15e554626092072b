"""A log that lost entries it had published is not continued, but begun anew under a name that tells of the old one.

Seen to fail: the old log continued; a new one begun where nothing was lost; the old rows thrown away, or the new tables
without the rights of the old; the new log shown in the place of the old one; size or root of the old log's end not
compared with what was published of it, or not when the ledger is verified.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.installed import Answer, consent
from consent_ledger.sealer.app import LogBehindError
from consent_ledger.store import log as tables
from consent_ledger.store.proofs import proof
from consent_ledger.verifier.note import VerifierKey, open_checkpoint
from consent_ledger.verifier.origin import check_link, ended_before
from consent_ledger.verifier.proof import check_proof
from consent_ledger.verifier.tree import ProofError
from log.foreign import fsck
from log.sealing import ORIGIN, Log, logging

REASON = "restored from the backup of 1 March"


@pytest.fixture
async def log(
    kafka: str, postgres: str, template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Log]:
    async with logging(kafka, postgres, template, tmp_path) as made:
        for name in (
            "topic_prefix",
            "kafka_bootstrap_servers",
            "key_file",
            "log_origin",
            "log_directory",
            "partitions",
        ):
            monkeypatch.setenv(f"CONSENT_{name.upper()}", str(getattr(made.settings, name)))
        monkeypatch.setenv("CONSENT_DATABASE_URL", made.settings.dsn)
        yield made


async def command(*arguments: str) -> Answer:
    return await asyncio.to_thread(consent, *arguments)


@pytest.fixture
async def cut(log: Log) -> tuple[Log, bytes]:
    """A log of two entries that had published five, and the proof of its first entry."""
    await log.append(2)
    await log.seal()
    proved = await proof(log.made.superuser, 1, 0)
    await log.append(3)
    await log.seal()
    await log.set_back()
    assert proved is not None
    return log, proved


async def begun(log: Log) -> None:
    answer = await command("log", "new-origin", "--reason", REASON, "--json")
    assert answer.status == 0, answer.err
    log.folder = "2"


async def test_a_new_log_names_the_one_that_was_cut_off(
    cut: tuple[Log, bytes], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    log, proved = cut
    old_key = VerifierKey.parse((await log.key()).public)
    last_of_old = (log.directory / "checkpoint").read_bytes()
    with pytest.raises(LogBehindError, match="5 entries is published"):
        async with asyncio.timeout(20):
            await log.sealer().run()

    await begun(log)
    sealed = await log.seal()
    key = await log.key()
    trusted = VerifierKey.parse(key.public)
    shown = open_checkpoint(log.published()[0], trusted)
    said = await fsck(request.config.cache.mkdir("foreign"), f"file://{log.directory}/2", key.public, tmp_path)

    assert (shown.origin, shown.size) == (f"{ORIGIN}/2", 5)
    ended = ended_before(shown)
    assert ended is not None
    assert (ended.origin, ended.size, ended.reason) == (ORIGIN, 5, REASON)
    assert ended.root == open_checkpoint(last_of_old, old_key).root
    assert sealed.root == shown.root
    assert "Successfully fsck'd log with size 5" in said, said
    # What was published of the old log stays where it was, and what it proved is proved.
    assert (log.directory / "checkpoint").read_bytes() == last_of_old
    assert check_proof(proved, old_key).leaf_index == 0
    assert [row["tree_size"] for row in await log.made.fetch("SELECT tree_size FROM checkpoint_of_1")] == [2]
    check_link(shown, last_of_old, trusted)


async def test_verify_understands_the_link(cut: tuple[Log, bytes], tmp_path: Path) -> None:
    log, _ = cut
    old = log.directory / "checkpoint"
    await begun(log)
    await log.seal()
    (event,) = await log.made.fetch("SELECT event_id FROM ledger WHERE pos = 4")

    whole = await command("verify", "--ledger", "--json")
    listed = await command("log", "origins", "--json")
    file = str(tmp_path / "one.tlog-proof")
    await command("prove", str(event["event_id"]), "-o", file)
    key = (await command("keys", "log-public", "--json")).data["verifier_key"]
    proven = await command("verify", file, "--key", key, "--checkpoint", str(old), "--json")

    assert (whole.status, whole.data["entries"]) == (0, 5)
    assert [one["origin"] for one in listed.data] == [ORIGIN, f"{ORIGIN}/2"]
    assert listed.data[1]["verifier_key"] == key
    assert (proven.data["continues"]["origin"], proven.data["continues"]["size"]) == (ORIGIN, 5)


async def test_a_log_that_names_less_of_the_old_one_than_was_published_is_found(cut: tuple[Log, bytes]) -> None:
    log, _ = cut
    old = await log.key()
    await begun(log)
    await log.seal()
    trusted = VerifierKey.parse((await log.key()).public)
    shown = open_checkpoint(log.published()[0], trusted)

    check_link(shown, old.sign(3, bytes(32)), trusted)
    with pytest.raises(ProofError, match="had published 6 entries, and is said to have ended at 5"):
        check_link(shown, old.sign(6, bytes(32)), trusted)
    with pytest.raises(ProofError, match="another root"):
        check_link(shown, old.sign(5, bytes(32)), trusted)
    (log.directory / "checkpoint").write_bytes(old.sign(6, bytes(32)))
    assert (await command("verify", "--ledger", "--json")).status == 1


async def test_nothing_is_begun_anew_where_nothing_was_lost(log: Log) -> None:
    await log.append(2)
    await log.seal()

    answer = await command("log", "new-origin", "--reason", REASON)

    assert answer.status == 1
    assert "needs no new origin" in answer.err
    assert await log.made.fetch("SELECT FROM log_origin") == []


async def test_the_doctor_says_so_and_is_content_afterwards(cut: tuple[Log, bytes]) -> None:
    log, _ = cut
    before = await command("doctor", "--after-restore", "--json")
    told = await command("doctor", "--after-restore")
    await begun(log)
    after = await command("doctor", "--after-restore", "--json")
    reconciled = await command("reconcile", "--after-restore", "--json")

    due = {step["name"]: (step["state"], step["command"]) for step in before.data["steps"]}
    assert (before.status, before.data["ok"]) == (1, False)
    assert due["log"] == ("do", "consent log new-origin --reason 'restored to …'")
    assert "new-origin" in told.out
    assert {step["name"]: step["state"] for step in after.data["steps"]}["log"] == "done"
    assert (reconciled.status, reconciled.data) == (0, {
        "highest": 0, "seq": 0, "agrees": True, "lifted": 0, "withheld": [], "unexpected": [], "erased": []
    })  # fmt: skip


async def test_the_new_tables_have_the_rights_and_triggers_of_the_old(cut: tuple[Log, bytes]) -> None:
    log, _ = cut
    rights = """
        SELECT c.relname, coalesce(c.relacl::text, '') AS acl,
               (SELECT count(*) FROM pg_trigger t WHERE tgrelid = c.oid) AS triggers
          FROM pg_class c WHERE relname = ANY($1) AND relnamespace = 'consent'::regnamespace ORDER BY 1"""
    names = ["checkpoint", "cosigned", "tile"]
    before = [(row["relname"], set(row["acl"].strip("{}").split(",")), row["triggers"])
              for row in await log.made.fetch(rights, names)]  # fmt: skip

    await begun(log)

    after = [(row["relname"], set(row["acl"].strip("{}").split(",")), row["triggers"])
             for row in await log.made.fetch(rights, names)]  # fmt: skip
    assert after == before
    assert await tables.last(log.made.superuser) is None
