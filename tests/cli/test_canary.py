"""Canaries: what a person said is planted everywhere it can come to, and after the erasure no trace of it is left.

In the tables, in a dump and decrypted with every key there is, on the topics out, in the logs, in what is exported and
in a tool's copy. On the topic `events` it stays in clear until its time is over, a week later.
"""

import asyncio
import base64
import json
import subprocess
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from cryptography.exceptions import InvalidTag

from cli.installed import Up, consent
from cli.people import NEWSLETTER
from consent_ledger.client import SuppressionView
from consent_ledger.client.keys import load_keys
from consent_ledger.runtime.keys import KeyFile, decrypt
from consent_ledger.runtime.local.postgres import find_binaries
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import keys

CLEAR: Final = ("events",)
"""Topics on which what was published stands in clear, until its time is over."""
WHO = ("--controller", "dekra-be", "--source", "staff:dekra-be", "--as", "staff:els")


class Planted(NamedTuple):
    """What was planted, and what was seen of it before the erasure and after."""

    address: str
    canaries: tuple[str, ...]
    before: bytes
    after: bytes
    clear: bytes
    certificate: Path


def canary(kind: str) -> str:
    return f"canary-{kind}-{uuid.uuid4().hex}"


def lines(address: str, phone: str, texts: dict[str, str]) -> dict[str, str]:
    """Events by their ids, which have the canaries in every place an event has for what is personal."""
    subject = [{"type": "email", "value": address}, {"type": "phone", "value": phone}]
    number = {"type": "customer_no", "value": texts["number"]}
    new = {"type": "email", "value": f"{texts['moved']}@example.be"}
    request = str(uuid.uuid4())
    said: list[tuple[str, dict[str, Any]]] = [
        ("consent-given", {"subject": subject, "purposes": ["newsletter-email"], "channels": ["email"],
                           "origin": "data-subject", "mechanism": "unticked-checkbox", "entered_by": texts["name"],
                           "evidence": {"text_id": "t", "text_version": 1, "ref": texts["evidence"]},
                           "ip": texts["ip"], "device": texts["device"], "other": {"free": texts["extra"]}}),
        ("relationship-started", {"subject": subject, "sale_ref": texts["sale"]}),
        ("identifiers-linked", {"subject": [subject[0], number]}),
        ("identifier-changed", {"old": number, "new": new, "origin": "data-subject"}),
        ("objection-raised", {"subject": subject[1:], "kind": "situation", "reason": texts["reason"]}),
        ("restriction-placed", {"subject": subject[:1], "ground": texts["ground"]}),
        ("request-received", {"subject": subject, "request_id": request, "article": "15", "reason": texts["request"]}),
        ("request-answered", {"request_id": request, "article": "15", "reason": texts["answer"]}),
    ]  # fmt: skip
    now = datetime.now(UTC).isoformat()
    envelope = {"specversion": "1.0", "source": "staff:dekra-be", "time": now}
    return {
        (id_ := str(uuid.uuid4())): json.dumps(
            {**envelope, "id": id_, "type": type_, "data": {"controllers": ["dekra-be"], **data}}
        )
        for type_, data in said
    }


async def recorded(up: Up, ids: Iterable[str]) -> None:
    """Wait until the ledger has all of these events."""
    wanted = set(ids)
    connection = await connect(up.said["database"], "consent_officer")
    try:
        async with asyncio.timeout(30):
            query = "SELECT count(*) FROM event WHERE event_id = ANY($1::text[]::uuid[])"
            while await connection.fetchval(query, list(wanted)) < len(wanted):
                await asyncio.sleep(0.05)
    finally:
        await connection.close()


def spellings(secret: str) -> set[bytes]:
    raw = secret.encode()
    return {raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"=")[:-1]}


def traces(canaries: Iterable[str], where: bytes) -> list[str]:
    return [one for one in canaries if any(spelling in where for spelling in spellings(one))]


def dump(up: Up) -> bytes:
    """Every table, as text; byte strings stand there in hexadecimal."""
    command = [str(find_binaries() / "pg_dump"), "--data-only", up.said["database"]]
    return subprocess.run(command, capture_output=True, check=True).stdout


async def opened(up: Up) -> bytes:
    """Everything that any key there is still opens."""
    connection = await connect(up.said["database"], "consent_officer")
    keks = KeyFile(Path(up.said["key_file"]))
    plain = []
    try:
        rows = await connection.fetch(
            "SELECT person, controller, event_id, ciphertext FROM payload JOIN ledger USING (shard, pos)"
        )
        known = await keys.keys_of_persons(connection, keks, {row["person"] for row in rows})
        for row in rows:
            for key in [known[row["person"]]] if row["person"] in known else known.values():
                try:
                    plain.append(
                        decrypt(key, row["ciphertext"], keys.payload_context(row["event_id"], row["controller"]))
                    )
                except InvalidTag:
                    continue
    finally:
        await connection.close()
    return b"\n".join(plain)


