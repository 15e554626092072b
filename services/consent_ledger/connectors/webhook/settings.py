"""The table of a webhook connector, and what an operator does to its endpoint."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from aiokafka import ConsumerRecord
from msgspec import Meta

from consent_ledger.client.acknowledger import Acknowledger, instance_of
from consent_ledger.connectors.records import Read, Records
from consent_ledger.connectors.settings import BadConfigurationError, Kind, Name, Opened, Positive, Process
from consent_ledger.connectors.state import Item, State
from consent_ledger.connectors.webhook.compare import Comparison
from consent_ledger.connectors.webhook.connector import OPEN, UNREADABLE, WebhookConnector
from consent_ledger.connectors.webhook.line import Delivery, Line, item_of
from consent_ledger.connectors.webhook.sender import TIMEOUT_SECONDS, Sender, new_secret
from consent_ledger.domain.webhook import Record, Scope, UnreadableError, of_change, of_suppression

_URL: Final = "^https?://[^@#]+$"
OVERLAP_SECONDS: Final = 24 * 3600.0


class WebhookTable(Kind, frozen=True, kw_only=True, tag_field="kind", tag="webhook"):
    """`url`: of the endpoint; https, unless `allow_private`, which lets it be in this network too.

    `controllers`, `purposes`, `channels`: what it is told of; of the latter none named means all. `topic`: the
    decisions about each address, acknowledged, or what was learnt of each person. `rate`: messages a second at most.
    `ca_file`: who vouches for the endpoint, instead of the public authorities.
    """

    url: Annotated[str, Meta(pattern=_URL)]
    controllers: Annotated[tuple[Name, ...], Meta(min_length=1)]
    purposes: tuple[Name, ...] = ()
    channels: tuple[Name, ...] = ()
    topic: Literal["suppressions", "changes"] = "suppressions"
    rate: Positive = 50.0
    timeout: Positive = TIMEOUT_SECONDS
    allow_private: bool = False
    ca_file: Name | None = None

    def __post_init__(self) -> None:
        if not self.allow_private and not self.url.startswith("https://"):
            raise ValueError("an endpoint that others may listen to needs https")

    @asynccontextmanager
    async def opened(self, name: str, process: Process, state: State, *, dry: bool) -> AsyncIterator[Opened]:
        """See `Kind`."""
        line = Line(state.connection)
        if not dry and state.facts().get("proved") != self.url:
            raise BadConfigurationError(f"this endpoint was never proved: consent connector webhook challenge {name}")
        sender = self.sender(line)
        would: list[str] = []
        try:
            connector = WebhookConnector(
                name, self._records(process), state, sender, url=self.url, would=would if dry else None
            )
            acknowledger = None if dry or self.topic != "suppressions" else Acknowledger(
                process.kafka, topic=f"{process.prefix}acks", consumer=name, instance=instance_of(state.directory)
            )  # fmt: skip
            yield Opened(connector, acknowledger, would, Comparison(self._records(process), line, state, dry=dry))
        finally:
            await sender.close()

    def sender(self, line: Line, clock: Callable[[], float] = time.time) -> Sender:
        """Make what speaks to the endpoint. Raises `BadConfigurationError`, OSError."""
        if not line.secrets(clock()):
            raise BadConfigurationError("this endpoint has no secret: consent connector webhook secret NAME")
        return Sender(
            self.url, lambda: line.secrets(clock()), rate=self.rate, allow_private=self.allow_private,
            ca_file=self.ca_file, timeout=self.timeout, clock=clock,
        )  # fmt: skip

    def _records(self, process: Process) -> Records:
        is_changes = self.topic == "changes"
        return Records(process.kafka, f"{process.prefix}{self.topic}", self.read(), committed=is_changes)

    def read(self) -> Read:
        """Make what makes messages of records."""
        scope = Scope(
            controllers=frozenset(self.controllers),
            purposes=frozenset(self.purposes),
            channels=frozenset(self.channels),
        )
        is_changes = self.topic == "changes"
        make = of_change if is_changes else of_suppression

        def read(found: ConsumerRecord) -> Item | None:
            if found.key is None or found.value is None:
                return None
            at = datetime.fromtimestamp(found.timestamp / 1000, UTC)
            partitions = () if is_changes else (found.partition,)
            try:
                letter = make(Record(found.key, found.value, found.partition, at), scope)
            except UnreadableError as error:
                key, why = f"{UNREADABLE}/{found.partition}/{found.offset}", f"not readable: {error}"
                return Item(key=key, value=why.encode(), partitions=partitions)
            return None if letter is None else item_of(letter, partitions)

        return read


def renew_secret(table: WebhookTable, overlap: float = OVERLAP_SECONDS, clock: Callable[[], float] = time.time) -> str:
    """Make a new secret and return it, this once; those before it sign beside it for so many seconds."""
    secret = new_secret()
    state = State(Path(table.state))
    try:
        Line(state.connection).renew(secret, clock(), overlap)
    finally:
        state.close()
    return secret


async def challenge(table: WebhookTable, clock: Callable[[], float] = time.time) -> bool:
    """Have the endpoint prove that it holds the secret; if it does, it is told from now on, and again after a 410.

    Raises the errors of `outcome`, `BadConfigurationError`, OSError.
    """
    state = State(Path(table.state))
    try:
        sender = table.sender(Line(state.connection), clock)
        try:
            proved = await sender.prove()
        finally:
            await sender.close()
        if proved:
            state.note(proved=table.url, endpoint=OPEN)
        return proved
    finally:
        state.close()


def delivery_log(table: WebhookTable, limit: int) -> Sequence[Delivery]:
    """Return the newest attempts, the newest last."""
    state = State(Path(table.state))
    try:
        return Line(state.connection).log(limit)
    finally:
        state.close()
