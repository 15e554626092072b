"""The ways by which a publisher delivers events: onto Kafka, or through the HTTP intake."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import httpx
import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from consent_ledger.client.renewed import RenewedProducer
from consent_ledger.domain import events
from consent_ledger.domain.bucket import key_of
from consent_ledger.domain.cloudevents import BATCH, STRUCTURED
from consent_ledger.domain.errors import ConsentError

_REQUEST_SECONDS: Final = 30.0
_TOO_LARGE: Final = 413
_LINGER_MS: Final = 5


class OutOfReachError(ConsentError):
    """Nothing can be delivered at the moment; the same events are sent again later. `after`: seconds, if said."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


class Transport(Protocol):
    """A way to the ledger."""

    async def send(self, batch: Sequence[bytes]) -> list[str | None]:
        """Deliver structured events; say for each why it was refused for good, None if it was taken.

        Raises `OutOfReachError`; some may have been taken then, and are sent again, which is harmless.
        """

    async def close(self) -> None:
        """Let go of connections."""


class KafkaTransport:
    """Onto the events topic. `kafka` holds the arguments of any aiokafka client."""

    def __init__(self, kafka: Mapping[str, Any], *, topic: str = "consent.events") -> None:
        self._producer = RenewedProducer(dict(kafka), linger_ms=_LINGER_MS)
        self._topic = topic

    async def send(self, batch: Sequence[bytes]) -> list[str | None]:
        """Return once every in-sync replica has the events."""
        producer = None
        try:
            producer = await self._producer.started()
            under_way = [await self._hand_over(producer, event) for event in batch]
            return [sent if isinstance(sent, str) else await _taken(sent) for sent in under_way]
        except (KafkaError, OSError) as error:
            await self._producer.discard(producer)
            raise OutOfReachError(type(error).__name__) from error

    async def close(self) -> None:
        """Stop the producer."""
        await self._producer.close()

    async def _hand_over(self, producer: AIOKafkaProducer, event: bytes) -> Any:
        said = events.decode(None, event, ())
        if isinstance(said, events.Rejection):
            return said.reason
        key = key_of(said[0] if isinstance(said, tuple) else said)
        try:
            return await producer.send(self._topic, event, key, headers=[("content-type", STRUCTURED.encode())])
        except MessageSizeTooLargeError:
            return "TOO_LARGE"


async def _taken(sent: Any) -> str | None:
    try:
        await sent
    except MessageSizeTooLargeError:
        return "TOO_LARGE"
    return None


class HttpTransport:
    """Through `POST /v1/events` of the service at `url`, with an API key of scope `publish`."""

    def __init__(self, url: str, api_key: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {api_key}"}, timeout=_REQUEST_SECONDS
        )

    async def send(self, batch: Sequence[bytes]) -> list[str | None]:
        """Return once the service has put the events on Kafka."""
        try:
            answer = await self._client.post(
                "/v1/events", content=b"[" + b",".join(batch) + b"]", headers={"Content-Type": BATCH}
            )
        except httpx.HTTPError as error:
            raise OutOfReachError(type(error).__name__) from error
        if answer.status_code == _TOO_LARGE:
            return await self._send_halves(batch)
        if answer.status_code in {400, 422}:
            # One event that cannot be read must not hold up the others.
            return [_problem(answer)] if len(batch) == 1 else await self._send_halves(batch)
        if answer.status_code != httpx.codes.ACCEPTED:
            raise OutOfReachError(f"status {answer.status_code}", _retry_after(answer))
        refused = {one["index"]: str(one["problem"]["title"]) for one in answer.json()["rejected"]}
        return [refused.get(index) for index in range(len(batch))]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _send_halves(self, batch: Sequence[bytes]) -> list[str | None]:
        if len(batch) == 1:
            return ["TOO_LARGE"]
        middle = len(batch) // 2
        return [*await self.send(batch[:middle]), *await self.send(batch[middle:])]


def _problem(answer: httpx.Response) -> str:
    try:
        return str(msgspec.json.decode(answer.content)["title"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        return f"status {answer.status_code}"


def _retry_after(answer: httpx.Response) -> float | None:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdigit() else None
