"""`consent connector` from Kafka to listmonk: a refusal on the topic stops a list and is acknowledged.

The parts have their own tests, with what was seen to fail there.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomlkit
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from typer.testing import CliRunner, Result

from client.conftest import Topic
from client.topic import KEY, address, no, purposes, watermark, yes
from connectors.listmonk import TOKEN, USER, Listmonk
from connectors.test_hooks import listmonk_signs
from connectors.webserver import served
from consent_ledger.cli.main import app
from consent_ledger.connectors import kinds, running
from consent_ledger.connectors.state import Item, State
from consent_ledger.domain.acks import read_ack
from consent_ledger.runtime.local.ports import free_port

AN, BO = "an@example.be", "bo@example.be"
EXAMPLE = Path(__file__).parents[2] / "deploy" / "connectors" / "connectors.toml"
NEWS = 1


@pytest.fixture
def listmonk() -> Iterator[tuple[Listmonk, str]]:
    made = Listmonk()
    made.lists[NEWS] = {"name": "News", "type": "private", "optin": "single"}
    made.managed.add(NEWS)
    with served(made) as url:
        yield made, url


def configured(path: Path, topic: Topic, url: str, **differs: Any) -> Path:
    (path / "token").write_text(f"{TOKEN}\n")
    (path / "keys.json").write_text(
        json.dumps({"controller": KEY.controller, "kid": KEY.kid, "alg": "HMAC-SHA-256",
                    "key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="})
    )  # fmt: skip
    tool = {
        "kind": "listmonk", "state": str(path / "state"), "keys": str(path / "keys.json"), "url": url, "username": USER,
        "password_file": str(path / "token"), "source": "lists:shop-be", "rate": 1000,
        "lists": [{"id": NEWS, "controller": "shop-be", "purpose": "newsletter"}], **differs,
    }  # fmt: skip
    file = path / "connectors.toml"
    prefix = topic.name.removesuffix("suppressions")
    file.write_text(tomlkit.dumps({"prefix": prefix, "kafka": topic.kafka, "connector": {"lists": tool}}))
    return file


@pytest.fixture
async def said(topic: Topic) -> Topic:
    """An has refused the newsletter, Bo has consented; the topic is fresh."""
    admin = AIOKafkaAdminClient(**topic.kafka)
    await admin.start()
    prefix = topic.name.removesuffix("suppressions")
    await admin.create_topics([NewTopic(f"{prefix}{name}", 1, 1) for name in ("acks", "events")])
    await admin.close()
    await topic.publish_everywhere([purposes()])
    await topic.publish(
        address(AN, {"newsletter": {"email": no("CONSENT_WITHDRAWN")}}), address(BO, {"newsletter": {"email": yes()}})
    )
    await topic.publish_everywhere([watermark(datetime.now(UTC))])
    return topic


async def read(topic: Topic, name: str) -> list[Any]:
    """All records of another topic."""
    partition = TopicPartition(topic.name.replace("suppressions", name), 0)
    found: list[Any] = []
    async with AIOKafkaConsumer(**topic.kafka, enable_auto_commit=False) as consumer:
        consumer.assign([partition])
        await consumer.seek_to_beginning()
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            found += (await consumer.getmany(partition, timeout_ms=100)).get(partition, [])
    return found


async def test_a_refusal_on_the_topic_stops_a_list_and_is_acknowledged(
    said: Topic, listmonk: tuple[Listmonk, str], tmp_path: Path
) -> None:
    made, url = listmonk
    an, bo = made.subscribe(AN, NEWS), made.subscribe(BO, NEWS)
    file = kinds.load(configured(tmp_path, said, url))

    task = asyncio.create_task(running.run("lists", file.connector["lists"], file))
    async with asyncio.timeout(30):
        while not (found := await read(said, "acks")):
            assert not task.done()
            await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (made.on(an), made.on(bo)) == (set(), {NEWS})
    assert {read_ack(one.key, one.value).consumer for one in found} == {"lists"}
    assert {read_ack(one.key, one.value).partition for one in found} == {0, 1}


async def test_what_listmonk_has_learnt_is_published(
    said: Topic, listmonk: tuple[Listmonk, str], tmp_path: Path
) -> None:
    made, url = listmonk
    made.leave(made.subscribe(BO, NEWS), NEWS)
    file = kinds.load(configured(tmp_path, said, url))

    report = await running.reconcile("lists", file.connector["lists"], file)
    found = await read(said, "events")

    event = json.loads(found[0].value)
    assert report.counts["to be declared"] == 1
    assert (event["type"], event["source"]) == ("consent-withdrawn", "lists:shop-be")
    assert event["data"]["subject"] == [{"type": "email", "value": BO}]


async def test_a_dry_run_changes_nothing_anywhere(said: Topic, listmonk: tuple[Listmonk, str], tmp_path: Path) -> None:
    made, url = listmonk
    an = made.subscribe(AN, NEWS)
    config = configured(tmp_path, said, url)

    status, printed = await in_a_process("run", "lists", "--dry-run", "--json", "--config", str(config))

    assert status == 1
    assert printed["would"] == [f"unsubscribe from list {NEWS}: subscribers {an} (CONSENT_WITHDRAWN 1)"]
    assert (made.on(an), made.changes) == ({NEWS}, [])
    assert State(tmp_path / "state").place is None
    assert await read(said, "acks") == []


async def test_what_listmonk_calls_is_an_event_at_once(
    said: Topic, listmonk: tuple[Listmonk, str], tmp_path: Path
) -> None:
    made, url = listmonk
    bo = made.subscribe(BO, NEWS)
    (tmp_path / "hook").write_text("secret of the hook")
    listen = f"127.0.0.1:{free_port()}"
    hooks = {"listen": listen, "secret_file": str(tmp_path / "hook")}
    file = kinds.load(configured(tmp_path, said, url, hooks=hooks))
    body = json.dumps({"event": "subscriber.unsubscribed", "data": {"subscriber": {"id": bo}}}).encode()

    task = asyncio.create_task(running.run("lists", file.connector["lists"], file))
    async with asyncio.timeout(60):
        while not await read(said, "acks"):
            assert not task.done()
            await asyncio.sleep(0.05)
        status, beside = await in_a_process(
            "reconcile", "lists", "--json", "--config", str(tmp_path / "connectors.toml")
        )
        made.leave(bo, NEWS)
        async with httpx.AsyncClient(base_url=f"http://{listen}") as client:
            answer = await client.post(
                "/hooks/lists", content=body, headers=listmonk_signs(body, b"secret of the hook")
            )
        while not (found := await read(said, "events")):
            await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (answer.status_code, status, beside["sweeps"]) == (204, 0, 1)
    assert json.loads(found[0].value)["data"]["subject"] == [{"type": "email", "value": BO}]


async def in_a_process(*words: str) -> tuple[int | None, Any]:
    """Run a command as another process, and return its status and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "consent_ledger.cli.main", "connector", *words, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    return process.returncode, json.loads(printed)


