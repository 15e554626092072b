"""A question about a campaign is answered only once it is remembered who was asked about and what was answered.

Seen to fail: an answer given whose remembering failed; a request remembered twice when it is tried again; addresses of
controllers without a key kept under none; the second address of a question left out; a campaign asked about the past;
answers kept beyond their time.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from api.served import Api, question
from api.test_changes import hashed
from builders import email, given, objected
from consent_ledger.domain import durations
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import campaigns
from consent_ledger.viewer.retention import Retention
from running import Installation

Address = Callable[[], str]


@pytest.fixture
def campaign() -> str:
    return f"spring-{uuid.uuid4().hex}"


async def remembered(installed: Installation, campaign: str) -> list[dict[str, Any]]:
    rows = await installed.fetch(
        "SELECT a.*, r.known, r.horizon, r.answered_at, r.api_key FROM campaign_request r"
        " JOIN campaign_answer a ON a.request = r.id WHERE campaign = $1 ORDER BY r.answered_at, a.ordinal",
        campaign,
    )
    return [dict(row) for row in rows]


async def test_everyone_asked_about_is_remembered_with_the_answer_its_place_and_what_was_known(
    api: Api, installed: Installation, address: Address, campaign: str
) -> None:
    yes, no = address(), address()
    (consent, _) = await api.recorded(given(email(yes)), objected(email(no)))

    answer = await api.ask(question(yes), question(no), campaign=campaign)

    first, second = await remembered(installed, campaign)
    assert [first["hash"].hex(), second["hash"].hex()] == [await hashed(installed, one) for one in (yes, no)]
    assert [(one["allow"], one["reason"]) for one in (first, second)] == [(True, "CONSENT"), (False, "OBJECTION_DM")]
    assert (first["shard"], first["pos"]) == (consent["shard"], consent["position"])
    assert (first["controller"], first["type"], first["purpose"], first["channel"]) == (
        "shop-be", "email", "newsletter", "email",
    )  # fmt: skip
    assert first["known"] == answer.json()["known"]
    assert first["horizon"].isoformat() == answer.json()["horizon"].replace("Z", "+00:00")
    assert yes not in str((first, second))


async def test_every_address_and_every_answer_of_an_open_question_is_remembered(
    api: Api, installed: Installation, address: Address, campaign: str
) -> None:
    one, other = address(), address()

    await api.ask(
        question(one, subject=[email(one), email(other)], purpose=None, channel=None), question(one), campaign=campaign
    )

    found = await remembered(installed, campaign)
    hashes = [await hashed(installed, person) for person in (one, other)]
    of_first = {(row["hash"].hex(), row["purpose"], row["reason"]) for row in found if row["question"] == 0}
    assert of_first == {
        (hash_, purpose, reason)
        for hash_ in hashes
        for purpose, reason in (("newsletter", "NO_ADDRESS"), ("invoice", "NO_ADDRESS"), ("week", "NO_ADDRESS"))
    }
    assert [row["purpose"] for row in found if row["question"] == 1] == ["newsletter"]


async def test_what_stands_under_no_key_is_not_kept(
    api: Api, installed: Installation, address: Address, campaign: str
) -> None:
    await api.ask(question(address(), controller="nobody"), question("no address"), campaign=campaign)

    found = await remembered(installed, campaign)

    assert [(row["reason"], row["hash"], row["type"]) for row in found] == [
        ("UNKNOWN_CONTROLLER", None, None),
        ("NO_ADDRESS", None, None),
    ]


async def test_no_answer_is_given_that_cannot_be_remembered(
    api: Api, installed: Installation, address: Address, campaign: str
) -> None:
    await installed.fetch(
        "ALTER TABLE campaign_answer ADD CONSTRAINT full_disk CHECK (reason <> 'CONSENT_ABSENT') NOT VALID"
    )
    try:
        refused = await api.ask(question(address()), campaign=campaign)
    finally:
        await installed.fetch("ALTER TABLE campaign_answer DROP CONSTRAINT full_disk")
    without = await api.ask(question(address()))

    assert (refused.status_code, without.status_code) == (500, 200)
    assert await installed.fetch("SELECT FROM campaign_request WHERE campaign = $1", campaign) == []


async def test_a_request_that_is_tried_again_is_remembered_once(installed: Installation, campaign: str) -> None:
    answer = campaigns.Answer(
        question=0, controller="shop-be", type="email", hash=b"h", purpose="newsletter", channel="email", at=None,
        allow=False, reason="CONSENT_ABSENT", shard=None, pos=None,
    )  # fmt: skip
    request = campaigns.Request(uuid.uuid4(), campaign, "key", None, None, [answer])
    connection = await connect(installed.settings.dsn, "consent_api")
    try:
        for _ in range(2):
            await campaigns.remember(connection, request)
    finally:
        await connection.close()

    assert len(await remembered(installed, campaign)) == 1


async def test_a_campaign_is_not_asked_about_as_of_the_past(api: Api, address: Address, campaign: str) -> None:
    answer = await api.ask(question(address()), campaign=campaign, as_of="2026-01-01T00:00:00Z")

    assert answer.status_code == 422


async def test_a_question_without_a_campaign_leaves_no_trace(
    api: Api, installed: Installation, address: Address
) -> None:
    before = await installed.fetch("SELECT count(*) FROM campaign_answer")

    await api.decide(question(address()))

    assert await installed.fetch("SELECT count(*) FROM campaign_answer") == before


@pytest.mark.parametrize("role", ["consent_api", "consent_operator", "consent_viewer"])
@pytest.mark.parametrize("table", ["campaign_request", "campaign_answer"])
@pytest.mark.parametrize("change", ["UPDATE {} SET controller = controller", "DELETE FROM {}", "TRUNCATE {}"])
async def test_nobody_who_serves_may_change_what_is_remembered(
    installed: Installation, role: Any, table: str, change: str
) -> None:
    connection = await connect(installed.settings.dsn, role)
    statement = change.format(table).replace("controller", "campaign" if table == "campaign_request" else "controller")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_answers_are_deleted_when_their_time_is_over_and_not_before(
    api: Api, installed: Installation, address: Address, campaign: str
) -> None:
    await api.ask(question(address()), question(address()), campaign=campaign)
    settings = installed.settings.model_copy(update={"campaign_retention": "P30D"})

    async def left_after(days: float) -> tuple[int, int]:
        clock = installed.clock.__class__(datetime.now(UTC) + timedelta(days=days))
        connection = await connect(settings.dsn, "consent_retention")
        try:
            retention = Retention(settings, installed.keks, clock, connection)
            report = await retention.run()
            await retention.close(report)
        finally:
            await connection.close()
        return report.counts.campaign_answers, len(await remembered(installed, campaign))

    before, after = await left_after(29.9), await left_after(30.1)

    assert before == (0, 2)
    assert after[0] >= 2
    assert after[1] == 0


@pytest.mark.parametrize("text", ["a year", "-P1D", "P1.3M", ""])
def test_a_time_of_keeping_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="campaign_retention"):
        Settings(campaign_retention=text)


def test_an_instant_before_another_is_found_by_the_calendar() -> None:
    leap_day = datetime(2028, 2, 29, tzinfo=UTC)

    assert durations.before(leap_day, "P1Y") == datetime(2027, 2, 28, tzinfo=UTC)
    assert durations.before(leap_day, "P1MT1H") == datetime(2028, 1, 28, 23, tzinfo=UTC)
    assert durations.before(leap_day, "P9000Y") == datetime.min.replace(tzinfo=UTC)
