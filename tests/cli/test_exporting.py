"""Proofs of exports: what is not sealed yet is waited for, and said when that takes too long.

Seen to fail: an entry that no checkpoint holds taken for sealed.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import typer

from consent_ledger.cli.exporting import Ledger, proved
from consent_ledger.cli.terminal import UNAVAILABLE
from consent_ledger.runtime.postgres import connect
from consent_ledger.verifier.note import VerifierKey
from consent_ledger.verifier.proof import check_proof
from log.sealing import Log, logging


@pytest.fixture
async def log(kafka: str, postgres: str, template: str, tmp_path: Path) -> AsyncIterator[Log]:
    async with logging(kafka, postgres, template, tmp_path) as made:
        yield made


async def test_what_is_not_sealed_is_waited_for_and_then_said(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = await log.append(2)
    await log.seal()
    (third,) = await log.append(1)
    entries = [
        {"event_id": event_id, "position": {"shard": 1, "position": position}}
        for position, event_id in enumerate((first, second, third))
    ]
    connection = await connect(log.settings.dsn, "consent_operator")
    try:
        ledger = Ledger(log.settings, connection)
        with pytest.raises(typer.Exit) as ended:
            await proved(ledger, entries, 0.3)
        waited, _ = await asyncio.gather(proved(ledger, entries, 20), log.seal())
    finally:
        await connection.close()

    assert ended.value.exit_code == UNAVAILABLE
    assert "sealer" in capsys.readouterr().err
    key = VerifierKey.parse(waited.verifier_key)
    proven = [check_proof(one.proof.encode(), key) for one in waited.proofs]
    assert [one.entry.position for one in proven] == [0, 1, 2]
    assert {one.checkpoint.size for one in proven} == {3}
