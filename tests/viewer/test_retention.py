"""A run of retention on real servers: what goes, what stays, and that no refusal is ever among what goes.

Seen to fail: index rows left; facts left in the dossier; addresses not noted, or still led to a dossier; a run under a
register that has gone; figures not kept with the place; quarantined records deleted that nobody has published; files
of requests deleted before their time. A hold not asked after for consents; for files of requests; its lifting ignored.
Reviewed: what was made less than a year ago, what is no refusal, and ages by the number of the year alone.
"""

import itertools
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from builders import email, event, given, held, objected, withdrawn
from consent_ledger.domain import register as registers
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import retention as store
from consent_ledger.store import view
from consent_ledger.viewer.rebuild import Rebuild
from consent_ledger.viewer.retention import Retention
from running import Installation, installation
from viewer.asking import REGISTER, answers, hashed, reason
from viewer.retaining import count, rows_of, run

Address = Callable[[], str]
FIRST = datetime(2020, 3, 2, 10, tzinfo=UTC)


class Past(NamedTuple):
    """People of six years ago, each named for what became of the consent."""

    home: Installation
    withdrew: str
    linked: tuple[str, str]
    unconfirmed: str
    consents: str
    objected: str
    request: str
    quiet: tuple[str, str]


@asynccontextmanager
async def past(kafka: str, postgres: str, template: str, path: Path, address: Address) -> AsyncIterator[Past]:
    """An installation in which all this was recorded in 2020, and in which it is today now."""
    withdrew, work, private, unconfirmed, consents, object_, quiet, old = (address() for _ in range(8))
    request = str(uuid.uuid4())
    time = FIRST.isoformat()
    later = (FIRST + timedelta(days=1)).isoformat()
    async with installation(kafka, postgres, template, path, lease_seconds=1) as made:
        made.clock.instant = FIRST
        async with (
            made.at_work(REGISTER) as recorder,
        ):
            said = [
                given(email(withdrew), time=time),
                given(email(work), email(private), time=time),
                given(email(unconfirmed), time=time, purposes=["club"]),
                given(email(consents), time=time),
                event("contact-recorded", controllers=["shop-be"], subject=[email(quiet)], initiated_by="subject",
                      kind="click", time=time),
                event("identifiers-linked", controllers=["shop-be"], subject=[email(quiet), email(old)], time=time),
                event("request-received", request_id=request, article="15", controllers=["shop-be"],
                      subject=[email(withdrew)], time=time),
            ]  # fmt: skip
            await made.recorded(*[await made.publish(one) for one in said], service=recorder)
            published, not_yet = [await made.publish(b"{", shard=2) for _ in range(2)]
            await made.recorded(published, not_yet, service=recorder)
            await made.fetch("INSERT INTO rejected_cursor VALUES (2, $1)", not_yet.offset)
            made.clock.instant = FIRST + timedelta(days=1)
            said = [
                withdrawn(email(withdrew), time=later),
                withdrawn(email(work), time=later),
                objected(email(object_), time=later),
                event("request-answered", request_id=request, article="15", controllers=["shop-be"], time=later,
                      entered_by="staff:jan"),
            ]  # fmt: skip
            await made.recorded(*[await made.publish(one) for one in said], service=recorder)
            made.clock.instant = None
            assert await reason(made, withdrew) == "CONSENT_WITHDRAWN"
            yield Past(made, withdrew, (work, private), unconfirmed, consents, object_, request, (quiet, old))


@pytest.fixture(scope="module")
async def people(
    kafka: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Past]:
    numbers = iter(range(100))
    path = tmp_path_factory.mktemp("retention")
    async with past(kafka, postgres, template, path, lambda: f"past{next(numbers)}@example.be") as made:
        yield made


async def test_a_dry_run_counts_and_deletes_nothing(people: Past) -> None:
    before = [await rows_of(people.home, kind) for kind in ("consent-given", "request-received")]

    report = await count(people.home)

    assert report.id is None
    assert report.counts.consents == {"shop-be/club": 1, "shop-be/newsletter": 2}
    assert [await rows_of(people.home, kind) for kind in ("consent-given", "request-received")] == before


async def test_refusals_are_due_for_review_a_year_after_they_were_made(people: Past) -> None:
    """On the same instant of the calendar, for each controller that they reach, and nothing else is."""
    connection = await connect(people.home.settings.dsn, "consent_retention")
    made = FIRST + timedelta(days=1)
    try:
        before = await store.review(connection, made.replace(year=2021) - timedelta(microseconds=1))
        due = await store.review(connection, made.replace(year=2021))
        old = await store.review(connection, made.replace(year=2023) + timedelta(days=300))
    finally:
        await connection.close()

    assert before == []
    assert [(one.controller, one.type, one.years, one.entries, one.addresses, one.oldest) for one in due] == [
        ("shop-be", "consent-withdrawn", 1, 2, 2, made), ("shop-be", "objection-raised", 1, 1, 1, made),
        # A withdrawal may reach whoever shares the consent (C-129/21).
        ("shop-nl", "consent-withdrawn", 1, 2, 2, made), ("shop-nl", "objection-raised", 1, 1, 1, made),
    ]  # fmt: skip
    assert {one.years for one in old} == {3}


