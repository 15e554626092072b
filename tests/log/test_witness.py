"""Witnesses sign what continues what they signed before, and nothing else; what is shown carries their signatures.

Seen to fail: the consistency proof not looked at; the old size not compared; another root for the same size signed;
signed what could not be kept; no lock between comparing and keeping; a witness that is away stopping the sealing; the
quorum not counted by the sealer, or not by HTTP; proofs without the cosignatures; a signature taken over unread.
"""

import asyncio
import base64
import hashlib
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

import httpx
import pytest
import uvicorn
from prometheus_client import REGISTRY
from typer.testing import CliRunner

from api.served import served
from consent_ledger.cli.main import app
from consent_ledger.domain import merkle
from consent_ledger.domain.merkle import Edge
from consent_ledger.runtime.local.ports import free_port
from consent_ledger.runtime.logkey import LogKey, WitnessKey
from consent_ledger.runtime.objects import Objects, ObjectsError
from consent_ledger.sealer import mirror
from consent_ledger.sealer.witnesses import Witnesses
from consent_ledger.store import log as tables
from consent_ledger.store.proofs import proof
from consent_ledger.verifier.note import VerifierKey, open_checkpoint, open_note
from consent_ledger.verifier.proof import check_proof
from consent_ledger.verifier.tree import ProofError
from consent_ledger.witness.server import application
from consent_ledger.witness.witness import Answer, Witness
from log.sealing import ORIGIN, Log, logging
from running import serving, until

LOG = LogKey("a.example/log", bytes(32))
KEY = WitnessKey("w.example/one", bytes(31) + b"1")
LEAVES = [bytes([number]) * 32 for number in range(40)]
NOW = 1_790_000_000


def root(size: int) -> bytes:
    edge = Edge()
    edge.append(b"".join(LEAVES[:size]))
    return edge.root()


def consistency(old: int, size: int) -> list[bytes]:
    if old in (0, size):
        return []
    return [merkle.range_root(one, {(0, 0): b"".join(LEAVES[:size])}) for one in merkle.consistency(old, size)]


def asked(old: int, size: int, *, proof: list[bytes] | None = None, note: bytes | None = None) -> bytes:
    hashes = consistency(old, size) if proof is None else proof
    lines = [f"old {old}", *(base64.b64encode(one).decode() for one in hashes), "", ""]
    return "\n".join(lines).encode() + (note or LOG.sign(size, root(size)))


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    made = Witness(KEY, [VerifierKey.parse(LOG.public)], tmp_path / "state")
    yield made
    made.close()


def signed(answer: Answer, note: bytes) -> bool:
    assert answer.status == 200, answer
    text, signers = open_note(note + answer.content, [VerifierKey.parse(KEY.public)])
    return note.startswith(text) and signers == (KEY.name,)


def test_a_log_that_goes_on_is_signed_again_and_again(witness: Witness) -> None:
    for old, size in ((0, 7), (7, 7), (7, 8), (8, 33), (33, 40)):
        answer = witness.add_checkpoint(asked(old, size), NOW)
        assert signed(answer, LOG.sign(size, root(size))), (old, size)


@pytest.mark.parametrize("old", [0, 6, 8])
def test_who_does_not_know_what_was_signed_last_is_told(witness: Witness, old: int) -> None:
    witness.add_checkpoint(asked(0, 7), NOW)

    assert witness.add_checkpoint(asked(old, 8), NOW) == Answer(409, b"7\n", "text/x.tlog.size")


def test_a_log_never_becomes_smaller(witness: Witness) -> None:
    witness.add_checkpoint(asked(0, 8), NOW)

    assert witness.add_checkpoint(asked(8, 7, proof=[]), NOW).status == 400
    assert witness.add_checkpoint(asked(7, 7), NOW).status == 409


def test_one_size_has_one_root(witness: Witness) -> None:
    witness.add_checkpoint(asked(0, 8), NOW)

    assert witness.add_checkpoint(asked(8, 8, note=LOG.sign(8, bytes(32))), NOW).status == 409


