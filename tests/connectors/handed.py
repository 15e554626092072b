"""Lists that a files connector makes of a copy which the test writes, with a clock that it sets."""

import csv
import hashlib
import io
import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from client.topic import KEY, Clock, apply, copied, view_of, watermark
from consent_ledger.client.copy import Place
from consent_ledger.connectors.files.compare import Comparison
from consent_ledger.connectors.files.connector import ADDRESS, FilesConnector, Schedule
from consent_ledger.connectors.files.contacts import Contacts
from consent_ledger.connectors.files.judge import Judge
from consent_ledger.connectors.files.lists import Lists
from consent_ledger.connectors.files.maker import Maker
from consent_ledger.connectors.runner import Acknowledging, Batch, Runner
from consent_ledger.connectors.state import Item, State
from consent_ledger.domain.leaf import micros
from consent_ledger.runtime.objects import Objects


class Handed:
    """A connector for the newsletter of one controller over e-mail. `day`: seconds between two full lists."""

    def __init__(
        self, path: Path, place: str, *, contacts: Path | None = None, purposes: Sequence[str] = ("newsletter",)
    ) -> None:
        self.clock = Clock()
        self.copy = copied(path / "topic")
        self.objects = Objects(place)
        self.state = State(path / "state")
        self.schedule = Schedule(full=86_400.0, increment=300.0, keep=2)
        self.purposes = purposes
        self.contacts = contacts
        self.fresh = True
        self.would: list[str] | None = None
        self._keys: list[bytes] = []
        self._version = 0

    def say(self, *records: tuple[bytes, bytes]) -> None:
        """Have records on the topic, in the copy as in the other reader."""
        apply(self.copy, *records)
        self._keys += [key for key, _ in records if not key.startswith(b"!")]

    def later(self, seconds: float) -> None:
        """Let time pass, on the topic too."""
        self.clock.now += timedelta(seconds=seconds)
        self._version += 1
        apply(self.copy, watermark(self.clock.now, seq=1 + self._version))

    def connector(self) -> FilesConnector:
        lists = Lists(self.state.connection)
        view, judge = self._judging()
        contacts = None if self.contacts is None else Contacts(self.contacts, KEY.controller, "email")
        maker = Maker(self.state, lists, view, judge, contacts, spool=self.state.directory / "spool")
        return FilesConnector(
            self, self.state, lists, maker, self.objects, self.schedule, max_staleness=60, would=self.would,
            clock=self.clock,
        )  # fmt: skip

    def _judging(self) -> tuple[Any, Judge]:
        view = view_of(self.copy, clock=self.clock)
        return view, Judge(view, [KEY.controller], self.purposes, ["email"], is_fresh=lambda: self.fresh)

    async def batches(self, _: bytes | None) -> AsyncGenerator[Batch, None]:
        """Stand for the other reader of the topic."""
        while True:
            items = [Item(key=ADDRESS, value=key) for key in self._keys]
            yield Batch(items, b"1", [Place(instant=micros(self.clock.now))], last=True)

    async def run(self, acknowledger: Acknowledging | None = None) -> None:
        """Run once through all that is there."""
        await Runner("list", self.connector(), self.state, acknowledger=acknowledger).run(once=True)

    async def compare(self) -> Mapping[str, int]:
        """Compare what is at the place with the ledger."""
        view, judge = self._judging()
        comparison = Comparison(
            self.state, Lists(self.state.connection), view, judge, self.objects, by_contacts=self.contacts is not None,
            clock=self.clock,
        )  # fmt: skip
        return await comparison.run()

    def manifests(self) -> list[dict[str, Any]]:
        """The manifests at the place, in order."""
        return [json.loads(self.objects.get(name) or b"") for name in self.objects.names() if name.endswith(".json")]

    def rows(self, manifest: Mapping[str, Any]) -> list[list[str]]:
        """The rows of a file without its header."""
        return list(csv.reader(io.StringIO((self.objects.get(manifest["file"]) or b"").decode(), newline="")))[1:]


def read_like_a_stranger(objects: Objects) -> set[tuple[str, ...]]:
    """Put a list together from the files alone, strictly: by number, without a gap, each checked by its checksum."""
    listed: set[tuple[str, ...]] = set()
    numbers = []
    # What has no manifest yet is not there yet.
    for name in [one.replace(".json", ".csv") for one in objects.names() if one.endswith(".json")]:
        found = re.fullmatch(r"(\d{12})-(full|increment)-\d{8}T\d{6}Z\.csv", name)
        assert found, name
        content = objects.get(name) or b""
        assert objects.get(f"{name}.sha256") == f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()
        numbers.append(int(found[1]))
        rows = list(csv.reader(io.StringIO(content.decode(), newline="")))[1:]
        if found[2] == "full":
            listed = {tuple(row) for row in rows}
            continue
        for action, *row in rows:
            assert (tuple(row) in listed) == {"add": False, "remove": True}[action]
            (listed.add if action == "add" else listed.remove)(tuple(row))
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return listed
