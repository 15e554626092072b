"""A campaign runs while people refuse, and nobody is mailed once the tool's copy has their refusal.

What the copy could have known goes by its own order: a mail is too late if the refusal was applied before the gate was
asked. CONSENT_TEST_CAMPAIGN sets the number of recipients.

Seen to fail: a gate that answers for somebody else; a recheck that passes over changes; the position of a
recheck taken after its answers.
"""

import asyncio
import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from client.conftest import PARTITIONS, Topic
from client.topic import KEY, SHOP, Clock, address, no, purposes, watermark, yes
from consent_ledger.client import Gate, SuppressionView
from consent_ledger.domain.suppression import Answer
from consent_ledger.runtime.topics import partition_of
from running import until

RECIPIENTS = int(os.environ.get("CONSENT_TEST_CAMPAIGN", "20000"))
WAVES = 20
REFUSING = RECIPIENTS // 10 // WAVES
CHUNKS = 5
YES = {"newsletter": {"email": yes()}}
NO = {"newsletter": {"email": no("CONSENT_WITHDRAWN")}}

Campaign = Callable[[Gate, "Mailbox", Sequence[str]], Iterator[None]]


class Mailbox:
    """Everybody who was mailed, each with how many changes the copy had applied before the gate was asked."""

    def __init__(self, view: SuppressionView) -> None:
        self._view = view
        self._lock = threading.Lock()
        self.sent: list[tuple[str, int]] = []

    def known(self) -> int:
        """How many changes the copy has applied."""
        with self._view.copy().reading() as reading:
            return reading.head().changes

    def send(self, address: str, known: int) -> None:
        with self._lock:
            self.sent.append((address, known))


def asking_for_each(gate: Gate, mailbox: Mailbox, people: Sequence[str]) -> Iterator[None]:
    """Ask right before each mail; yields between the waves of refusals."""
    for some in _parts(people, WAVES):
        for person in some:
            known = mailbox.known()
            if gate.check(person):
                mailbox.send(person, known)
        yield


def rechecking(gate: Gate, mailbox: Mailbox, people: Sequence[str]) -> Iterator[None]:
    """Ask for all, and again before each chunk for those who have changed; yields between the waves of refusals."""
    allowed = gate.filter(people)
    for part in _parts(allowed.addresses, WAVES):
        for some in _parts(part, CHUNKS):
            known = mailbox.known()
            allowed = gate.recheck(allowed)
            still = set(allowed.addresses)
            for person in some:
                if person in still:
                    mailbox.send(person, known)
        yield


def _parts(people: Sequence[str], count: int) -> Iterator[Sequence[str]]:
    size = -(-len(people) // count)
    return (people[start : start + size] for start in range(0, size * count, size))


async def _publish(
    topic: Topic, people: Sequence[str], answers: Mapping[str, Mapping[str, Answer]], version: int
) -> None:
    records = [address(person, answers, version=version) for person in people]
    await topic.publish_at(*((partition_of(key, PARTITIONS), key, value) for key, value in records))


def _applied_at(view: SuppressionView, after: int, refused: Sequence[str]) -> dict[str, int]:
    """The number of the change by which the copy came to know of each refusal."""
    with view.copy().reading() as reading:
        order = {hash_: number for number, hash_ in enumerate(reading.changes(after), after + 1)}
    return {person: order[KEY.hash("email", person)] for person in refused}


@pytest.mark.parametrize("campaign", [asking_for_each, rechecking])
async def test_nobody_is_mailed_once_the_copy_has_their_refusal(
    topic: Topic, tmp_path: Path, campaign: Campaign
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - a failure must be repeatable
    rng = random.Random(seed)
    people = [f"person-{number}@example.be" for number in range(RECIPIENTS)]
    await topic.publish(purposes())
    await _publish(topic, people, YES, 1)
    await topic.publish_everywhere([watermark()])
    refused = rng.sample(people, REFUSING * WAVES)
    async with SuppressionView(tmp_path, [KEY], topic.kafka, topic=topic.name, clock=Clock()) as view:
        await view.ready(60)
        mailbox, gate = Mailbox(view), Gate(view, SHOP, "newsletter", "email")
        before = mailbox.known()
        sending = [campaign(gate, mailbox, people[half::2]) for half in (0, 1)]
        for wave in range(WAVES):
            refusing = refused[wave * REFUSING : (wave + 1) * REFUSING]
            await asyncio.gather(
                _publish(topic, refusing, NO, 2), *(asyncio.to_thread(next, one, None) for one in sending)
            )

            async def is_applied(count: int = (wave + 1) * REFUSING) -> bool:
                return mailbox.known() >= before + count

            await until(is_applied)
        applied = _applied_at(view, before, refused)

    mailed = [person for person, _ in mailbox.sent]
    late = [person for person, known in mailbox.sent if applied.get(person, known + 1) <= known]
    assert late == []
    assert len(mailed) == len(set(mailed))
    assert set(people) - set(refused) <= set(mailed)
    # Else no refusal came while it ran.
    assert 0 < len(set(refused) - set(mailed)) < len(refused)
