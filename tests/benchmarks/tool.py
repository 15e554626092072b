"""A mail tool in a process of its own: it follows the topic, and notes when its answers about people turn to no."""

import multiprocessing
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.stage import Stage, until
from benchmarks.traffic import Letter
from consent_ledger.client import HashKey, SuppressionView

_START_SECONDS: Final = 60.0

Noted = dict[bytes, float]
"""`time.perf_counter` by hash; that clock is one for all processes of a machine."""


class Tool:
    """A running mail tool that watches some people."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.yes: Noted = {}
        self.no: Noted = {}

    @classmethod
    @asynccontextmanager
    async def running(
        cls, stage: Stage, keys: Sequence[HashKey], people: Mapping[bytes, Letter]
    ) -> AsyncIterator[Self]:
        """Start a tool, and wait until its copy is complete."""
        ours, theirs = multiprocessing.Pipe()
        settings = stage.settings
        given = (
            theirs, stage.directory / "tool", list(keys), settings.kafka(), f"{settings.topic_prefix}suppressions",
            dict(people),
        )  # fmt: skip
        process = multiprocessing.get_context("spawn").Process(target=_run, args=given, daemon=True)
        process.start()
        theirs.close()
        try:
            tool = cls(ours)
            await until(tool._reads, "the tool is ready", _START_SECONDS)
            yield tool
        finally:
            ours.close()
            process.join()

    async def has_seen(self, what: str, count: int) -> bool:
        """Tell whether its answers about so many people have become `yes`, or `no`."""
        await self._reads()
        return len(getattr(self, what)) == count

    async def _reads(self) -> bool:
        """Take in what the tool has noted; tell whether it said anything."""
        said = False
        while self._connection.poll():
            self.yes, self.no = self._connection.recv()
            said = True
        return said


def _run(
    connection: Connection, path: Path, keys: list[HashKey], kafka: dict[str, Any], topic: str,
    people: dict[bytes, Letter],
) -> None:  # fmt: skip
    yes: Noted = {}
    no: Noted = {}
    position: str | None = None
    changed = threading.Event()

    def look(_places: object) -> None:
        nonlocal position
        now, hashes = view.changed_since(position)
        position = now
        for hash_ in people.keys() if hashes is None else hashes & people.keys():
            letter = people[hash_]
            (answer,) = view.decide_hashes(letter.controller, [hash_], letter.purpose, "email", type="email")
            if answer:
                yes.setdefault(hash_, time.perf_counter())
            elif hash_ in yes:
                no.setdefault(hash_, time.perf_counter())
        changed.set()

    view = SuppressionView(path, keys, kafka, topic=topic, applied=look)
    with view:
        view.wait_ready(_START_SECONDS)
        connection.send((yes, no))
        # The other side closes the connection when it has seen enough.
        while not connection.poll():
            if changed.wait(0.2):
                changed.clear()
                connection.send((dict(yes), dict(no)))
