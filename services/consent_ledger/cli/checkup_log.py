"""How the log stands, in the database and outside it, and its witnesses."""

import asyncio
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from aiokafka.errors import KafkaError

from consent_ledger.domain import checkpoint
from consent_ledger.runtime.keys import KeyFile, KeyUnavailableError
from consent_ledger.runtime.logkey import LogKey
from consent_ledger.runtime.objects import ObjectsError
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.settings import MissingSettingError, Settings
from consent_ledger.sealer import outside
from consent_ledger.store import doctor, log, origins
from consent_ledger.store.log import Checkpoint
from consent_ledger.verifier.note import VerifierKey
from consent_ledger.verifier.tree import ProofError

_LATE_SECONDS: Final = 60.0


class LogState(NamedTuple):
    """What is to be shown of the log, what is wrong with it, and what is to be known."""

    shown: dict[str, Any]
    problems: list[str]
    warnings: list[str]


async def look_at_log(settings: Settings, connection: Connection) -> LogState:
    """Look at the log."""
    found = LogState({}, [], [])
    state = await doctor.log_state(connection)
    found.shown.update(origin=settings.log_origin, outside=[], witnesses=[], behind=state.entries - state.size,
                       **state._asdict())  # fmt: skip
    if state.lease_seconds < 0:
        found.problems.append("no sealer owns the log, so nothing new comes into it")
    elif state.entries > state.size and (state.sealed_seconds_ago or 0) > _LATE_SECONDS + settings.seal_seconds:
        found.problems.append(f"{state.entries - state.size:,} entries wait for their checkpoint")
    try:
        key = await origins.signing(
            connection, await asyncio.to_thread(KeyFile, settings.key_file), settings.log_origin
        )
    except (KeyUnavailableError, ValueError):
        # What is wrong with keys is told elsewhere.
        return found
    found.shown["origin"] = key.origin
    await _look_outside(found, settings, connection, key)
    await _look_at_witnesses(found, settings, connection)
    return found


async def _look_outside(found: LogState, settings: Settings, connection: Connection, key: LogKey) -> None:
    last = await log.last(connection)
    places = {"topic": _on_topic(settings, key)}
    if settings.log_directory is not None:
        places["place"] = asyncio.to_thread(outside.in_place, settings.log_directory, key.number)
    for name, reading in places.items():
        try:
            notes = await reading
        except (KafkaError, ObjectsError, TimeoutError, OSError) as error:
            found.problems.append(f"the log's {name} cannot be read: {type(error).__name__}")
            continue
        for note in notes:
            if (why := await outside.contradiction(connection, key, note, last)) is not None:
                found.problems.append(f"the log's {name}: {why}; `consent doctor --after-restore` says what to do")
        size = checkpoint.read(notes[0]).size if notes and key.has_signed(notes[0]) else 0
        found.shown["outside"].append({"place": name, "size": size})
        if last is not None and size < last.size and await _is_late(connection, size, last):
            found.problems.append(f"the log's {name} has {size:,} of {last.size:,} entries")


async def _on_topic(settings: Settings, key: LogKey) -> list[bytes]:
    try:
        return await outside.newest(settings.kafka(), outside.topic_of(settings), key.origin.encode())
    except MissingSettingError:
        return []


async def _is_late(connection: Connection, size: int, last: Checkpoint) -> bool:
    """Whether what stands outside should have been followed by another checkpoint long ago."""
    following = await log.after(connection, size) or last
    return (datetime.now(UTC) - following.sealed_at).total_seconds() > _LATE_SECONDS


async def _look_at_witnesses(found: LogState, settings: Settings, connection: Connection) -> None:
    heard = {one.name: one for one in await log.witnesses(connection)}
    well = 0
    for public in settings.witnesses:
        try:
            name = VerifierKey.parse(public).name
        except ProofError as error:
            found.problems.append(f"CONSENT_WITNESSES: {error}")
            continue
        seen = heard.get(name)
        problem = "it was never asked" if seen is None else seen.problem
        found.shown["witnesses"].append({"name": name, "size": seen.size if seen else 0, "problem": problem,
                                         "signed_at": seen.signed_at if seen else None})  # fmt: skip
        well += problem is None
        if problem is not None:
            found.warnings.append(f"witness {name}: {problem}")
    if settings.witnesses and well < settings.witness_quorum:
        found.problems.append(f"{well} witnesses sign and {settings.witness_quorum} must: no new checkpoint is shown")
