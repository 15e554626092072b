"""The log over HTTP: anyone reads and checks it with programs by others, and an auditor gets proofs of single entries.

The foreign programs are those of `log.foreign`.

Seen to fail: entries, or proofs, open to anyone; bundles and tiles beyond the tree; places larger than the database's
numbers, or of no entry, not answered as absent.
"""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from api.served import Api, bearer, served
from consent_ledger.domain.merkle import TILE_WIDTH
from consent_ledger.store import log as tables
from consent_ledger.store.proofs import proof
from consent_ledger.verifier.note import VerifierKey, open_checkpoint
from consent_ledger.verifier.proof import Proven, check_proof
from consent_ledger.verifier.remote import check_url, unbundle
from consent_ledger.verifier.tree import ProofError, hash_leaf
from log.foreign import built, fsck, program
from log.sealing import Log, logging


@pytest.fixture(scope="module")
async def log(kafka: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Log]:
    """A log of 603 entries by two checkpoints."""
    async with logging(kafka, postgres, template, tmp_path_factory.mktemp("http")) as made:
        await made.append(3, shard=0)
        await made.append(300)
        await made.seal()
        made.directory.joinpath("checkpoint").rename(made.directory / "old")
        await made.append(300, shard=2)
        await made.seal()
        yield made


@pytest.fixture(scope="module")
async def api(log: Log) -> AsyncIterator[Api]:
    async with served(log.made) as api:
        yield api


@pytest.fixture(scope="module")
async def url(api: Api) -> str:
    return str(api.client.base_url)


@pytest.fixture(scope="module")
async def key(log: Log) -> VerifierKey:
    return VerifierKey.parse((await log.key()).public)


async def public(url: str, path: str) -> httpx.Response:
    """Ask as a stranger."""
    async with httpx.AsyncClient(base_url=url) as client:
        return await client.get(path)


async def test_anyone_reads_the_newest_checkpoint(log: Log, url: str, key: VerifierKey) -> None:
    answer = await public(url, "/checkpoint")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=1"
    assert open_checkpoint(answer.content, key).root == (await log.last()).root


async def test_tiles_and_bundles_are_of_the_same_entries(log: Log, url: str) -> None:
    leaves = await log.leaves()
    full, partial = await public(url, "/tile/0/001"), await public(url, "/tile/0/002.p/91")
    entries = list(unbundle((await public(url, "/tile/entries/001")).content))

    assert full.content == b"".join(leaves[TILE_WIDTH : 2 * TILE_WIDTH])
    assert partial.content == b"".join(leaves[2 * TILE_WIDTH :])
    assert [hash_leaf(one) for one in entries] == leaves[TILE_WIDTH : 2 * TILE_WIDTH]
    assert full.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    "path", ["0/002", "0/002.p/92", "0/003", "1/000.p/3", "2/000.p/1", "entries/002", "entries/003.p/1", "x", "0/1"]
)
async def test_what_the_tree_does_not_have_is_not_there(url: str, path: str) -> None:
    answer = await public(url, f"/tile/{path}")

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:consent-ledger:problem:not-found"


async def test_an_entry_is_shown_and_proved_to_an_auditor_alone(log: Log, api: Api, key: VerifierKey) -> None:
    auditor, publisher = await api.key("audit"), await api.key("publish")
    for path in ("/v1/entries/2/299", "/v1/entries/2/299/proof"):
        assert (await public(str(api.client.base_url), path)).status_code == 401
        assert (await api.client.get(path, headers=bearer(publisher))).status_code == 403

    shown = (await api.client.get("/v1/entries/2/299", headers=bearer(auditor))).json()
    proof = await api.client.get("/v1/entries/2/299/proof", headers=bearer(auditor))
    proven = check_proof(proof.content, key)

    assert (shown["index"], shown["leaf_hash"]) == (602, (await log.leaves())[602].hex())
    assert proven.leaf_index == 602
    assert proven.entry.describe()["event_id"] == shown["event_id"]
    assert proven.body == [1, {"controllers": ["shop-be"], "number": 299}]
    assert len(proof.content) < 4096


@pytest.mark.parametrize("place", ["1/300", "9/0", "1/x", f"1/{2**70}", f"{2**40}/1", "1/-1"])
async def test_what_is_no_entry_is_not_there(api: Api, place: str) -> None:
    auditor = await api.key("audit")

    for more in ("", "/proof"):
        answer = await api.client.get(f"/v1/entries/{place}{more}", headers=bearer(auditor))
        assert answer.status_code == 404


