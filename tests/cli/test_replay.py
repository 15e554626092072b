"""`consent replay`: the right entries, in one order, the same bytes each time, gone on with where it was cut off.

Seen to fail: a place kept before its entries were written; records on a topic without the header, or without a pace;
the installation's own topics taken as targets; references not followed; entries for all controllers left out.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import pyarrow.parquet as pq
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from cli import installed
from cli.installed import Answer
from cli.people import gave, somebody, withdrew
from consent_ledger.cli import sinks
from consent_ledger.domain.cloudevents import REPLAY_HEADER
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import replay as store
from log.sealing import ORIGIN, Log, logging

SHOP_NL = (("shop-nl", 0, "subject", "email", False, bytes(32)),)
CONSENT = uuid.UUID("0199c3a0-5b00-7000-8000-000000000001")


@pytest.fixture(scope="module")
async def log(kafka: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Log]:
    """Entries 0/0 to 0/4, 1/0 to 1/39 and 2/0 to 2/5; the first 30 are sealed."""
    async with logging(kafka, postgres, template, tmp_path_factory.mktemp("replay")) as made:
        await made.append(5, shard=0, type="identifier-verified")
        await made.append(25, shard=1)
        await made.seal()
        await made.append(15, shard=1, type="consent-withdrawn")
        await made.append(2, shard=2, subjects=SHOP_NL, body=b'[1,{"source":"web:shop-nl"}]')
        await made.append(1, shard=2, subjects=(), body=b'[1,{"controllers":["garage-be"]}]', event_id=CONSENT)
        reference = b'[1,{"consent_id":"%s"}]' % str(CONSENT).encode()
        await made.append(1, shard=2, subjects=(), body=reference, type="consent-confirmed")
        await made.append(2, shard=2, subjects=(), body=b'[1,{"controllers":"all"}]', type="objection-withdrawn")
        yield made


@pytest.fixture
def variables(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "DATABASE_URL": log.settings.dsn,
        "KAFKA_BOOTSTRAP_SERVERS": log.settings.kafka_bootstrap_servers,
        "TOPIC_PREFIX": log.settings.topic_prefix,
        "PARTITIONS": "2",
        "LOG_ORIGIN": ORIGIN,
    }.items():
        monkeypatch.setenv(f"CONSENT_{name}", str(value))


async def replay(*options: str, status: int = 0) -> Answer:
    answer = await asyncio.to_thread(installed.consent, "replay", *options)
    assert answer.status == status, answer.err
    return answer


def places(answer: Answer) -> list[str]:
    return [f"{one['shard']}/{one['position']}" for one in map(json.loads, answer.out.splitlines())]


def span(shard: int, first: int, end: int) -> list[str]:
    return [f"{shard}/{position}" for position in range(first, end)]


EVERYTHING = [*span(0, 0, 5), *span(1, 0, 40), *span(2, 0, 6)]


@pytest.mark.usefixtures("variables")
async def test_everything_comes_in_one_order_without_anything_personal(log: Log) -> None:
    answer = await replay()

    assert places(answer) == EVERYTHING
    first = json.loads(answer.out.splitlines()[5])
    (row,) = await log.made.fetch("SELECT * FROM ledger WHERE shard = 1 AND pos = 0")
    assert first == {
        "shard": 1, "position": 0, "event_id": str(row["event_id"]), "type": "consent-given",
        "occurred_at": "2026-03-01T12:00:00Z", "recorded_at": first["recorded_at"], "offset": 0, "register_version": 0,
        "body": [1, {"controllers": ["shop-be"], "number": 0}], "commitment": row["payload_commit"].hex(),
        "tags": [row["tags"].hex()], "leaf_hash": row["leaf_hash"].hex(),
    }  # fmt: skip
    assert datetime.fromisoformat(first["recorded_at"]) == row["recorded_at"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--type", "consent-withdrawn"), span(1, 25, 40)),
        (("--controller", "shop-nl"), [*span(2, 0, 2), *span(2, 4, 6)]),
        (("--controller", "garage-be"), span(2, 2, 6)),
        (("--controller", "garage-be", "--controller", "shop-nl"), span(2, 0, 6)),
        (("--register", "1"), []),
        (("--register", "0", "--positions", "1/7-9", "--positions", "1/3", "--positions", "1/8-11"),
         [*span(1, 3, 4), *span(1, 7, 12)]),
        (("--from", "1/38"), [*span(1, 38, 40), *span(2, 0, 6)]),
        (("--heads", "1,2"), [*span(0, 0, 1), *span(1, 0, 2)]),
        (("--heads", "1,2", "--positions", "1/0-9"), span(1, 0, 2)),
        (("--size", "30"), [*span(0, 0, 5), *span(1, 0, 25)]),
        (("--happened-since", "2026-03-01T12:00:00.000001Z"), []),
        (("--happened-since", "2026-03-01T13:00:00+01:00", "--happened-until", "2026-03-01T12:00:01Z"), EVERYTHING),
        (("--until", "2026-03-01T12:00:00Z"), []),
        (("--since", "2026-03-01T12:00:00Z"), EVERYTHING),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
@pytest.mark.usefixtures("variables", "log")
async def test_only_what_was_asked_for(options: Sequence[str], expected: list[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(store, "_PAGE", 7)

    assert places(await replay(*options)) == expected


@pytest.mark.usefixtures("variables")
async def test_a_span_of_recording_is_exact(log: Log) -> None:
    rows = await log.made.fetch("SELECT DISTINCT recorded_at FROM ledger WHERE shard = 1 ORDER BY 1")
    middle = rows[1]["recorded_at"].isoformat()

    assert places(await replay("--since", middle, "--positions", "1/0-99")) == span(1, 25, 40)
    assert places(await replay("--until", middle, "--positions", "1/0-99")) == span(1, 0, 25)


@pytest.mark.usefixtures("variables")
async def test_two_replays_are_the_same_to_the_byte_also_when_the_ledger_has_grown(log: Log, tmp_path: Path) -> None:
    heads = ("--heads", "5,40,6")
    await replay(*heads, "-o", str(tmp_path / "one.jsonl"))
    await replay(*heads, "--to", "parquet", "-o", str(tmp_path / "one"))
    await log.append(3, shard=3)

    await replay(*heads, "-o", str(tmp_path / "two.jsonl"))
    await replay(*heads, "--to", "parquet", "-o", str(tmp_path / "two"))

    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    (one, two) = ((tmp_path / name / "part-000000.parquet").read_bytes() for name in ("one", "two"))
    assert one == two
    lines = [json.loads(line) for line in (tmp_path / "one.jsonl").read_bytes().splitlines()]
    rows = pq.read_table(tmp_path / "one" / "part-000000.parquet").to_pylist()
    assert [(row["shard"], row["position"], row["event_id"], json.loads(row["body"])) for row in rows] == [
        (line["shard"], line["position"], line["event_id"], line["body"]) for line in lines
    ]
    assert [row["recorded_at"] for row in rows] == [datetime.fromisoformat(line["recorded_at"]) for line in lines]
    assert rows[0]["leaf_hash"].hex() == lines[0]["leaf_hash"]


class CutOffError(Exception):
    """The machine went down."""


@pytest.mark.parametrize("to", ["jsonl", "parquet"])
@pytest.mark.usefixtures("variables", "log")
async def test_one_that_was_cut_off_goes_on_as_if_it_had_not_been(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_PAGE", 7)
    monkeypatch.setattr(sinks, "_PART_ENTRIES", 10)
    sink: Any = {"jsonl": sinks.JsonLines, "parquet": sinks.Parquet}[to]
    write, seen = sink.write, []

    async def cut_off(self: Any, page: sinks.Page) -> None:
        seen.append(page)
        await write(self, page)
        if len(seen) == 4:
            raise CutOffError("cut off")

    options = ("--to", to, "--heads", "5,40,6")
    await replay(*options, "-o", str(tmp_path / "whole"))
    again = (*options, "-o", str(tmp_path / "parts"), "--place", str(tmp_path / "place"))
    monkeypatch.setattr(sink, "write", cut_off)
    with pytest.raises(AssertionError, match="cut off"):
        await replay(*again)
    monkeypatch.setattr(sink, "write", write)
    other = await replay(*again[:-1], str(tmp_path / "place"), "--type", "consent-given", status=2)

    await replay(*again)
    done = await replay(*again)

    assert "another replay" in other.err
    assert "already" in done.err
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert len(seen) == 4


def contents(path: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in path.iterdir()} if path.is_dir() else {"": path.read_bytes()}


@pytest.mark.usefixtures("variables")
async def test_on_a_topic_each_record_says_that_it_is_no_news_and_comes_at_its_pace(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = f"elsewhere_{uuid.uuid4().hex}"
    missing = await replay("--to", "kafka", "--topic", topic, status=2)
    assert "no topic" in missing.err
    admin = AIOKafkaAdminClient(**log.settings.kafka())
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    paused: list[float] = []

    async def note(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr(sinks, "_pause", note)
    monkeypatch.setattr(sinks, "_now", lambda: 100.0)
    for own in ("events", "control", "suppressions"):
        refused = await replay("--to", "kafka", "--topic", f"{log.settings.topic_prefix}{own}", status=2)
        assert "counts as news" in refused.err
    await replay("--to", "kafka", "--topic", topic, "--rate", "50", "--heads", "0,21")

    lines = (await replay("--heads", "0,21")).out.encode().splitlines()
    async with AIOKafkaConsumer(topic, **log.settings.kafka(), auto_offset_reset="earliest") as consumer:
        records = [await consumer.getone() for _ in lines]
    assert [record.value for record in records] == lines
    assert [record.key for record in records] == [place.encode() for place in span(1, 0, 21)]
    assert {record.headers for record in records} == {((REPLAY_HEADER, b"1"), ("content-type", b"application/json"))}
    # Steps of five, a tenth of a second each; time itself stands still here.
    assert paused == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.usefixtures("variables", "log")
async def test_a_table_shows_what_people_look_for() -> None:
    answer = await replay("--to", "table", "--positions", "2/3")

    assert "2/3" in answer.out
    assert "consent-confirmed" in answer.out


@pytest.mark.parametrize(
    "statement", ["SELECT hash FROM entry_subject", "SELECT FROM payload", "SELECT FROM person_key", "SELECT FROM view"]
)
async def test_the_role_that_replays_sees_nobody(log: Log, statement: str) -> None:
    connection = await connect(log.settings.dsn, "consent_replayer")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch(statement)
    finally:
        connection.terminate()


@pytest.mark.parametrize(
    "options",
    [
        ("--person", "--controller", "shop-be"),
        ("--person", "--reason", "a request"),
        ("--person", "--reason", "a request", "--controller", "a", "--controller", "b"),
        ("--to", "kafka"),
        ("--to", "parquet"),
        ("--since", "2026-03-01T12:00:00"),
        ("--from", "1"),
        ("--size", "29"),
        ("--heads", "1", "--size", "30"),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("variables", "log")
async def test_what_is_missing_is_said(options: Sequence[str]) -> None:
    await replay(*options, status=2)


def test_a_person_comes_in_clear_once_the_look_is_recorded(up: installed.Up, tmp_path: Path) -> None:
    anna, bert = somebody(), somebody()
    said = "\n".join([gave(anna), withdrew(anna), gave(bert)])
    assert installed.consent("publish", "-", "--outcomes", str(tmp_path / "o"), data=up.data, said_in=said).status == 0
    options = ("--person", "--file", "-", "--controller", "dekra-be", "--reason", "a request of 2 March")

    whole = installed.consent("replay", *options, data=up.data, said_in=anna)
    only = installed.consent("replay", *options, "--type", "consent-withdrawn", data=up.data, said_in=anna)

    assert (whole.status, only.status) == (0, 0), whole.err
    entries = [json.loads(line) for line in whole.out.splitlines()]
    assert [one["type"] for one in entries] == ["consent-given", "consent-withdrawn"]
    assert {one["identifiers"][0]["value"] for one in entries} == {anna}
    assert bert not in whole.out
    looked = [json.loads(line) for line in only.out.splitlines()]
    assert [one["type"] for one in looked] == ["consent-withdrawn"]
    third = installed.consent("replay", *options, "--type", "subject-viewed", data=up.data, said_in=anna)
    looks = [json.loads(line)["said"] for line in third.out.splitlines()]
    assert [look["reason"] for look in looks] == ["a request of 2 March"] * 2
