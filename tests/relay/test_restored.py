"""After a restore the topic is ahead of the view: what is published then counts, and loosens nothing that was lost.

Seen to fail: versions not raised; records only sent again, under the version they had; a refusal that the ledger lost
overwritten by the yes that it was restored to; an erasure on the topic overlooked.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from consent_ledger.relay.lane import Lane, take_over
from consent_ledger.relay.reconcile import reconcile
from consent_ledger.relay.records import Records
from consent_ledger.relay.restored import Comparison, compare, raise_versions
from consent_ledger.store import relay
from relay.stage import Stage, addresses, own, versions
from relay.test_reconcile import publish, smuggle

pytestmark = pytest.mark.usefixtures("never_due")

YES, NO = own(allow=True, reason="CONSENT"), own(allow=False, reason="CONSENT_WITHDRAWN")


@pytest.fixture
async def owner(stage: Stage) -> AsyncIterator[Lane]:
    """The owner of the first partition; the second stays empty."""
    connection = await relay.connect(stage.settings.dsn)
    lane = await take_over(stage.settings, connection, Records(stage.keks), qs=[0], owner="relay")
    assert lane is not None
    yield lane
    await lane.producer.drop()
    connection.terminate()


async def published(stage: Stage, number: int) -> dict[str, Any]:
    """The record of an address as the topic has it."""
    found = [value for key, value in addresses(await stage.read(0)) if key == stage.key_of(number)]
    return dict(found[-1])


async def said_before(stage: Stage, number: int, version: int, content: bytes) -> None:
    """Let the topic have a record that the restored view knows nothing of."""
    record = {**await published(stage, number), "version": version, "decisions": json.loads(content)}
    await smuggle(stage, stage.key_of(number), json.dumps(record).encode())


async def looked(stage: Stage, *, lift: bool = True) -> Comparison:
    return await compare(stage.settings, stage.keks, patience_seconds=0.2, lift=lift)


async def test_what_is_refused_after_a_restore_reaches_readers(stage: Stage, owner: Lane) -> None:
    (number,) = stage.numbers_on(0, 1)
    await stage.put([number], own=NO)
    await publish(owner)
    await said_before(stage, number, 900, YES)

    assert await raise_versions(stage.settings) == (900, 900)
    await stage.put([number], own=NO)
    await publish(owner)

    assert versions(await stage.read(0), stage.key_of(number))[1:] == [900, 901]
    assert (await published(stage, number))["decisions"] == json.loads(NO)


async def test_versions_are_never_lowered(stage: Stage, owner: Lane) -> None:
    numbers = stage.numbers_on(0, 5)
    await stage.put(numbers)
    await publish(owner)

    highest, ours = await raise_versions(stage.settings)

    assert highest == ours == 5


async def test_what_the_topic_allowed_too_long_is_published_anew(stage: Stage, owner: Lane) -> None:
    stale, same = stage.numbers_on(0, 2)
    await stage.put([stale, same], own=NO)
    await publish(owner)
    await said_before(stage, stale, 50, YES)
    await raise_versions(stage.settings)

    seen, done = await looked(stage, lift=False), await looked(stage)
    await publish(owner)

    assert seen == done == Comparison(lifted=1)
    assert (await published(stage, stale))["version"] == 51
    assert (await published(stage, stale))["decisions"] == json.loads(NO)
    assert (await reconcile(stage.settings, stage.keks)).agrees
    assert await looked(stage) == Comparison()


async def test_a_refusal_that_the_ledger_has_lost_is_not_overwritten(stage: Stage, owner: Lane) -> None:
    (number,) = stage.numbers_on(0, 1)
    await stage.put([number], own=YES)
    await publish(owner)
    await said_before(stage, number, 50, NO)
    await raise_versions(stage.settings)

    found = await looked(stage)
    await publish(owner)

    assert found == Comparison(withheld=[stage.key_of(number).decode()])
    assert not found.agrees
    assert (await published(stage, number))["decisions"] == json.loads(NO)


async def test_erasures_that_the_ledger_has_lost_are_named(stage: Stage, owner: Lane) -> None:
    known, lost = stage.numbers_on(0, 2)
    await stage.put([known], own=NO)
    await publish(owner)
    erased = own(allow=False, reason="ERASED")
    await said_before(stage, known, 50, erased)
    unknown = {**await published(stage, known), "version": 51}
    await smuggle(stage, stage.key_of(lost), json.dumps(unknown).encode())

    found = await looked(stage, lift=False)

    assert sorted(found.erased) == sorted([stage.key_of(known).decode(), stage.key_of(lost).decode()])
    assert found.unexpected == [stage.key_of(lost).decode()]
