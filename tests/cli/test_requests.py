"""`consent requests` on a running installation.

Seen to fail: an overdue request with exit status 0; the state asked for ignored.
"""

import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from cli.installed import Answer, Up, consent
from cli.people import somebody


def publish(up: Up, type: str, request_id: str, days_ago: int, **more: Any) -> None:
    data = {"controllers": ["vloet"], "request_id": request_id, **more}
    moment = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()
    line = json.dumps({"type": type, "source": "staff:vloet", "time": moment, "data": data})
    assert consent("publish", "-", data=up.data, said_in=line).status == 0


def shown(up: Up, request_id: str, state: str) -> Answer:
    """Ask until the ledger has what was published just now."""
    deadline = time.monotonic() + 30
    while True:
        answer = consent("requests", "show", request_id, "--json", data=up.data)
        if answer.out and answer.data["requests"][0]["state"] == state:
            return answer
        assert time.monotonic() < deadline, answer


def listed(up: Up, state: str) -> set[str]:
    # Its status is not looked at, for notices of what was withdrawn in other tests may be due.
    answer = consent("requests", "list", "--controller", "vloet", "--state", state, "--json", data=up.data)
    return {request["id"] for request in answer.data["requests"]}


def test_an_overdue_request_is_listed_until_it_is_answered(up: Up) -> None:
    person, request = somebody(), str(uuid.uuid4())
    publish(up, "request-received", request, 60, article="15", subject=[{"type": "email", "value": person}])
    overdue = shown(up, request, "overdue")
    before = [listed(up, state) for state in ("open", "overdue", "answered")]
    table = consent("requests", "list", data=up.data)

    publish(up, "request-answered", request, 0, article="15")
    answered = shown(up, request, "answered")
    after = [listed(up, state) for state in ("open", "overdue", "answered", "all")]

    assert (overdue.status, answered.status) == (1, 0)
    assert before == [{request}, {request}, set()]
    assert after == [set(), set(), {request}, {request}]
    assert table.status == 1
    assert request in table.out
    assert person not in table.out + overdue.out


def test_a_request_that_nobody_made_is_said(up: Up) -> None:
    answer = consent("requests", "show", str(uuid.uuid4()), data=up.data)

    assert (answer.status, answer.err) == (2, "consent: there is no such request\n")