async def test_every_entry_can_be_proved(log: Log, key: VerifierKey) -> None:
    proofs = await proofs_of(log, key, range(0, 603, 67))

    assert [one.leaf_index for one in proofs] == list(range(0, 603, 67))


async def proofs_of(log: Log, key: VerifierKey, indices: range) -> list[Proven]:
    found = []
    for at in indices:
        (entry,) = await tables.entries_of(log.made.superuser, at, at + 1)
        made = await proof(log.made.superuser, entry.shard, entry.position)
        assert made is not None
        found.append(check_proof(made, key))
    return found


@pytest.mark.parametrize("part", ["index 60", "content", "body", "hash", "signature"])
async def test_no_part_of_a_proof_can_be_changed(api: Api, key: VerifierKey, part: str) -> None:
    auditor = await api.key("audit")
    proof = (await api.client.get("/v1/entries/2/298/proof", headers=bearer(auditor))).text
    lines = proof.split("\n")
    extra = base64.b64decode(lines[1].removeprefix("extra ")).decode()
    other_extra = {
        "content": extra.replace('"content": "AQ', '"content": "AQAAAA'),
        "body": extra.replace("IjoyOTh9", "IjoyOTd9").replace("Mjk4", "Mjk3"),
    }

    if part in other_extra:
        assert other_extra[part] != extra
        lines[1] = f"extra {base64.b64encode(other_extra[part].encode()).decode()}"
    else:
        at = {"index 60": 2, "hash": 5, "signature": len(lines) - 2}[part]
        lines[at] = (
            lines[at][:-5] + ("A" if lines[at][-5] != "A" else "B") + lines[at][-4:]
            if part != "index 60"
            else "index 602"
        )

    with pytest.raises(ProofError):
        check_proof("\n".join(lines).encode(), key)


async def test_the_whole_published_log_is_checked_by_its_url(log: Log, url: str, key: VerifierKey) -> None:
    old = open_checkpoint((log.directory / "old").read_bytes(), key)

    checked = await asyncio.to_thread(check_url, url, key, [old])

    assert (checked.entries, checked.finding) == (603, None)


async def test_a_published_log_that_is_no_continuation_is_found(url: str, log: Log, key: VerifierKey) -> None:
    old = open_checkpoint((log.directory / "old").read_bytes(), key)

    other = await asyncio.to_thread(check_url, url, key, [old._replace(root=bytes(32))])
    longer = await asyncio.to_thread(check_url, url, key, [old._replace(size=604)])

    assert other.finding is not None
    assert other.finding.what == "checkpoint"
    assert longer.finding is not None
    assert longer.finding.what == "truncated"


@pytest.fixture(scope="module")
def cache(request: pytest.FixtureRequest) -> Path:
    return request.config.cache.mkdir("foreign")


async def test_go_accepts_every_inclusion_and_the_consistency_with_an_older_checkpoint(
    cache: Path, log: Log, url: str
) -> None:
    logcheck = await built(cache, "logcheck")

    status, said = await program(logcheck, url, (await log.key()).public, str(log.directory / "old"))

    assert (status, said) == (0, "included: 603\nconsistent: 303 603\n")


async def test_tessera_finds_the_log_whole_and_an_edit_in_it(
    cache: Path, log: Log, url: str, key: VerifierKey, tmp_path: Path
) -> None:
    public = (await log.key()).public
    whole = await fsck(cache, url, public, tmp_path)
    await log.made.fetch("SET session_replication_role = replica")
    await log.made.fetch("UPDATE ledger SET k_offset = k_offset + 1 WHERE shard = 1 AND pos = 299")
    edited = await fsck(cache, url, public, tmp_path)
    ours = await asyncio.to_thread(check_url, url, key)
    await log.made.fetch("UPDATE ledger SET k_offset = k_offset - 1 WHERE shard = 1 AND pos = 299")
    await log.made.fetch("SET session_replication_role = origin")

    assert "Successfully fsck'd log with size 603" in whole, whole
    assert "fsck failed" in edited, edited
    assert ours.finding is not None
    assert (ours.finding.what, ours.finding.shard, ours.finding.position) == ("altered", 1, 299)