async def read(up: Up, *, clear: bool) -> bytes:
    """All records of the topics out, or of those that hold what was published."""
    prefix = up.said["topic_prefix"]
    found = []
    admin = AIOKafkaAdminClient(bootstrap_servers=up.said["kafka"])
    await admin.start()
    topics = [one for one in await admin.list_topics() if one.startswith(prefix)]
    wanted = [one for one in topics if (one.removeprefix(prefix) in CLEAR) == clear]
    described = await admin.describe_topics(wanted)
    await admin.close()
    partitions = [TopicPartition(one["topic"], each["partition"]) for one in described for each in one["partitions"]]
    async with AIOKafkaConsumer(bootstrap_servers=up.said["kafka"], auto_offset_reset="earliest") as consumer:
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            while await consumer.position(partition) < ends[partition]:
                for records in (await consumer.getmany(partition, timeout_ms=200)).values():
                    found += [
                        part for record in records for part in (record.key, record.value, repr(record.headers).encode())
                    ]
    return b"\n".join(part for part in found if part)


def copied(up: Up, directory: Path) -> bytes:
    """The copy that a mail tool keeps, once it is complete."""
    exported = consent("keys", "export", "--controller", "dekra-be", "--json", data=up.data).data
    file = directory / "keys.json"
    file.write_text(json.dumps({"keys": [exported]}))
    topic = f"{up.said['topic_prefix']}suppressions"
    path = directory / "copy"
    with SuppressionView(path, load_keys(file), {"bootstrap_servers": up.said["kafka"]}, topic=topic) as view:
        view.wait_ready(60)
    return b"".join(one.read_bytes() for one in path.rglob("*") if one.is_file())


def everything(up: Up, address: str, directory: Path) -> bytes:
    """All that is kept or given out, apart from what was published itself."""
    asked = ("history", "--controller", "dekra-be", "--reason", "audit", "--json")
    history = consent(*asked, data=up.data, said_in=f"{address}\n")
    assert history.status in (0, 1), history.err
    shown = history.out.replace(address, "")
    logs = [one.read_bytes() for one in (up.data / "logs").iterdir()]
    assert logs
    directory.mkdir()
    return b"\n".join(
        [
            dump(up),
            asyncio.run(opened(up)),
            asyncio.run(read(up, clear=False)),
            *logs,
            copied(up, directory),
            shown.encode(),
        ]
    )


@pytest.fixture(scope="module")
def planted(up: Up, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    path = tmp_path_factory.mktemp("canary")
    kinds = (
        "name",
        "evidence",
        "ip",
        "device",
        "extra",
        "sale",
        "number",
        "moved",
        "reason",
        "ground",
        "request",
        "answer",
    )
    texts = {kind: canary(kind) for kind in kinds}
    address, phone = f"{canary('address')}@example.be", f"+32470{uuid.uuid4().int % 10**6:06}"
    canaries = (address.partition("@")[0], phone, *texts.values())
    said = lines(address, phone, texts)
    assert consent("publish", "-", data=up.data, said_in="\n".join(said.values())).status == 0
    asyncio.run(recorded(up, said))
    before = everything(up, address, path / "before")
    certificate = path / "certificate.json"
    done = consent("erase", *WHO, "--yes", "-o", str(certificate), address, data=up.data)
    assert done.status == 0, done.err
    assert consent("decide", *NEWSLETTER, address, "--json", data=up.data).data["reason"] == "ERASED"
    after = everything(up, address, path / "after") + certificate.read_bytes() + done.out.encode() + done.err.encode()
    return Planted(address, canaries, before, after, asyncio.run(read(up, clear=True)), certificate)


def test_the_search_finds_all_that_was_planted(planted: Planted) -> None:
    assert traces(planted.canaries, planted.before) == list(planted.canaries)


def test_of_a_person_who_was_erased_no_trace_is_left(planted: Planted) -> None:
    assert traces(planted.canaries, planted.after) == []


def test_what_stands_on_the_topic_in_is_said_in_the_certificate(planted: Planted) -> None:
    claims = json.loads(planted.certificate.read_text())["claims"]

    assert traces(planted.canaries, planted.clear) == list(planted.canaries)
    ends = {name: datetime.fromisoformat(at) for name, at in claims["clear_text_in_topics_until"].items()}
    recorded = datetime.fromisoformat(claims["recorded_at"])
    assert {name: (end - recorded).days for name, end in ends.items()} == {"events": 7, "rejected": 31}
