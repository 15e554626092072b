"""`consent connector` from Kafka to a folder: a list by two readers of one topic, reported as applied."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import tomlkit
from typer.testing import CliRunner

from client.conftest import PARTITIONS, Topic
from client.topic import KEY, address, no
from connectors.handed import read_like_a_stranger
from connectors.test_command import AN, BO, said
from connectors.test_command import read as records_of
from consent_ledger.cli.main import app
from consent_ledger.connectors import kinds, running
from consent_ledger.domain.acks import read_ack
from consent_ledger.runtime.objects import Objects

__all__ = ["said"]


def configured(path: Path, topic: Topic, **differs: Any) -> Path:
    (path / "keys.json").write_text(
        json.dumps({"controller": KEY.controller, "kid": KEY.kid, "alg": "HMAC-SHA-256",
                    "key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="})
    )  # fmt: skip
    table = {
        "kind": "files", "state": str(path / "state"), "place": str(path / "out"), "keys": str(path / "keys.json"),
        "controllers": ["shop-be"], "purposes": ["newsletter"], "channels": ["email"], "increment_seconds": 0.5,
        "max_staleness": 600, **differs,
    }  # fmt: skip
    file = path / "connectors.toml"
    prefix = topic.name.removesuffix("suppressions")
    file.write_text(tomlkit.dumps({"prefix": prefix, "kafka": topic.kafka, "connector": {"lists": table}}))
    return file


def listed(path: Path) -> set[str]:
    return {row[2] for row in read_like_a_stranger(Objects(str(path / "out")))}


def hashes(*values: str) -> set[str]:
    return {KEY.hash("email", value).hex() for value in values}


async def test_a_refusal_on_the_topic_comes_into_a_list_and_is_acknowledged(said: Topic, tmp_path: Path) -> None:
    file = kinds.load(configured(tmp_path, said))
    task = asyncio.create_task(running.run("lists", file.connector["lists"], file))
    async with asyncio.timeout(30):
        while len(found := await records_of(said, "acks")) < PARTITIONS:
            assert not task.done()
            await asyncio.sleep(0.05)
        first = listed(tmp_path)
        await said.publish(address(BO, {"newsletter": {"email": no("OBJECTION_DM")}}, version=2))
        while listed(tmp_path) != hashes(AN, BO):
            assert not task.done()
            await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert first == hashes(AN)
    assert {read_ack(one.key, one.value).consumer for one in found} == {"lists"}


def consent(*arguments: str) -> tuple[int, Any]:
    result = CliRunner().invoke(app, ["connector", *arguments, "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_the_commands_run_compare_and_show_it(said: Topic, tmp_path: Path) -> None:
    named = ("lists", "--config", str(configured(tmp_path, said, increment_seconds=3600)))
    dry = consent("run", *named, "--dry-run")
    before = [*(tmp_path / "out").rglob("*"), *(tmp_path / "state").glob("spool/*")]
    once = consent("run", *named, "--once")
    shutil.copytree(tmp_path / "out", tmp_path / "kept" / "out")
    same = consent("reconcile", *named, "--dry-run")
    for path in (tmp_path / "out").glob("*.csv"):
        path.write_text("controller,type,hash,purpose,channel\r\n")
    differs = consent("reconcile", *named)

    assert (dry[0], before, once[0]) == (1, [], 0)
    assert listed(tmp_path / "kept") == hashes(AN)
    assert "hand out 000000000001-full-" in dry[1]["would"][0]
    assert (same[0], same[1]["to_be_listed"]) == (0, 0)
    assert differs[1]["to_be_made_again"] == 1
    assert consent("status", *named)[0] == 0


def test_a_controller_without_a_key_is_refused(said: Topic, tmp_path: Path) -> None:
    file = str(configured(tmp_path, said, controllers=["shop-be", "other"]))
    result = CliRunner().invoke(app, ["connector", "run", "lists", "--once", "--config", file])

    assert result.exit_code == 2
    assert "no key of other" in result.stderr
