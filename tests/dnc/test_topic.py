"""What readers of the topic learn of a do-not-call register: its date, behind every answer that a snapshot changes.

Seen to fail:
- a stored yes answered over HTTP without a look at the register;
- the age of the snapshot kept in stored decisions;
- dossiers of changed numbers not decided again;
- no sweep at the first snapshot;
- the date told before the answers;
- the date not closed meanwhile;
- dates not told again after a register load.
"""

from datetime import datetime, timedelta

import pytest

from consent_ledger.domain.suppression import call_register_state
from consent_ledger.relay.reconcile import reconcile
from consent_ledger.viewer import app, calls
from dnc.line import NOW, Line, ago, document, load, number


def days(count: int) -> timedelta:
    return timedelta(days=count)


async def test_a_yes_names_the_register_instead_of_carrying_its_date(line: Line) -> None:
    customer = number()
    await line.api.recorded(line.served(customer, at=ago(days=90)))
    await line.imported(at=ago(days=2))

    await line.published()

    record = await line.on_topic(customer)
    assert record is not None
    assert record["decisions"]["calls"]["phone"] == {
        "allow": True, "reason": "LEGITIMATE_INTEREST", "reasons": ["LEGITIMATE_INTEREST"], "needs_dnc": line.register,
    }  # fmt: skip
    for q in range(line.home.settings.partitions):
        (date,) = await line.dates(q)
        assert date["register"] == line.register
        assert datetime.fromisoformat(date["snapshot_at"]) == NOW - days(2)
        assert datetime.fromisoformat(date["valid_until"]) == NOW + days(5)


async def test_a_new_snapshot_renews_the_date_and_the_records_of_numbers_whose_listing_changed(line: Line) -> None:
    coming, going, staying, free = (number() for _ in range(4))
    await line.api.recorded(*[line.served(one, at=ago(days=90)) for one in (coming, going, staying, free)])
    await line.imported(going, staying, at=ago(days=5))
    await line.published()
    before = [await line.on_topic(one) for one in (coming, going, staying, free)]

    await line.imported(coming, staying, at=ago(days=1))
    await line.published()

    after = [await line.on_topic(one) for one in (coming, going, staying, free)]
    assert [record["decisions"]["calls"]["phone"]["reason"] for record in after if record] == [
        "DNC_LISTED", "LEGITIMATE_INTEREST", "DNC_LISTED", "LEGITIMATE_INTEREST",
    ]  # fmt: skip
    assert [then == now for then, now in zip(before, after, strict=True)] == [False, False, True, True]
    for q in range(line.home.settings.partitions):
        assert [datetime.fromisoformat(date["snapshot_at"]) for date in await line.dates(q)] == [
            NOW - days(5), NOW - days(1),
        ]  # fmt: skip


async def test_a_fresh_snapshot_that_changes_nothing_needs_no_new_record(line: Line) -> None:
    customer = number()
    await line.imported(at=ago(days=10))
    await line.api.recorded(line.served(customer, at=ago(days=90)))
    await line.published()
    while_stale = await line.on_topic(customer)

    await line.imported(at=ago(days=1))
    await line.published()

    assert while_stale is not None
    assert while_stale["decisions"]["calls"]["phone"]["allow"] is True
    assert await line.on_topic(customer) == while_stale
    valid_until = [datetime.fromisoformat(date["valid_until"]) for date in await line.dates()]
    assert valid_until == [NOW - days(3), NOW + days(6)]


async def test_no_yes_counts_from_the_commit_of_a_snapshot_until_all_its_answers_are_written(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_DUE_MAX", 1)
    said: list[datetime] = []

    def noted(snapshot_at: datetime, valid_until: datetime) -> bytes:
        said.append(valid_until)
        return call_register_state(snapshot_at, valid_until)

    listed = [number() for _ in range(3)]
    await line.api.recorded(*[line.served(one, at=ago(days=90)) for one in listed])
    await line.imported(at=ago(days=5))
    await line.published()

    monkeypatch.setattr(calls, "call_register_state", noted)
    await line.imported(*listed, at=ago(days=1))
    await line.published()

    assert said[0] <= datetime.now(NOW.tzinfo)
    assert said[-1] == NOW + days(6)
    versions = sorted([record["version"] for one in listed if (record := await line.on_topic(one))])
    for q in range(line.home.settings.partitions):
        dates = [(datetime.fromisoformat(one["valid_until"]), one["version"]) for one in await line.dates(q)]
        # Readers see each date or a later one, so those in between may never stand on the topic.
        assert dates[-1][0] == NOW + days(6)
        assert versions[2] < dates[-1][1]
        assert [version for until_, version in dates if until_ == NOW + days(6)] == [dates[-1][1]]


async def test_a_stored_yes_is_not_answered_once_the_number_is_listed(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = number()
    await line.api.recorded(line.served(customer, at=ago(days=90)))
    await line.imported(at=ago(days=5))
    await line.published()

    # No answer is made again as long as this holds.
    with monkeypatch.context() as patched:
        patched.setattr(app, "_DUE_MAX", 0)
        await line.imported(customer, at=ago(days=1))
        answer = await line.reason(customer)
        rows = await line.home.fetch("SELECT decisions FROM view WHERE hash = $1", await line.hash_of(customer))

    assert b"LEGITIMATE_INTEREST" in rows[0]["decisions"]
    assert answer == "DNC_LISTED"


async def test_a_shorter_life_of_snapshots_is_told_at_once(line: Line) -> None:
    await line.imported(at=ago(days=2))
    await line.published()

    await load(line, document(line.register, line.controllers, "P3D"))
    await line.decide(number())
    await line.published()

    assert datetime.fromisoformat((await line.dates())[-1]["valid_until"]) == NOW + days(1)


async def test_topic_and_view_agree_on_the_dates(line: Line) -> None:
    await line.imported(number(), at=ago(days=2))
    await line.published()

    report = await reconcile(line.home.settings, line.home.keks)

    assert report.agrees
    assert report.checked >= line.home.settings.partitions
