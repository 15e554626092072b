"""The table of a files connector."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from consent_ledger.client import BadKeyError, HashKey, SuppressionView, load_keys
from consent_ledger.client.acknowledger import Acknowledger, instance_of
from consent_ledger.client.local import MAX_STALENESS_SECONDS
from consent_ledger.connectors.files.compare import Comparison
from consent_ledger.connectors.files.connector import FilesConnector, Schedule, read_key
from consent_ledger.connectors.files.contacts import Contacts
from consent_ledger.connectors.files.judge import Judge
from consent_ledger.connectors.files.lists import Lists
from consent_ledger.connectors.files.maker import Maker
from consent_ledger.connectors.records import Records
from consent_ledger.connectors.settings import BadConfigurationError, Kind, Name, Opened, Positive, Process
from consent_ledger.connectors.state import State
from consent_ledger.domain.decision import ADDRESS_OF
from consent_ledger.domain.suppression import TYPES
from consent_ledger.runtime.objects import Objects, ObjectsError

Channel = Literal["email", "phone", "sms", "post", "device", "internal", "media"]


class FilesTable(Kind, frozen=True, kw_only=True, tag_field="kind", tag="files"):
    """`place`: a folder, or `s3://bucket/path`. `keys`: file of `consent keys export --consumer NAME`.

    `controllers`, `purposes`, `channels`: who and what is listed; of the latter none named means all that the register
    has. `hashes`: by the keyed hash, or, of a tool's own `contacts` (a CSV file with a column named after the type of
    address), by the SHA-256 of the address, as ad platforms match; then for one controller, purpose and channel.
    `full_seconds`, `increment_seconds`: how often; `keep`: how many full lists stay, with what follows them.
    """

    place: Name
    keys: Name
    controllers: Annotated[tuple[Name, ...], Meta(min_length=1)]
    purposes: tuple[Name, ...] = ()
    channels: tuple[Channel, ...] = ()
    hashes: Literal["keyed", "sha256"] = "keyed"
    contacts: Name | None = None
    full_seconds: Positive = 86_400.0
    increment_seconds: Positive = 300.0
    keep: Annotated[int, Meta(ge=1)] = 7
    max_staleness: Positive = MAX_STALENESS_SECONDS

    def __post_init__(self) -> None:
        if (self.hashes == "sha256") != (self.contacts is not None):
            raise ValueError("sha256 and contacts go together: without contacts nobody knows the addresses")
        one_each = len(self.controllers) == len(self.purposes) == len(self.channels) == 1
        if self.contacts is not None and not (one_each and ADDRESS_OF[self.channels[0]]):
            raise ValueError("a list of sha256 is for one controller, one purpose and one channel with addresses")

    @asynccontextmanager
    async def opened(self, name: str, process: Process, state: State, *, dry: bool) -> AsyncIterator[Opened]:
        """See `Kind`."""
        objects, would = self._objects(), list[str]()
        view = SuppressionView(
            state.directory / "copy", self._keys(), process.kafka, topic=f"{process.prefix}suppressions",
            max_staleness=self.max_staleness,
        )  # fmt: skip
        async with AsyncExitStack() as stack:
            spool = Path(stack.enter_context(tempfile.TemporaryDirectory())) if dry else state.directory / "spool"
            await stack.enter_async_context(view)
            lists = Lists(state.connection)
            judge = Judge(view, self.controllers, self.purposes, self.channels, is_fresh=view.is_fresh)
            maker = Maker(state, lists, view, judge, self._contacts(), spool=spool)
            connector = FilesConnector(
                self._records(process), state, lists, maker, objects,
                Schedule(full=self.full_seconds, increment=self.increment_seconds, keep=self.keep),
                max_staleness=self.max_staleness, would=would if dry else None,
            )  # fmt: skip
            acknowledger = None if dry else Acknowledger(
                process.kafka, topic=f"{process.prefix}acks", consumer=name, instance=instance_of(state.directory)
            )  # fmt: skip
            comparing = Comparison(state, lists, view, judge, objects, by_contacts=self.contacts is not None)
            yield Opened(connector, acknowledger, would, comparing)

    def _contacts(self) -> Contacts | None:
        type_ = ADDRESS_OF[self.channels[0]] if self.contacts is not None else None
        if self.contacts is None or type_ is None:
            return None
        return Contacts(Path(self.contacts), self.controllers[0], type_)

    def _records(self, process: Process) -> Records:
        addressed = {ADDRESS_OF[channel] for channel in self.channels}
        types = frozenset(TYPES if not addressed or None in addressed else {one for one in addressed if one})
        controllers = frozenset(self.controllers)
        return Records(
            process.kafka, f"{process.prefix}suppressions", lambda record: read_key(record, controllers, types),
            committed=False,
        )  # fmt: skip

    def _objects(self) -> Objects:
        try:
            return Objects(self.place)
        except ObjectsError as error:
            raise BadConfigurationError(f"place: {error}") from None

    def _keys(self) -> list[HashKey]:
        try:
            keys = load_keys(self.keys)
        except BadKeyError as error:
            raise BadConfigurationError(f"{self.keys}: {error}") from None
        if missing := sorted(set(self.controllers) - {key.controller for key in keys}):
            raise BadConfigurationError(f"{self.keys}: no key of {', '.join(missing)}")
        return keys