@pytest.mark.parametrize(
    ("proof", "note"),
    [
        ([], None),
        ([bytes(32)], None),
        (consistency(8, 33)[:-1], None),
        ([*consistency(8, 33), bytes(32)], None),
        (None, LOG.sign(33, bytes(32))),
    ],
)
def test_what_does_not_continue_is_not_signed(witness: Witness, proof: list[bytes] | None, note: bytes | None) -> None:
    witness.add_checkpoint(asked(0, 8), NOW)

    assert witness.add_checkpoint(asked(8, 33, proof=proof, note=note), NOW).status == 422
    assert signed(witness.add_checkpoint(asked(8, 33), NOW), LOG.sign(33, root(33)))


def test_a_first_checkpoint_needs_no_proof_and_takes_none(witness: Witness) -> None:
    assert witness.add_checkpoint(asked(0, 8, proof=[bytes(32)]), NOW).status == 422


def test_logs_that_nobody_named_are_unknown(witness: Witness) -> None:
    other = LogKey("b.example/log", bytes(32))

    assert witness.add_checkpoint(asked(0, 7, note=other.sign(7, root(7))), NOW).status == 404


def test_strangers_are_refused(witness: Witness) -> None:
    stranger = LogKey("a.example/log", bytes(31) + b"2")
    spoiled = LOG.sign(7, root(7)).replace(b"\n7\n", b"\n8\n")

    assert witness.add_checkpoint(asked(0, 7, note=stranger.sign(7, root(7))), NOW).status == 403
    assert witness.add_checkpoint(asked(0, 7, note=spoiled), NOW).status == 403


@pytest.mark.parametrize(
    "body",
    [b"", b"old 0\n", b"old 00\n\n" + LOG.sign(7, root(7)), b"old -1\n\n" + LOG.sign(7, root(7)),
     b"old 0\nAAAA\n\n" + LOG.sign(7, root(7)), b"old 0\n!\n\n" + LOG.sign(7, root(7)), b"old 0\n\nnothing",
     b"old 1\n" + (base64.b64encode(bytes(32)) + b"\n") * 64 + b"\n" + LOG.sign(7, root(7))],
)  # fmt: skip
def test_what_is_no_request_is_none(witness: Witness, body: bytes) -> None:
    assert witness.add_checkpoint(body, NOW).status == 400


def test_what_was_signed_is_remembered(witness: Witness, tmp_path: Path) -> None:
    witness.add_checkpoint(asked(0, 8), NOW)
    witness.close()
    again = Witness(KEY, [VerifierKey.parse(LOG.public)], tmp_path / "state")

    answer = again.add_checkpoint(asked(0, 7), NOW)
    again.close()

    assert answer == Answer(409, b"8\n", "text/x.tlog.size")


def test_what_cannot_be_kept_is_not_signed(witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise ObjectsError("no space left")

    witness.add_checkpoint(asked(0, 7), NOW)
    with monkeypatch.context() as patched:
        patched.setattr(Objects, "put", full)
        with pytest.raises(ObjectsError):
            witness.add_checkpoint(asked(7, 8), NOW)

    assert signed(witness.add_checkpoint(asked(7, 33), NOW), LOG.sign(33, root(33)))


@pytest.mark.usefixtures("witness")
def test_only_one_process_holds_what_was_signed(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError):
        Witness(KEY, [VerifierKey.parse(LOG.public)], tmp_path / "state")


def test_of_two_branches_asked_at_once_one_is_signed(witness: Witness) -> None:
    notes = [LOG.sign(1, bytes([branch]) * 32) for branch in range(1, 5)]

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda note: witness.add_checkpoint(asked(0, 1, note=note), NOW).status, notes))

    assert sorted(statuses) == [200, 409, 409, 409]


# -- with a sealer


@contextmanager
def running(directory: Path, name: str, log: str, port: int = 0) -> Iterator[tuple[str, str]]:
    """Run a witness over HTTP in a thread; gives its verifier key and URL."""
    key = WitnessKey(f"w.example/{name}", hashlib.sha256(name.encode()).digest())
    witness = Witness(key, [VerifierKey.parse(log)], directory / name)
    server = uvicorn.Server(uvicorn.Config(application(witness), log_level="warning"))
    with socket.create_server(("127.0.0.1", port)) as opened:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        try:
            yield key.public, f"http://127.0.0.1:{opened.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
            witness.close()


