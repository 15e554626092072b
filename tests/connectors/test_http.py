"""A tool is called at its own pace, and what it answers is sorted by what can be done about it.

Seen to fail: a status of one sort taken for another; a date of `Retry-After` passed over; the rate not kept; a dry run
that calls; what was answered quoted in an error; an answer of any length read.
"""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import msgspec
import pytest

from connectors.webserver import Answer, Request, served
from consent_ledger.connectors import http
from consent_ledger.connectors.http import Api, read
from consent_ledger.connectors.outcome import AwayError, DeniedError, FailedError, GoneError, RefusedError


class Tool:
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer = Answer(200, {"ok": True})
        self.asked: list[Request] = []

    def __call__(self, request: Request) -> Answer:
        self.asked.append(request)
        return self.answer


@pytest.fixture
def tool() -> Tool:
    return Tool()


@pytest.fixture
async def api(tool: Tool) -> AsyncIterator[Api]:
    with served(tool) as url:
        made = Api(url, auth=("user", "secret"), rate=1000.0)
        yield made
        await made.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *[(status, RefusedError) for status in (301, 307, 400, 404, 409, 422)],
        (410, GoneError),
        *[(status, DeniedError) for status in (401, 403)],
        *[(status, AwayError) for status in (408, 425, 429, 502, 503, 504)],
        *[(status, FailedError) for status in (500, 501, 507)],
    ],
)
async def test_a_status_says_what_can_be_done(api: Api, tool: Tool, status: int, error: type[Exception]) -> None:
    tool.answer = Answer(status, {"message": "an@example.be"}, (("Location", "/elsewhere"),))

    with pytest.raises(error) as raised:
        await api.get("/x")
    assert type(raised.value) is error
    assert str(raised.value) == f"status {status}"
    assert len(tool.asked) == 1


async def test_who_does_not_answer_is_away() -> None:
    api = Api("http://127.0.0.1:9", rate=1000.0)

    with pytest.raises(AwayError) as raised:
        await api.get("/x")
    assert raised.value.after is None
    await api.close()


async def test_a_tool_may_ask_for_patience(api: Api, tool: Tool) -> None:
    tool.answer = Answer(429, None, (("Retry-After", "17"),))
    with pytest.raises(AwayError) as seconds:
        await api.get("/x")
    tool.answer = Answer(
        503, None, (("Retry-After", format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)),)
    )
    with pytest.raises(AwayError) as date:
        await api.get("/x")
    tool.answer = Answer(503, None, (("Retry-After", "soon"),))
    with pytest.raises(AwayError) as nonsense:
        await api.get("/x")

    assert seconds.value.after == 17
    assert date.value.after is not None
    assert 3500 < date.value.after <= 3600
    assert nonsense.value.after is None


async def test_calls_keep_the_rate(tool: Tool) -> None:
    with served(tool) as url:
        api = Api(url, rate=2.0)
        began = time.monotonic()
        for _ in range(3):
            await api.get("/x")
        took = time.monotonic() - began
        await api.close()

    assert took >= 2 / 2


async def test_a_dry_run_reads_and_changes_nothing(tool: Tool) -> None:
    with served(tool) as url:
        api = Api(url, rate=1000.0, dry=True)
        await api.get("/x")
        said = await api.change("PUT", "/y", told="unsubscribe 7", json={"ids": [7]})
        await api.close()

    assert (said, api.would) == (None, ["unsubscribe 7"])
    assert [(one.method, one.path) for one in tool.asked] == [("GET", "/x")]


async def test_what_is_answered_is_not_quoted(api: Api, tool: Tool) -> None:
    class Wanted(msgspec.Struct):
        number: int

    tool.answer = Answer(200, {"number": "an@example.be"})
    answer = await api.get("/x")

    with pytest.raises(FailedError) as raised:
        read(answer, Wanted)
    assert "example" not in str(raised.value)


async def test_an_answer_is_read_up_to_a_length(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    length = len((await api.get("/x")).content)
    monkeypatch.setattr(http, "ANSWER_MAX_BYTES", length)

    assert read(await api.get("/x"), dict[str, bool]) == {"ok": True}
    monkeypatch.setattr(http, "ANSWER_MAX_BYTES", length - 1)
    with pytest.raises(FailedError, match="too long"):
        await api.get("/x")
