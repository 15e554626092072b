"""What do-not-call registers say of a number, from the steps by which their snapshots follow each other.

A step says what one snapshot changed; the steps known at an instant of recording, in the order of their snapshots'
dates, make up what was known then.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from consent_ledger.domain.durations import NEVER
from consent_ledger.domain.facts import Token
from consent_ledger.domain.standing import Listing, publisher


class Step(NamedTuple):
    """How one snapshot follows the one before it at one controller. Instants are microseconds since 1970."""

    id: int
    snapshot: UUID
    snapshot_at: int
    source: str
    known_from: int


class Change(NamedTuple):
    """How a number stands after a step. `registered_at`: when it was put on the register, where that is said."""

    listed: bool
    registered_at: int | None


# number → step → change
Changes = Mapping[Token, Mapping[int, Change]]


class CallHistory:
    """One do-not-call register as one controller may ask it, at any instant and as of any recording.

    `steps` are in the order of their snapshots; `changes` need hold no other numbers than those asked about.
    """

    def __init__(self, steps: Sequence[Step], changes: Changes) -> None:
        self._steps = steps
        self._changes = changes

    def look_up(self, token: Token, at: int, as_of: int) -> Listing:
        """Say what the latest snapshot known said: a listing is as old as the unbroken run of snapshots with it."""
        known = [step for step in self._steps if step.known_from <= as_of and step.snapshot_at <= at]
        if not known:
            return Listing(None, None, "")
        changes = self._changes.get(token)
        latest = known[-1].snapshot_at
        listed_from = _listed_from(known, changes) if changes else None
        return Listing(latest, listed_from, publisher(step.source for step in known if step.snapshot_at == latest))


def _listed_from(known: Sequence[Step], changes: Mapping[int, Change]) -> int | None:
    run: int | None = None
    registered: int | None = None
    # Snapshots of one date stand together, so only how a number stands after the last of them counts.
    for snapshot_at, together in groupby(known, key=lambda step: step.snapshot_at):
        stands = [change for step in together if (change := changes.get(step.id)) is not None]
        if not stands:
            continue
        registered = stands[-1].registered_at
        if not stands[-1].listed:
            run = None
        elif run is None:
            run = snapshot_at
    if run is None or registered is None:
        return run
    return min(registered, known[-1].snapshot_at)


class FreshCalls:
    """A do-not-call register as it stands, taken to be fresh: its age is judged where a stored decision is used."""

    def __init__(self, history: CallHistory) -> None:
        self._history = history

    def look_up(self, token: Token, at: int, as_of: int) -> Listing:  # noqa: ARG002 - everything that is known counts
        """Say what is known now, as if the snapshot were of the instant asked about."""
        return self._history.look_up(token, NEVER, NEVER)._replace(snapshot_at=at)


def split(steps: Sequence[Step], snapshot_at: int) -> tuple[Sequence[Step], Sequence[Step]]:
    """Part steps around a snapshot that comes in: those before it, and those after it in date."""
    before = sum(step.snapshot_at <= snapshot_at for step in steps)
    return steps[:before], steps[before:]