@pytest.fixture
async def log(kafka: str, postgres: str, template: str, tmp_path: Path) -> AsyncIterator[Log]:
    async with logging(kafka, postgres, template, tmp_path) as made:
        yield made


async def test_what_is_shown_carries_the_signatures_of_witnesses(log: Log, tmp_path: Path) -> None:
    key = await log.key()
    trusted = VerifierKey.parse(key.public)
    await log.append(300)
    with ExitStack() as stack:
        witnesses = dict(stack.enter_context(running(tmp_path, name, key.public)) for name in ("one", "two"))
        settings = {"witnesses": witnesses, "witness_quorum": 2}
        await log.seal(**settings)
        await log.append(10)
        sealed = await log.seal(**settings)
    keys = [VerifierKey.parse(one) for one in witnesses]
    made = log.made
    object.__setattr__(made, "settings", made.settings.model_copy(update=settings))
    async with served(made) as api:
        over_http = (await api.client.get("/checkpoint")).content
        entry = await proof(log.made.superuser, 1, 305, cosigned=True)
        await log.made.fetch("SET session_replication_role = replica")
        await log.made.fetch("DELETE FROM cosigned WHERE tree_size = 310")
        older = (await api.client.get("/checkpoint")).content

    for note in (*log.published(), over_http):
        assert open_checkpoint(note, trusted, keys, quorum=2).size == sealed.size == 310
    assert open_checkpoint(older, trusted, keys, quorum=2).size == 300
    assert entry is not None
    assert len(check_proof(entry, trusted, keys, quorum=2).checkpoint.signers) == 3
    assert [(one.name, one.size, one.problem) for one in await tables.witnesses(log.made.superuser)] == [
        ("w.example/one", 310, None), ("w.example/two", 310, None)
    ]  # fmt: skip
    with pytest.raises(ProofError, match="1 witnesses have signed"):
        check_proof(entry, trusted, keys[:1], quorum=2)


async def test_a_witness_that_is_away_stops_nothing_and_is_told_of(log: Log, tmp_path: Path) -> None:
    key = await log.key()
    away = {WitnessKey("w.example/away", bytes(32)).public: f"http://127.0.0.1:{free_port()}"}
    await log.append(2)
    with running(tmp_path, "one", key.public) as (public, url):
        sealed = await log.seal(witnesses={public: url, **away}, witness_quorum=1)

    (shown,) = log.published()
    assert (
        open_checkpoint(shown, VerifierKey.parse(key.public), [VerifierKey.parse(public)], quorum=1).size == sealed.size
    )
    problems = {one.name: one.problem for one in await tables.witnesses(log.made.superuser)}
    assert problems["w.example/one"] is None
    assert "does not answer" in (problems["w.example/away"] or "")


async def test_without_its_quorum_a_checkpoint_is_sealed_and_not_shown(log: Log, tmp_path: Path) -> None:
    key, port = await log.key(), free_port()
    public = WitnessKey("w.example/late", hashlib.sha256(b"late").digest()).public
    await log.append(2)

    async with serving(log.sealer(witnesses={public: f"http://127.0.0.1:{port}"}, witness_quorum=1).run()) as service:
        first = await until(lambda: asked_at(log), service=service)
        await until(lambda: asked_again(log, first), service=service)
        unshown = log.published()
        with running(tmp_path, "late", key.public, port):
            await until(log._all_sealed, service=service)

    assert unshown == []
    assert (await log.last()).size == 2


async def asked_at(log: Log) -> datetime | None:
    """When the only witness was asked last, in vain."""
    seen = await tables.witnesses(log.made.superuser)
    return seen[0].asked_at if seen and seen[0].problem else None


async def asked_again(log: Log, before: datetime | None) -> bool:
    """What was done with the first answer is done when it is asked the second time."""
    return await asked_at(log) != before


