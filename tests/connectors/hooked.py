"""A webhook connector whose source, endpoint and clock are the test's own."""

from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime

from consent_ledger.client.copy import Place
from consent_ledger.connectors.runner import Acknowledging, Batch, Runner
from consent_ledger.connectors.state import Item, State
from consent_ledger.connectors.webhook.connector import WebhookConnector
from consent_ledger.connectors.webhook.line import item_of
from consent_ledger.domain.webhook import Letter

URL = "https://hooks.example.be/consent"
DAY = 24 * 3600
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLACES = [Place(instant=1), Place(instant=2), Place(instant=3)]


class Passing:
    """A clock on which every look takes a while."""

    def __init__(self, seconds: float = 20.0) -> None:
        self.now = NOON.timestamp()
        self.seconds = seconds

    def __call__(self) -> float:
        self.now += self.seconds
        return self.now


class Source:
    """Gives each batch once, and then nothing."""

    def __init__(self, *batches: Sequence[Item]) -> None:
        self._batches = batches

    async def batches(self, place: bytes | None) -> AsyncGenerator[Batch, None]:
        for number, items in enumerate(self._batches):
            if place is None or int(place) < number:
                yield Batch(items, str(number).encode(), PLACES)
        while True:
            yield Batch(places=PLACES, last=True)


class Endpoint:
    """Takes messages, or fails as the test says of a body."""

    def __init__(
        self, answer: Callable[[str], None] = lambda _: None, clock: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.taken: list[str] = []
        self.attempts: list[tuple[str, float]] = []
        self.answer = answer
        self._clock = clock

    async def send(self, id_: str, body: bytes) -> None:
        assert id_.startswith("msg_")
        self.attempts.append((body.decode(), self._clock()))
        self.answer(body.decode())
        self.taken.append(body.decode())


def item(name: str, *, lane: str | None = None, number: int = 1, partition: int = 0) -> Item:
    key = name.rstrip("0123456789") if lane is None else name
    letter = Letter(key, lane or key, number, name.encode(), refusal=True)
    return item_of(letter, (partition,))


async def run(
    state: State, endpoint: Endpoint, clock: Passing, *batches: Sequence[Item], acks: Acknowledging | None = None
) -> WebhookConnector:
    connector = WebhookConnector("hook", Source(*batches), state, endpoint, url=URL, clock=clock, rest=0)
    await Runner("hook", connector, state, acknowledger=acks).run(once=True)
    return connector


def failing(error: Exception, *bad: str, times: int = 10**9) -> Callable[[str], None]:
    left = dict.fromkeys(bad, times)

    def answer(body: str) -> None:
        if left.get(body, 0) > 0:
            left[body] -= 1
            raise error

    return answer
