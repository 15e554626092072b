"""Runs one connector of a file, beside the task that reports for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from consent_ledger.client.acknowledger import Acknowledger
from consent_ledger.connectors.contacts import ContactConnector
from consent_ledger.connectors.runner import Runner
from consent_ledger.connectors.settings import Kind, Opened, Process
from consent_ledger.connectors.state import State


class Report(NamedTuple):
    """What a pass has found and done. `would`: what it would have changed, run dry. `parked`: refusals, others."""

    counts: dict[str, int]
    would: list[str]
    parked: tuple[int, int]


async def run(name: str, kind: Kind, process: Process, *, once: bool = False, dry: bool = False) -> Report:
    """Run a connector until cancelled, or `once` through all that is there; `dry` is once, and changes nothing.

    Raises `BusyError`, `BadConfigurationError`, OSError.
    """
    state = State(Path(kind.state), dry=dry)
    try:
        if not dry:
            state.hold()
        async with kind.opened(name, process, state, dry=dry) as opened, _reporting(opened.acknowledger):
            runner = Runner(name, opened.connector, state, acknowledger=opened.acknowledger)
            await runner.run(once=once or dry)
            return _report(opened, state)
    finally:
        state.close()


async def reconcile(name: str, kind: Kind, process: Process, *, dry: bool = False) -> Report:
    """Compare all that a tool thinks with what the ledger says, once, and put both in line; `dry`: only compare.

    Another process may run the connector meanwhile. Raises `BadConfigurationError`, OSError.
    """
    state = State(Path(kind.state), dry=dry)
    try:
        async with kind.opened(name, process, state, dry=dry) as opened:
            if opened.comparing is not None:
                return Report(dict(await opened.comparing.run()), opened.would, state.count_parked())
            await Runner(name, opened.connector, state).run(once=True)
            return _report(opened, state)
    finally:
        state.close()


def _report(opened: Opened, state: State) -> Report:
    counts = opened.connector.counts if isinstance(opened.connector, ContactConnector) else {}
    return Report(dict(counts), opened.would, state.count_parked())


@asynccontextmanager
async def _reporting(acknowledger: Acknowledger | None) -> AsyncIterator[None]:
    task = None if acknowledger is None else asyncio.create_task(acknowledger.run())
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