def command(*words: str) -> Result:
    return CliRunner().invoke(app, ["connector", *words])


@pytest.fixture
def idle(tmp_path: Path) -> Path:
    """The file of a connector that does not run, of which two refusals are parked."""
    file = configured(tmp_path, Topic("127.0.0.1:9", "consent.suppressions", None), "http://127.0.0.1:9")
    state = State(tmp_path / "state")
    state.advance(b"1", parked=[(Item(key=f"contact/{number}"), "status 422") for number in (1, 2)])
    state.close()
    return file


def test_what_is_parked_is_shown_and_asked_for_again(idle: Path, tmp_path: Path) -> None:
    before = command("parked", "lists", "--json", "--config", str(idle))
    asked = command("redeliver", "lists", "contact/2", "--config", str(idle))
    wrong = command("redeliver", "lists", "contact/3", "--config", str(idle))

    assert before.exit_code == 1
    assert [(one["item"], one["reason"], one["again"]) for one in json.loads(before.stdout)] == [
        ("contact/1", "status 422", False), ("contact/2", "status 422", False),
    ]  # fmt: skip
    assert (asked.exit_code, wrong.exit_code) == (0, 1)
    assert [one.item.key for one in State(tmp_path / "state").parked() if one.again] == ["contact/2"]


def test_the_list_and_the_status_say_how_it_is(idle: Path, tmp_path: Path) -> None:
    listed = command("list", "--json", "--config", str(idle))
    status = command("status", "lists", "--json", "--config", str(idle))
    state = State(tmp_path / "state")
    state.hold()
    runs = command("status", "lists", "--json", "--config", str(idle))
    state.close()

    assert (listed.exit_code, status.exit_code) == (0, 1)
    said = {
        "name": "lists",
        "kind": "listmonk",
        "runs": False,
        "caught_up_at": None,
        "parked_refusals": 2,
        "parked_others": 0,
    }
    assert json.loads(listed.stdout) == [said]
    assert json.loads(status.stdout) == said
    assert json.loads(runs.stdout)["runs"] is True


@pytest.mark.parametrize(
    ("differs", "shown"),
    [
        ({"kind": "listmonkey"}, "listmonkey"),
        ({"lists": []}, "lists"),
        ({"lists": [{"id": 1, "controller": "a", "purpose": "b"}] * 2}, "a list is named twice"),
        ({"password": "hunter2"}, "password"),
        ({"rate": 0}, "rate"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, differs: dict[str, Any], shown: str) -> None:
    file = configured(tmp_path, Topic("127.0.0.1:9", "consent.suppressions", None), "http://127.0.0.1:9", **differs)

    answer = command("list", "--config", str(file))

    assert answer.exit_code == 2
    assert shown in answer.stderr
    assert "hunter2" not in answer.stderr


def test_who_is_not_in_the_file_is_named(idle: Path) -> None:
    answer = command("run", "nobody", "--config", str(idle))

    assert answer.exit_code == 2
    assert "nobody" in answer.stderr


def test_the_example_is_a_configuration() -> None:
    assert kinds.load(EXAMPLE).connector
