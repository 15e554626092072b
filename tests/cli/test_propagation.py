"""`consent propagation` on a running installation, with a tool that follows and one that does not.

Seen to fail: soft bounces taken for hard ones.
"""

import asyncio
import json
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client import REGISTRY

import consent_ledger.relay.app  # its metrics are looked for
from cli.installed import Answer, Up, consent
from cli.people import gave, somebody, withdrew
from consent_ledger.client import SuppressionView, load_keys
from consent_ledger.domain.acks import Ack, write_ack

ALERTS = Path(__file__).parents[2] / "deploy" / "alerts" / "propagation.yml"


def publish(up: Up, line: str) -> str:
    event_id = str(uuid.uuid4())
    assert (
        consent(
            "publish", "-", data=up.data, said_in=json.dumps({"specversion": "1.0", "id": event_id, **json.loads(line)})
        ).status
        == 0
    )
    return event_id


def bounce(address: str, kind: str) -> str:
    data = {"controllers": ["dekra-be"], "subject": [{"type": "email", "value": address}], "channels": ["email"],
            "bounce": kind, "reason": "550 5.1.1"}  # fmt: skip
    return json.dumps({"type": "delivery-failed", "source": "esp:dekra-be", "time": "2026-11-02T10:00:00Z",
                       "data": data})  # fmt: skip


def asked(up: Up, holds: Callable[[dict[str, Any]], bool]) -> tuple[Answer, dict[str, Any]]:
    """Ask until the stages are as they are to be."""
    deadline = time.monotonic() + 40
    while True:
        answer = consent("propagation", "--since", "PT1H", "--json", data=up.data)
        stages = {one["stage"]: one for one in answer.data["stages"]}
        if holds(stages):
            return answer, stages
        assert time.monotonic() < deadline, stages


def view(up: Up, path: Path, name: str) -> SuppressionView:
    keys = load_keys(consent("keys", "export", "--consumer", name, "--json", data=up.data).data)
    return SuppressionView(path, keys, {"bootstrap_servers": up.said["kafka"]}, consumer=name, instance="copy")


def test_a_refusal_is_followed_to_each_consumer_of_its_controller(up: Up, tmp_path: Path) -> None:
    names = [f"{what}-{uuid.uuid4().hex[:8]}" for what in ("follows", "sleeps", "other", "posts")]
    follows, sleeps, other, posts = names
    for name, controller, *more in (
        (follows, "dekra-be"),
        (sleeps, "dekra-be", "--purpose", "newsletter-email", "--channel", "email"),
        (other, "vloet"),
        (posts, "dekra-be", "--channel", "post"),
    ):
        assert consent("consumers", "add", name, "--controller", controller, *more, data=up.data).status == 0
    person = somebody()
    ids = [
        publish(up, line) for line in (gave(person), withdrew(person), bounce(person, "hard"), bounce(person, "soft"))
    ]
    with view(up, tmp_path, follows) as followed:
        followed.wait_ready(40)
        _, stages = asked(
            up, lambda found: _knows(found, follows, ids[1:3]) and set(ids[1:3]) <= _missing(found, sleeps)
        )
    text = consent("propagation", data=up.data)

    assert stages["recorded"]["refusals"] >= 2
    assert stages[follows]["refusals"] >= 2
    assert (stages[follows]["unconfirmed"], stages[follows]["late"]) == ([], False)
    assert stages[follows]["max"] <= 60
    assert {ids[0], ids[3]} & _missing(stages, sleeps) == set()
    assert set(ids) & (_missing(stages, other) | _missing(stages, posts)) == set()
    assert f"not at {sleeps}: " in text.out
    assert person not in text.out
    _remove(up, names)


def _knows(found: dict[str, Any], name: str, ids: list[str]) -> bool:
    return found["published"]["unconfirmed"] == [] and found[name]["refusals"] >= len(ids) and not _missing(found, name)


def _missing(found: dict[str, Any], name: str) -> set[str]:
    return set(found[name]["unconfirmed"])


def _remove(up: Up, names: list[str]) -> None:
    assert [consent("consumers", "remove", name, data=up.data).status for name in names] == [0] * len(names)


def test_a_consumer_with_a_copy_a_quarter_of_an_hour_behind_breaks_the_budget_until_it_is_retired(up: Up) -> None:
    name = f"tool-{uuid.uuid4().hex[:8]}"
    assert consent("consumers", "add", name, "--controller", "vloet", data=up.data).status == 0
    asyncio.run(_report(up, name))
    behind, stages = asked(up, lambda found: found[name]["behind"] > 900)

    assert (behind.status, stages[name]["late"]) == (1, True)
    assert consent("consumers", "retire", name, "gone", data=up.data).status == 0
    retired, _ = asked(up, lambda found: found[name]["behind"] < 60)
    assert retired.status == 0
    _remove(up, [name])
    assert name not in consent("propagation", data=up.data).out


async def _report(up: Up, name: str) -> None:
    """Say on all partitions that a copy stands still since an hour."""
    then = datetime.now(UTC) - timedelta(hours=1)
    async with AIOKafkaProducer(bootstrap_servers=up.said["kafka"]) as producer:
        for q in range(8):
            said = Ack(consumer=name, instance="gone", partition=q, offset=0, seq=0, instant=then, applied_at=then)
            key, value = write_ack(said)
            await producer.send_and_wait("consent.acks", value, key)


@pytest.mark.parametrize("since", ["a day", "P31D", "PT0S", "-P1D", "P1M"])
def test_a_time_that_is_not_kept_is_refused(up: Up, since: str) -> None:
    answer = consent("propagation", f"--since={since}", data=up.data)

    assert answer.status == 2
    assert "ISO 8601 duration" in answer.err


def test_alerts_are_about_metrics_that_exist() -> None:
    known = {metric.name for metric in REGISTRY.collect()}

    named = {name.removesuffix("_bucket") for name in re.findall(r"\bconsent_[a-z_]+", ALERTS.read_text("utf-8"))}

    assert consent_ledger.relay.app
    assert named <= known
    assert len(named) == 3