async def test_a_witness_that_saw_a_longer_log_is_told_of_and_cannot_stop_the_log(log: Log, tmp_path: Path) -> None:
    key = await log.key()
    await log.append(2)
    with running(tmp_path, "one", key.public) as (public, url):
        body = b"old 0\n\n" + key.sign(9, bytes(32))
        async with httpx.AsyncClient() as client:
            assert (await client.post(f"{url}/add-checkpoint", content=body)).status_code == 200
        sealed = await log.seal(witnesses={public: url})

    (seen,) = await tables.witnesses(log.made.superuser)
    assert sealed.size == 2
    assert "signed a tree of 9 entries, and there are 2" in (seen.problem or "")


async def test_a_signature_that_is_not_the_witness_s_own_is_not_taken(log: Log) -> None:
    async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        length = int(request.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        note = (await reader.readexactly(length)).partition(b"\n\n")[2]
        line = WitnessKey("w.example/one", bytes(32)).cosign(note, NOW)
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(line) + line)
        await writer.drain()
        writer.close()

    await log.append(1)
    server = await asyncio.start_server(impostor, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await log.seal(witnesses={WitnessKey("w.example/one", bytes(31) + b"1").public: url})

    (seen,) = await tables.witnesses(log.made.superuser)
    assert seen.problem == "what it answers is no signature of its key"
    assert ORIGIN.encode() in log.published()[0]
    assert b"w.example" not in log.published()[0]


@pytest.mark.parametrize(
    ("witnesses", "quorum", "match"),
    [
        ({LOG.public: "http://127.0.0.1:1"}, 0, "no witness's"),
        ({KEY.public: "http://one:many"}, 0, "no URL for w.example/one"),
        ({KEY.public: "w.example"}, 0, "no URL for w.example/one"),
        ({"nothing": "http://127.0.0.1:1"}, 0, "no verifier key"),
        ({KEY.public: "http://127.0.0.1:1"}, 2, "QUORUM is 2"),
    ],
)
def test_settings_that_cannot_be_meant_end_the_sealer_at_once(
    witnesses: dict[str, str], quorum: int, match: str
) -> None:
    with pytest.raises(ProofError, match=match):
        Witnesses(witnesses, quorum)


def test_alerts_are_about_metrics_that_exist() -> None:
    rules = (Path(__file__).parents[2] / "deploy/alerts/log.yml").read_text(encoding="utf-8")
    known = {sample.name for family in REGISTRY.collect() for sample in family.samples} | {
        family.name for family in REGISTRY.collect()
    }
    named = set(re.findall(r"consent_[a-z_]+", rules))

    assert mirror.OUTSIDE is not None
    assert named <= known
    assert len(named) == 5


def test_a_witness_is_run_elsewhere_and_keeps_its_key(tmp_path: Path) -> None:
    file, port = tmp_path / "key.json", free_port()
    command = [sys.executable, "-m", "consent_ledger.cli.main", "witness"]

    first = CliRunner().invoke(app, ["witness", "key", "--key-file", str(file), "--name", "one.example"])
    again = CliRunner().invoke(app, ["witness", "key", "--key-file", str(file), "--name", "two.example"])
    shown = CliRunner().invoke(app, ["witness", "key", "--key-file", str(file)])
    options = ["--key-file", str(file), "--state", str(tmp_path / "state"), "--log", LOG.public, "--port", str(port)]
    with subprocess.Popen([*command, "run", *options], stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            assert b"listening" in process.stderr.readline()
            answer = httpx.post(f"http://127.0.0.1:{port}/add-checkpoint", content=asked(0, 7), timeout=30)
            unknown = httpx.post(f"http://127.0.0.1:{port}/add-checkpoint", content=asked(0, 8), timeout=30)
        finally:
            process.send_signal(signal.SIGTERM)

    key = VerifierKey.parse(shown.stdout)
    assert (again.exit_code, shown.stdout) == (2, first.stdout)
    assert open_note(LOG.sign(7, root(7)) + answer.content, [key])[1] == ("one.example",)
    assert (unknown.status_code, unknown.content, unknown.headers["content-type"]) == (409, b"7\n", "text/x.tlog.size")
    assert file.stat().st_mode & 0o077 == 0