async def test_a_run_under_a_register_that_is_no_longer_in_force_deletes_nothing(
    people: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def old(made: Retention) -> None:
        made._register = registers.compile(REGISTER, 99)

    before = await rows_of(people.home, "consent-given")
    monkeypatch.setattr(Retention, "_use_register", old)

    with pytest.raises(view.FencedError):
        await run(people.home)

    assert await rows_of(people.home, "consent-given") == before


class CutOffError(Exception):
    """The machine went down."""


def cut_off_at(chunks: int) -> Callable[[int, int], None]:
    seen = itertools.count(1)

    def progress(_done: int, _every: int) -> None:
        if next(seen) == chunks:
            raise CutOffError

    return progress


async def test_whoever_is_under_a_hold_keeps_everything(people: Past) -> None:
    """Consent, index rows and the file of a request; and other people lose what they must."""
    home = people.home
    free = (await count(home)).counts
    hold = held(email(people.withdrew), time=datetime.now(UTC), reason=None)
    await home.recorded(await home.publish(hold))

    kept = (await count(home)).counts

    assert (free.payloads - kept.payloads, free.index_rows - kept.index_rows) == (4, 2)
    lifted = event("hold-lifted", controllers=["shop-be"], hold_id=hold["id"], time=datetime.now(UTC))
    await home.recorded(await home.publish(lifted))
    assert await reason(home, people.withdrew) == "CONSENT_WITHDRAWN"
    assert (await count(home)).counts == free


async def test_a_run_deletes_what_was_counted_and_every_refusal_stays(people: Past) -> None:
    home = people.home
    counted = (await count(home)).counts
    refusals = {kind: await rows_of(home, kind) for kind in ("consent-withdrawn", "objection-raised")}
    before = {one: await reason(home, one) for one in (*people.linked, people.consents, people.objected)}

    with pytest.raises(CutOffError):
        await run(home, chunk=1, progress=cut_off_at(2))
    done = await run(home, chunk=1)
    again = await run(home)

    assert done.counts == counted
    assert (counted.payloads, counted.index_rows, counted.kept, counted.quarantined) == (9, 6, 1, 1)
    assert again.id != done.id
    assert (again.counts.payloads, again.counts.index_rows, again.counts.quarantined) == (0, 0, 0)
    assert await rows_of(home, "consent-given") == (3, 1)
    assert [await rows_of(home, kind) for kind in ("contact-recorded", "identifiers-linked")] == [(0, 0), (0, 0)]
    withdrawals = refusals["consent-withdrawn"][0]
    assert {kind: await rows_of(home, kind) for kind in refusals} == {**refusals, "consent-withdrawn": (withdrawals, 0)}
    assert {one: await reason(home, one) for one in before} == before
    assert await reason(home, people.withdrew) == "CONSENT_WITHDRAWN"
    assert await reason(home, people.unconfirmed, purpose="club") == "CONSENT_ABSENT"
    assert {row["hash"] for row in await home.fetch("SELECT hash FROM forgotten WHERE controller = 'shop-be'")} == {
        await hashed(home, one) for one in (people.withdrew, people.unconfirmed, *people.quiet)
    }  # fmt: skip
    gone = await home.fetch("SELECT FROM ident WHERE hash = $1", await hashed(home, people.unconfirmed))
    assert gone == []


async def test_a_view_made_anew_after_a_run_says_the_same(people: Past) -> None:
    home = people.home
    await run(home)
    everyone = (people.withdrew, *people.linked, people.unconfirmed, people.consents, people.objected, *people.quiet)
    live = {one: await answers(home, one) for one in everyone}

    async with home.superuser.transaction():
        await home.superuser.execute("SELECT FROM view_head FOR UPDATE")
        await home.superuser.execute("TRUNCATE ident, dossier, waiting, view")
        await home.superuser.execute("UPDATE view_head SET applied = '{}'")

    assert {one: await answers(home, one) for one in everyone} == live


async def test_a_rebuild_after_a_run_finds_no_difference(people: Past) -> None:
    await run(people.home)

    report = await Rebuild(people.home.settings, people.home.keks, processes=1).run(swap=False)

    assert report.found == []
    assert report.differences == 0


async def test_after_a_run_the_address_can_consent_again(people: Past) -> None:
    await run(people.home)
    assert await reason(people.home, people.unconfirmed, purpose="newsletter") == "CONSENT_ABSENT"

    place = await people.home.publish(given(email(people.unconfirmed), time=datetime.now(UTC)))
    await people.home.recorded(place)

    assert await reason(people.home, people.unconfirmed) == "CONSENT"


async def test_a_refusal_that_comes_after_a_run_reaches_whoever_was_linked(people: Past) -> None:
    work, private = people.linked
    await run(people.home)

    await people.home.recorded(await people.home.publish(objected(email(work), time=datetime.now(UTC))))

    assert await reason(people.home, private) == "OBJECTION_DM"
