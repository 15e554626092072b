"""Requests of subjects over HTTP and as metrics, from events through Kafka.

Seen to fail: the list open to every key; other controllers' requests in it; an index that leaves a type of step out;
open requests not counted; withdrawals that were passed on not looked up; those that nobody passed on left out, or only
the first page of them read.
"""

import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from api.served import Api, bearer
from builders import email, erasure_requested, event, withdrawn
from consent_ledger.api import requests as metrics
from consent_ledger.domain import durations
from consent_ledger.domain.catalogue import KINDS
from consent_ledger.domain.requests import OPENING, PASSED_ON, REFERENCE, VOID
from consent_ledger.runtime.calendars import calendar
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import requests

Address = Callable[[], str]
# At noon, for just before midnight the days between two instants are not the same in summer and in winter.
NOW = (datetime.now(UTC) - timedelta(days=1)).replace(hour=12)


def ago(days: int) -> str:
    return (NOW - timedelta(days=days)).isoformat()


def about(request: dict[str, Any] | str, type: str, days: int, **fields: Any) -> dict[str, Any]:
    id_ = request if isinstance(request, str) else request["id"]
    return event(type, request_id=id_, time=ago(days), **{"controllers": ["shop-be"], **fields})


async def listed(api: Api, key: str | None = None) -> dict[str, Any]:
    answer = await api.client.get("/v1/requests", headers=bearer(key))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def of(found: dict[str, Any], id_: str) -> dict[str, Any]:
    ones: list[dict[str, Any]] = [request for request in found["requests"] if request["id"] == id_]
    (one,) = ones
    return one


async def test_a_request_is_listed_with_its_last_day_until_it_is_answered(api: Api, address: Address) -> None:
    an, access = address(), str(uuid.uuid4())
    await api.recorded(about(access, "request-received", 60, article="access", subject=[email(an)]))

    before = of(await listed(api), access)
    await api.recorded(about(access, "request-answered", 1, article="access", outcome="complete"))
    answer = await api.client.get("/v1/requests")

    assert (before["article"], before["state"], before["behind"]) == ("15", "overdue", "controller")
    after = of(answer.json(), access)
    assert (after["state"], after["late"], after["behind"]) == ("answered", True, None)
    due, days = date.fromisoformat(after["due"]), calendar("BE")
    assert due.weekday() < 5
    assert not days.is_holiday(due)
    assert an not in answer.text


async def test_steps_that_come_before_their_request_count_once_it_is_there(api: Api, address: Address) -> None:
    erasure = erasure_requested(email(address()), time=ago(50))
    steps = [
        about(erasure, "identity-requested", 45),
        about(erasure, "identity-confirmed", 35),
        about(erasure, "request-extended", 30, reason="many records"),
    ]
    for one in reversed(steps):
        await api.recorded(one)
    assert not [one for one in (await listed(api))["requests"] if one["id"] == erasure["id"]]

    await api.recorded(erasure)

    request = of(await listed(api), erasure["id"])
    assert (request["state"], request["paused_days"], request["extended"]) == ("open", 10, True)


async def test_recipients_are_to_be_told_of_what_was_passed_on(api: Api, address: Address) -> None:
    withdrawal = withdrawn(email(address()), time=ago(20))
    erasure = erasure_requested(email(address()), time=ago(20))
    await api.recorded(
        withdrawal,
        about(withdrawal, "recipient-notified", 19, recipient="Printer NV"),
        erasure,
        about(erasure, "erasure-executed", 18, subject=[email(address())]),
        about(erasure, "recipient-notified", 17, recipient="Post NV", outcome="acknowledged"),
    )

    notices = (await listed(api))["notices"]

    found = {(one["about"], one["recipient"], one["state"]) for one in notices}
    assert {(withdrawal["id"], "Printer NV", "told"), (erasure["id"], "Post NV", "acknowledged")} <= found


