"""Opens a connector to a tool with contacts: its view, its index, the way to its interface and back to the ledger."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from consent_ledger.client import BadKeyError, HashKey, KafkaTransport, Publisher, SuppressionView, load_keys
from consent_ledger.client.acknowledger import Acknowledger, instance_of
from consent_ledger.client.local import MAX_STALENESS_SECONDS
from consent_ledger.connectors.contacts import NEWS_SECONDS, SWEEP_SECONDS, ContactConnector, Declared, Tool
from consent_ledger.connectors.http import Api
from consent_ledger.connectors.index import Index
from consent_ledger.connectors.settings import BadConfigurationError, Kind, Name, Opened, Positive, Process
from consent_ledger.connectors.state import State


class ContactTool(Kind, frozen=True, kw_only=True):
    """What every tool with contacts needs.

    `keys`: file of `consent keys export --consumer NAME`. `url`: of the tool. `username` and `password_file`: who
    comes. `rate`: calls a second at most. `source`: under which the tool's own refusals are published; without it they
    are only counted.
    """

    keys: Name
    url: Name
    username: Name
    password_file: Name
    rate: Positive = 10.0
    source: Name | None = None
    sweep_seconds: Positive = SWEEP_SECONDS
    max_staleness: Positive = MAX_STALENESS_SECONDS

    def tool(self, api: Api) -> Tool:
        """Make the tool that speaks over `api`."""
        raise NotImplementedError

    @asynccontextmanager
    async def opened(self, name: str, process: Process, state: State, *, dry: bool) -> AsyncIterator[Opened]:
        """See `Kind`."""
        api = Api(self.url, auth=(self.username, self._password()), rate=self.rate, dry=dry)
        tool = self.tool(api)
        view = SuppressionView(
            state.directory / "copy", self._keys(), process.kafka, topic=f"{process.prefix}suppressions",
            max_staleness=self.max_staleness,
        )  # fmt: skip
        async with AsyncExitStack() as stack:
            stack.push_async_callback(api.close)
            publisher = None
            if self.source is not None and not dry:
                publisher = Publisher(
                    state.directory / "outbox.db",
                    lambda: KafkaTransport(process.kafka, topic=f"{process.prefix}events"), source=self.source,
                )  # fmt: skip
                await stack.enter_async_context(publisher)
            await stack.enter_async_context(view)
            connector = ContactConnector(
                tool, view, Index(state.connection), sweep_seconds=self.sweep_seconds, is_fresh=view.is_fresh,
                is_parked=state.is_parked, news_seconds=None if dry else NEWS_SECONDS,
                declare=None if publisher is None else _declaring(publisher),
            )  # fmt: skip
            acknowledger = None if dry else Acknowledger(
                process.kafka, topic=f"{process.prefix}acks", consumer=name, instance=instance_of(state.directory)
            )  # fmt: skip
            yield Opened(connector, acknowledger, api.would)

    def _password(self) -> str:
        try:
            return Path(self.password_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadConfigurationError(f"password_file cannot be read: {type(error).__name__}") from None

    def _keys(self) -> list[HashKey]:
        try:
            return load_keys(self.keys)
        except BadKeyError as error:
            raise BadConfigurationError(f"{self.keys}: {error}") from None


def _declaring(publisher: Publisher) -> Callable[[Declared], object]:
    return lambda said: publisher.publish(said.type, said.data, occurred_at=said.occurred_at, event_id=said.id)
