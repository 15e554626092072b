"""What a reader of the files has, against what the ledger says now."""

import asyncio
import csv
import hashlib
import io
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import islice
from typing import Final

import msgspec

from consent_ledger.client.local import LocalView
from consent_ledger.connectors.files.connector import FULL_ASKED, names_of
from consent_ledger.connectors.files.judge import Judge, NotNowError
from consent_ledger.connectors.files.lists import Lists, Manifest
from consent_ledger.connectors.files.maker import POSITION, line_of
from consent_ledger.connectors.outcome import AwayError, RefusedError
from consent_ledger.connectors.state import State
from consent_ledger.runtime.objects import Objects, ObjectsError

_PAGE: Final = 10_000
_PAUSE_SECONDS: Final = 0.2
_Line = tuple[str, ...]


class Theirs:
    """The lines of the newest full list at a place, with the increments behind it, as a reader puts them together."""

    def __init__(self) -> None:
        # Filled in a thread and asked in another, but never by both at once.
        self._connection = sqlite3.connect("", check_same_thread=False)
        self._connection.execute("CREATE TABLE line (line TEXT PRIMARY KEY) WITHOUT ROWID")

    def close(self) -> None:
        """Forget them."""
        self._connection.close()

    def read(self, objects: Objects) -> int:
        """Read the files; return how many are missing or damaged. Raises `ObjectsError`."""
        said = [objects.get(name) for name in objects.names() if name.endswith(".json")]
        manifests = sorted((_manifest(one) for one in said if one is not None), key=lambda one: one.sequence)
        fulls = [one.sequence for one in manifests if one.kind == "full"]
        if not fulls:
            return 1
        behind = [one for one in manifests if one.sequence >= fulls[-1]]
        bad = behind[-1].sequence - behind[0].sequence + 1 - len(behind)
        for manifest in behind:
            content = objects.get(manifest.file)
            checksum = objects.get(names_of(manifest)[1])
            if content is None or checksum is None or hashlib.sha256(content).hexdigest() != manifest.sha256:
                bad += 1
            else:
                self._take(manifest, content)
        return bad

    def _take(self, manifest: Manifest, content: bytes) -> None:
        rows = csv.reader(io.StringIO(content.decode(), newline=""))
        next(rows)
        while some := list(islice(rows, _PAGE)):
            full = manifest.kind == "full"
            self._connection.executemany(
                "INSERT OR IGNORE INTO line VALUES (?)",
                [(_joined(row if full else row[1:]),) for row in some if full or row[0] == "add"],
            )
            if not full:
                gone = [(_joined(row[1:]),) for row in some if row[0] == "remove"]
                self._connection.executemany("DELETE FROM line WHERE line = ?", gone)

    def take_out(self, line: _Line) -> bool:
        """Take out a line, and tell whether it was there."""
        return self._connection.execute("DELETE FROM line WHERE line = ?", (_joined(line),)).rowcount > 0

    def count(self) -> int:
        """Return how many lines are left."""
        with closing(self._connection.execute("SELECT count(*) FROM line")) as found:
            count: int = found.fetchone()[0]
        return count


class Comparison:
    """Compares once. Whoever differs in a way that the next file would not mend has a full list made."""

    def __init__(
        self,
        state: State,
        lists: Lists,
        view: LocalView,
        judge: Judge,
        objects: Objects,
        *,
        by_contacts: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state = state
        self._lists = lists
        self._view = view
        self._judge = judge
        self._objects = objects
        self._by_contacts = by_contacts
        self._clock = clock

    async def run(self) -> Counter[str]:
        """`to be listed`, `to be taken off`: lines; `to be made again`: files that are missing or damaged.

        Raises `AwayError` where the place cannot be reached.
        """
        theirs = Theirs()
        try:
            counts = Counter({"to be made again": await asyncio.to_thread(theirs_of, theirs, self._objects)})
            while True:
                try:
                    self._judge.require_fresh()
                    await self._compare(theirs, counts)
                    break
                except NotNowError:
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            theirs.close()
        if any(count for what, count in counts.items() if what.startswith("to be ")):
            self._state.note(**{FULL_ASKED: "yes"})
        return counts

    async def _compare(self, theirs: Theirs, counts: Counter[str]) -> None:
        changed = self._view.changed_since(self._state.facts().get(POSITION)).hashes
        at = int(self._clock() * 1_000_000)
        for page in self._lists.pages(shown=self._by_contacts):
            judged = self._judge.judge(page)
            for address in page:
                # What is changing is in the next file: until then, a reader has what the last one said.
                pending = changed is None or address.hash in changed or self._lists.is_due(address.hash, at)
                expected = self._lists.listed(address.hash) if pending else judged[address.hash].refused
                counts["lines"] += len(expected)
                counts["pending addresses"] += pending
                counts["to be listed"] += sum(not theirs.take_out(line_of(address, pair)) for pair in expected)
            await asyncio.sleep(0)
        counts["to be taken off"] += theirs.count()


def theirs_of(theirs: Theirs, objects: Objects) -> int:
    """Read what is at a place. Raises `AwayError`."""
    try:
        return theirs.read(objects)
    except ObjectsError as error:
        raise AwayError(str(error)) from error


def _manifest(content: bytes) -> Manifest:
    try:
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise RefusedError(f"a manifest cannot be read: {type(error).__name__}") from None


def _joined(line: Sequence[str]) -> str:
    return ",".join(line)
