"""Events as five companies' newsletters see them, published as fast as may be or at a steady rate."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any, Final, NamedTuple

from consent_ledger.domain.cloudevents import build
from consent_ledger.runtime.publish import Publisher, publishing
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import EVENTS


class Letter(NamedTuple):
    """A newsletter that rests on consent."""

    controller: str
    purpose: str


LETTERS: Final = (
    Letter("dekra-be", "newsletter-email"),
    Letter("socomec", "e-prospecting-consent"),
    Letter("vloet", "newsletter"),
    Letter("bechtle-ag", "newsletter"),
)
_BUCKETS: Final = 4096
_FORM: Final = "https://www.example.be/nl/nieuwsbrief/inschrijven?campagne=najaar-2026&variant=b#formulier"


class Backlog(NamedTuple):
    """How many events were published, and an instant at which Kafka held them all."""

    events: int
    published_at: datetime


class Refusal(NamedTuple):
    """A withdrawal to be published: by whom, of which newsletter."""

    letter: Letter
    address: str


def random_events(events: int, people: int, seed: int = 7) -> Iterator[tuple[bytes, bytes]]:
    """Make key and value of events: eight in ten are consents, the rest withdrawals, objections and erasures."""
    random = Random(seed)
    for number in range(events):
        letter, person = random.choice(LETTERS), random.randrange(people)
        address, fate = f"person{person}@example.be", random.random()
        if fate < 0.80:
            value = consent(letter, address, number)
        elif fate < 0.92:
            value = withdrawal(letter, address)
        elif fate < 0.98:
            value = objection(letter, address)
        else:
            value = _event("erasure-requested", letter, address, received_via="web-form")
        yield _key(person), value


def consent(letter: Letter, address: str, number: int) -> bytes:
    """Make a consent that counts."""
    evidence = {"text_id": f"{letter.purpose}-nl", "text_version": 3, "ref": f"{_FORM}-{number:012}"}
    return _event(
        "consent-given",
        letter,
        address,
        purposes=[letter.purpose],
        channels=["email"],
        origin="data-subject",
        mechanism="unticked-checkbox",
        evidence=evidence,
        country="BE",
        age={"declared_min_age": 18},
        ip=f"192.0.2.{number % 256}",
    )


def withdrawal(letter: Letter, address: str) -> bytes:
    """Make the withdrawal of a consent."""
    return _event(
        "consent-withdrawn",
        letter,
        address,
        purposes=[letter.purpose],
        channels=["email"],
        received_via="list-unsubscribe",
    )


def objection(letter: Letter, address: str) -> bytes:
    """Make an objection to direct marketing."""
    return _event("objection-raised", letter, address, kind="direct-marketing", received_via="preference-centre")


def _event(type: str, letter: Letter, address: str, **fields: Any) -> bytes:
    data = {"controllers": [letter.controller], "subject": [{"type": "email", "value": address}], **fields}
    return build(type, f"web:{letter.controller}", datetime.now(UTC), data)


def _key(person: int) -> bytes:
    return f"{person % _BUCKETS:03x}".encode()


async def publish_all(settings: Settings, events: int, people: int) -> tuple[Backlog, int]:
    """Publish random events; return also their mean size in bytes."""
    size = 0
    async with publishing(settings.kafka(), f"{settings.topic_prefix}{EVENTS}") as publisher:
        for key, value in random_events(events, people):
            size += len(value)
            await publisher.send(key, value)
        await publisher.flush()
    return Backlog(events, datetime.now(UTC)), size // events


def refusals(count: int, name: str) -> list[Refusal]:
    """Name people of their own for a measurement, spread over the newsletters."""
    return [Refusal(LETTERS[number % len(LETTERS)], f"{name}-{number}@example.be") for number in range(count)]


async def publish_consents(publisher: Publisher, people: list[Refusal]) -> None:
    """Publish the consents that will be withdrawn."""
    for number, (letter, address) in enumerate(people):
        await publisher.send(_key(number), consent(letter, address, number))
    await publisher.flush()


async def publish_refusals(publisher: Publisher, people: list[Refusal], rate: float) -> dict[Refusal, float]:
    """Publish withdrawals at random moments, so many a second on average; return when each was published.

    The times are those of `time.perf_counter` at which each was handed over, whatever came of those before.
    """
    random, sent, due = Random(11), {}, time.perf_counter()
    for number, refusal in enumerate(people):
        due += random.expovariate(rate)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        value = withdrawal(*refusal)
        sent[refusal] = time.perf_counter()
        await publisher.send(_key(number), value)
    await publisher.flush()
    return sent