async def test_recipients_are_to_be_told_of_withdrawals_that_nobody_has_passed_on(
    api: Api, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "_PAGE", 1)
    new, hidden = withdrawn(email(address()), purposes=["invoice"], time=ago(1)), withdrawn(email(address()))
    late = withdrawn(email(address()), purposes="all", time=ago(20))
    moved = event("identifier-changed", controllers=["shop-be"], old=email(address()), new=email(address()),
                  origin="data-subject", verified=True, time=ago(1))  # fmt: skip
    await api.recorded(new, hidden, late, moved)
    await api.recorded(about(new, "recipient-notified", 0, recipient="Printer NV"))

    answer = await listed(api)
    monkeypatch.setattr(requests, "NOTICES_MAX", 0)
    fewer = await listed(api)

    found = {(one["about"], one["recipient"], one["state"], one["overdue"]) for one in answer["notices"]}
    for event_, overdue in ((late, True), (moved, False)):
        assert {(event_["id"], name, "open", overdue) for name in ("Printer NV", "Bank NV")} <= found
    assert {(new["id"], "Printer NV", "told", False), (new["id"], "Bank NV", "open", False)} <= found
    assert hidden["id"] not in {one[0] for one in found}
    assert (answer["more"], fewer["more"]) == (False, True)
    assert len({one["about"] for one in fewer["notices"] if one["state"] == "open"}) < len(
        {one["about"] for one in answer["notices"] if one["state"] == "open"}
    )


async def test_the_list_is_for_auditors_and_for_their_own_controllers(api: Api, address: Address) -> None:
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    dutch = {"controllers": ["shop-nl"], "source": "web:shop-nl", "subject": [email(address())]}
    await api.recorded(
        about(one, "request-received", 60, article="15", subject=[email(address())]),
        about(other, "request-received", 60, article="15", **dutch),
    )
    auditor = await api.key("audit", controllers=["shop-nl"])
    tool = await api.key("decide")

    answer = await api.client.get("/v1/requests", headers=bearer(tool))

    assert answer.status_code == 403
    ids = {request["id"] for request in (await listed(api, auditor))["requests"]}
    assert other in ids
    assert one not in ids


async def test_overdue_requests_are_counted_by_controller_and_article(api: Api, address: Address) -> None:
    def value(gauge: Any) -> float:
        return float(gauge.labels("garage-be", "20")._value.get())

    garage = {"controllers": ["garage-be"], "source": "web:garage-be", "article": "20"}
    await api.recorded(
        about(str(uuid.uuid4()), "request-received", 60, subject=[email(address())], **garage),
        about(str(uuid.uuid4()), "request-received", 1, subject=[email(address())], **garage),
    )
    connection = await connect(api.installation.settings.dsn, "consent_api")

    metrics.count(await requests.duties(connection, durations.instant(datetime.now(UTC))))
    await connection.close()

    assert (value(metrics.OVERDUE), value(metrics.OPEN)) == (1, 2)


@pytest.mark.parametrize("type", [*OPENING, *REFERENCE, VOID])
async def test_every_type_of_step_is_in_the_index(api: Api, type: str) -> None:
    body = json.dumps([1, {"kind": "situation"}], separators=(",", ":")).encode()

    rows = await api.installation.fetch("SELECT is_step_of_request($1, $2) AS step", type, body)

    assert rows[0]["step"]


async def test_only_objections_to_direct_marketing_and_other_types_are_not_in_the_index(api: Api) -> None:
    steps = {*OPENING, *REFERENCE, VOID}
    others = KINDS.keys() - steps
    body = b'[1,{"kind":"direct-marketing"}]'

    rows = await api.installation.fetch(
        "SELECT type FROM unnest($1::text[]) AS type WHERE is_step_of_request(type, $2)", [*others, "objection-raised"],
        body,
    )  # fmt: skip

    assert rows == []
    assert others >= PASSED_ON


async def test_the_list_is_read_by_the_index(api: Api) -> None:
    connection = await connect(api.installation.settings.dsn, "consent_api")

    plan = await connection.fetch(f"EXPLAIN {requests._SQL['steps']}")
    await connection.close()

    assert "ledger_requests" in plan[0][0]


def test_alerts_are_about_metrics_that_exist() -> None:
    rules = (Path(__file__).parents[2] / "deploy" / "alerts" / "requests.yml").read_text(encoding="utf-8")
    known = {metric.name for metric in REGISTRY.collect()}

    named = set(re.findall(r"\bconsent_[a-z_]+", rules))

    assert named <= known
    assert len(named) == 3
