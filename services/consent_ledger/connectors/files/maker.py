"""Makes the next file of a list: full, or what has changed since the file before."""

import asyncio
import csv
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, Self

from consent_ledger.client.copy import Place
from consent_ledger.client.local import LocalView
from consent_ledger.connectors.files.contacts import Contacts
from consent_ledger.connectors.files.judge import Judge, NotNowError
from consent_ledger.connectors.files.lists import Address, Lists, Manifest, Pair
from consent_ledger.connectors.state import State
from consent_ledger.domain.durations import moment
from consent_ledger.domain.leaf import micros

Kind = Literal["full", "increment"]
POSITION: Final = "files_position"
_KEYED: Final = ("controller", "type", "hash", "purpose", "channel")


class Maker:
    """Writes into a directory of its own, the spool; handing out is another step.

    `contacts`: those of a tool, by whose addresses lists are made; None: lists are of keyed hashes.
    """

    def __init__(
        self, state: State, lists: Lists, view: LocalView, judge: Judge, contacts: Contacts | None, *, spool: Path
    ) -> None:
        self._state = state
        self._lists = lists
        self._view = view
        self._judge = judge
        self._contacts = contacts
        self.spool = spool
        spool.mkdir(mode=0o700, exist_ok=True)

    async def make(self, kind: Kind, places: Sequence[Place], now: datetime) -> tuple[Manifest, list[Place]]:
        """Make the next file, and say how far it goes. `places`: up to where all addresses are known.

        Raises `NotNowError`, OSError where the contacts cannot be read; then nothing has changed.
        """
        self._judge.require_fresh()
        with self._view.copy().reading() as reading:
            theirs = reading.head().places
        if len(theirs) != len(places):
            raise NotNowError("the topic has more partitions than it had")
        known = [min(pair, key=lambda one: one.instant) for pair in zip(places, theirs, strict=True)]
        with self._whole():
            if self._contacts is not None:
                await self._contacts.read(self._lists, self._view)
            self._touch()
            manifest = await self._write(kind, moment(min(place.instant for place in known)), now)
            self._lists.made(manifest)
        return manifest, known

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """All of it or nothing."""
        with self._lists.connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield

    def _touch(self) -> None:
        """Have judged anew whoever has changed since the last file. The place is taken before anybody is judged."""
        changes = self._view.changed_since(self._state.facts().get(POSITION))
        self._lists.touch(changes.hashes)
        self._lists.connection.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (POSITION, changes.position))

    async def _write(self, kind: Kind, complete_until: datetime, now: datetime) -> Manifest:
        before = self._lists.last()
        sequence = 1 if before is None else before.sequence + 1
        self._tidy()
        name = f"{sequence:012d}-{kind}-{complete_until:%Y%m%dT%H%M%SZ}.csv"
        with _Csv(self.spool / name) as file:
            file.write([*(("action",) if kind == "increment" else ()), *self._header()])
            for page in self._lists.pages(
                due_at=None if kind == "full" else micros(now), shown=self._contacts is not None
            ):
                self._write_page(file, kind, page)
                await asyncio.sleep(0)
        return Manifest(
            sequence=sequence, kind=kind, file=name, sha256=file.digest, rows=file.rows - 1,
            complete_until=complete_until, made_at=now, previous=None if before is None else before.sha256,
            hashes="keyed" if self._contacts is None else "sha256",
            unlisted={name: {one: dict(said) for one, said in some.items()}
                      for name, some in self._judge.unlisted().items()},
        )  # fmt: skip

    def _tidy(self) -> None:
        """Take away what was begun, and is no file of the list."""
        kept = {one.file for one in self._lists.undelivered()}
        for path in self.spool.iterdir():
            if path.name not in kept:
                path.unlink()

    def _header(self) -> Sequence[str]:
        return _KEYED if self._contacts is None else (self._contacts.type,)

    def _write_page(self, file: "_Csv", kind: Kind, page: Sequence[Address]) -> None:
        judged = self._judge.judge(page)
        for address in page:
            refused, due = judged[address.hash]
            listed = self._lists.listed(address.hash)
            added, removed = refused - listed, listed - refused
            self._lists.judge(address.hash, added, removed, due)
            if kind == "full":
                for pair in sorted(refused):
                    file.write(line_of(address, pair))
                continue
            for action, pairs in (("add", added), ("remove", removed)):
                for pair in sorted(pairs):
                    file.write((action, *line_of(address, pair)))


def line_of(address: Address, pair: Pair) -> tuple[str, ...]:
    """Return what stands in a list for an address that is refused for a purpose over a channel."""
    if address.shown is not None:
        return (address.shown,)
    return (address.controller, address.type, address.hash.hex(), *pair)


class _Csv:
    """A CSV file (RFC 4180, UTF-8) that is on the disk at the end of the block; `digest` is its SHA-256."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self._digest = hashlib.sha256()
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        self._text = io.StringIO(newline="")
        self._writer = csv.writer(self._text)

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def write(self, row: Sequence[str]) -> None:
        self._writer.writerow(row)
        piece = self._text.getvalue().encode()
        self._text.seek(0)
        self._text.truncate()
        self._digest.update(piece)
        self._file.write(piece)
        self.rows += 1
