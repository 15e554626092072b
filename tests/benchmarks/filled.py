"""A ledger full of people, recorded as a recorder records, for what reads it as a whole."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import builders
from builders import email, given, objected, withdrawn
from consent_ledger.domain.cloudevents import uuid7
from consent_ledger.recorder.prepare import Preparer
from consent_ledger.runtime.clock import SystemClock
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.store import ledger
from consent_ledger.store.ledger import Batch
from running import Installation, installation, serving
from viewer.asking import REGISTER

_BATCH: Final = 1_000
_LEASE: Final = timedelta(minutes=5)
_BEGAN: Final = datetime(2026, 3, 1, 9, tzinfo=UTC)


@dataclass
class _Record:
    offset: int
    value: bytes | None
    timestamp: int = 0
    key: bytes | None = None
    headers: Sequence[tuple[str | bytes, bytes | None]] = ()


@asynccontextmanager
async def filled(kafka: str, postgres: str, template: str, path: Path, entries: int) -> AsyncIterator[Installation]:
    """Make an installation whose ledger has about so many entries of half as many people, on two shards."""
    async with installation(kafka, postgres, template, path, log_directory=str(path / "log")) as made:
        async with serving(made.recorder().run()) as recorder:
            await made.recorded(await made.load_register(REGISTER), service=recorder)
        connection = await connect(made.settings.dsn, "consent_recorder")
        try:
            for shard in (1, 2):
                await _fill(made, connection, shard, entries // 2, entries // 2)
        finally:
            connection.terminate()
        await made.superuser.execute("ANALYZE")
        yield made


async def _fill(made: Installation, connection: Connection, shard: int, entries: int, people: int) -> None:
    claim = await ledger.claim(connection, shard, "benchmark", _LEASE)
    assert claim is not None
    version, document = await ledger.read_register(connection)
    preparer, random = Preparer(made.keks, production=False), Random(shard)
    await preparer.refresh(connection, version, document)
    for first in range(0, entries, _BATCH):
        records = [
            _Record(offset, builders.encode(_said(random, people, offset)))
            for offset in range(claim.next_offset + first, claim.next_offset + first + _BATCH)
        ]
        drafts, _ = await preparer.prepare(connection, shard, records)
        batch = Batch(
            shard=shard, epoch=claim.epoch, register_version=version, first_offset=records[0].offset,
            next_offset=records[-1].offset + 1, drafts=drafts,
        )  # fmt: skip
        await ledger.append(connection, batch, SystemClock(), _LEASE)


def _said(random: Random, people: int, number: int) -> dict[str, Any]:
    """Eight in ten are consents, one in twenty of them by two addresses; the rest withdrawals and objections."""
    person, fate = random.randrange(people), random.random()
    time = _BEGAN + timedelta(seconds=number)
    plain: dict[str, Any] = {"id": str(uuid7(time)), "time": time.isoformat()}
    one = email(f"person{person}@example.be")
    if fate < 0.04:
        return given(one, email(f"person{person}@work.example.be"), **plain)
    if fate < 0.80:
        return given(one, **plain)
    return withdrawn(one, **plain) if fate < 0.93 else objected(one, **plain)
