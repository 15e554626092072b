"""What a mail tool asks right before it sends: decisions from its own copy of the suppressions topic, fail-closed."""

import base64
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import lmdb
import msgspec

from consent_ledger.client.copy import Copy, DamagedCopyError, Head, Reading, StoredRow
from consent_ledger.client.keys import HashKey
from consent_ledger.client.records import Defaults, Slot, Snapshot, UnreadableRecordError
from consent_ledger.domain.decision import ADDRESS_OF
from consent_ledger.domain.durations import moment
from consent_ledger.domain.errors import IdentifierError
from consent_ledger.domain.identifiers import normalise
from consent_ledger.domain.leaf import micros
from consent_ledger.domain.suppression import Answer

MAX_STALENESS_SECONDS: Final = 60.0
_MICROS: Final = 1_000_000
DAMAGED: Final = "damaged"
"""A file of this name in the copy's directory asks whoever follows the topic to make the copy anew."""


class Decision(msgspec.Struct, frozen=True):
    """The answer to one question; it is true exactly if sending is allowed.

    `reason`: the code. `final` false: this copy cannot tell at the moment, and may answer otherwise without any event;
    a mail server defers on these and refuses on the rest. `ends_at`: `valid_until` in microseconds since 1970.
    """

    allow: bool
    reason: str
    reasons: tuple[str, ...] = ()
    ends_at: int | None = None
    final: bool = True

    @property
    def valid_until(self) -> datetime | None:
        """When this yes ends by time alone."""
        return None if self.ends_at is None else moment(self.ends_at)

    def __bool__(self) -> bool:
        return self.allow


class Changes(NamedTuple):
    """Whose record has changed since a position, by keyed hash. `hashes` None: too long ago, so ask for everybody."""

    position: str
    hashes: frozenset[bytes] | None

    def touch(self, hash_: bytes) -> bool:
        """Tell whether the answer for an address may have changed."""
        return self.hashes is None or hash_ in self.hashes


class _State(NamedTuple):
    """What the head of the copy says, with what hangs on its stamp; `questions` are prepared under that stamp."""

    raw: bytes
    head: Head
    defaults: Mapping[str, Defaults]
    snapshots: Mapping[str, Snapshot]
    wrong_keys: frozenset[str]
    questions: "dict[tuple[str, str, str], _Question]"


_FINAL: Final = {
    reason: Decision(allow=False, reason=reason, reasons=(reason,))
    for reason in ("UNKNOWN_CONTROLLER", "UNKNOWN_PURPOSE", "CHANNEL_NOT_COVERED", "NO_ADDRESS", "DNC_STALE")
}
_PASSING: Final = {
    reason: Decision(allow=False, reason=reason, reasons=(reason,), final=False)
    for reason in ("STALE", "UNAVAILABLE", "WRONG_KEY", "REGISTER_CHANGED", "ASK_HTTP")
}
_NOTHING: Final = _State(b"", Head(), {}, {}, frozenset(), {})


class LocalView:
    """Answers from a copy on disk that somebody keeps up to date. Safe over threads, and over forks.

    `clock` gives seconds since 1970.
    """

    def __init__(
        self,
        path: Path | str,
        keys: Iterable[HashKey],
        *,
        max_staleness: float = MAX_STALENESS_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = Path(path)
        self.max_staleness = max_staleness
        self._keys = {key.controller: key for key in keys}
        self._clock = clock
        self._copy: Copy | None = None
        self._opening = threading.Lock()
        self._state = _NOTHING

    def close(self) -> None:
        """Close the copy; a question after this opens it again."""
        with self._opening:
            if self._copy is not None:
                self._copy.close()
            self._copy = None

    def copy(self) -> Copy:
        """Return this process's copy, opened if need be."""
        copy = self._copy
        if copy is None or copy.is_foreign:
            with self._opening:
                copy = self._copy
                if copy is None or copy.is_foreign:
                    if copy is not None:
                        copy.close()
                    copy = self._copy = Copy(self.path)
                    self._state = _NOTHING
        return copy

    def decide(self, controller: str, address: str, purpose: str, channel: str, *, type: str | None = None) -> Decision:
        """Say whether a controller may use an address for a purpose over a channel now.

        `type` of the address follows from the channel; internal and media have none, so it must be given there
        (ValueError). Whatever goes wrong with the copy is a no.
        """
        kind = address_type(channel, type)
        hash_ = _hasher(self._keys.get(controller), kind)(address)
        return self.decide_hashes(controller, (hash_,), purpose, channel, type=kind)[0]

    def decide_many(
        self, controller: str, addresses: Sequence[str], purpose: str, channel: str, *, type: str | None = None
    ) -> list[Decision]:
        """Answer the same question for many addresses, from one snapshot."""
        kind = address_type(channel, type)
        hashes = list(map(_hasher(self._keys.get(controller), kind), addresses))
        return self.decide_hashes(controller, hashes, purpose, channel, type=kind)

    def decide_hashes(
        self, controller: str, hashes: Sequence[bytes | None], purpose: str, channel: str, *, type: str | None = None
    ) -> list[Decision]:
        """Answer for addresses that are hashed already (`hash_of`); None stands for what is no address."""
        try:
            with self.copy().reading() as reading:
                state, now = self._load(reading), self._now()
                if (passing := self._passing(state.head, now)) is not None:
                    return [passing] * len(hashes)
                question = state.questions.get((controller, purpose, channel))
                if question is None:
                    question = state.questions[controller, purpose, channel] = _Question(
                        state, controller, purpose, channel, has_key=controller in self._keys
                    )
                if question.refused is not None:
                    return [question.refused] * len(hashes)
                if ADDRESS_OF[channel] not in (None, type):
                    return [_FINAL["NO_ADDRESS"]] * len(hashes)
                return [question.answer(reading, hash_, now) for hash_ in hashes]
        except (DamagedCopyError, UnreadableRecordError, lmdb.Error):
            self._report_damage()
            return [_PASSING["UNAVAILABLE"]] * len(hashes)

    def hash_of(self, controller: str, address: str, type: str) -> bytes | None:
        """Return the keyed hash of an address; None if it is none, or this tool does not hold the controller's key."""
        return _hasher(self._keys.get(controller), type)(address)

    def changed_since(self, position: str | None = None) -> Changes:
        """Return whose record has changed since a position; without one, only the position that is now.

        A register that has changed meanwhile, or a copy that is stale or incomplete, concerns everybody.
        """
        try:
            with self.copy().reading() as reading:
                head = self._load(reading).head
                now = _Position(head.id, head.stamp, head.changes)
                if position is None:
                    return Changes(now.written(), frozenset())
                then = _Position.read(position)
                if (
                    self._passing(head, self._now()) is not None
                    or then[:2] != now[:2]
                    or then.place + 1 < head.oldest_change
                ):
                    return Changes(now.written(), None)
                return Changes(now.written(), frozenset(reading.changes(then.place)))
        except (DamagedCopyError, UnreadableRecordError, lmdb.Error, ValueError, msgspec.MsgspecError):
            return Changes("", None)

    def _passing(self, head: Head, now: int) -> Decision | None:
        """Say no to everything from a copy that is not complete or not fresh."""
        if not head.complete:
            return _PASSING["UNAVAILABLE"]
        return _PASSING["STALE"] if head.instant < now - int(self.max_staleness * _MICROS) else None

    def _now(self) -> int:
        return int(self._clock() * _MICROS)

    def _load(self, reading: Reading) -> _State:
        state = self._state
        raw = reading.raw_head()
        if raw == state.raw:
            return state
        head = reading.head()
        if head.stamp != state.head.stamp or head.id != state.head.id:
            defaults = reading.defaults()
            wrong = frozenset(
                name for name, key in self._keys.items() if name in defaults and defaults[name].check != key.check
            )
            state = _State(raw, head, defaults, reading.snapshots(), wrong, {})
        else:
            state = state._replace(raw=raw, head=head)
        self._state = state
        return state

    def _report_damage(self) -> None:
        try:
            (self.path / DAMAGED).touch()
        except OSError:
            # The disk is gone or full: the answer stays no until somebody mends it.
            return


class _Known(msgspec.Struct, frozen=True):
    """What a template answers to a question.

    `ends`: the place of the instant that ends it, if any. `fresh_until`: when the do-not-call register that it needs
    will be too old (microseconds).
    """

    decision: Decision
    ends: int | None = None
    fresh_until: int | None = None


class _Question:
    """One question, prepared under one stamp. `refused`: the answer where nothing need be looked up."""

    def __init__(self, state: _State, controller: str, purpose: str, channel: str, *, has_key: bool) -> None:
        self._copy_id = state.head.id
        self._pair = (purpose, channel)
        self._snapshots = state.snapshots
        self._known: dict[int, _Known] = {}
        self._usual, self._needed = _PASSING["UNAVAILABLE"], 0
        self.refused = self._refuse(state, controller, has_key=has_key)

    def _refuse(self, state: _State, controller: str, *, has_key: bool) -> Decision | None:
        """Say no where controller, key or register leave nothing to look up; else learn what is usual."""
        defaults = state.defaults.get(controller)
        if defaults is None:
            return _FINAL["UNKNOWN_CONTROLLER"]
        if not has_key or controller in state.wrong_keys:
            return _PASSING["WRONG_KEY"]
        purpose, channel = self._pair
        usual = defaults.decisions.get(purpose, {}).get(channel)
        if usual is None:
            return _FINAL["CHANNEL_NOT_COVERED" if purpose in defaults.decisions else "UNKNOWN_PURPOSE"]
        self._needed = defaults.needs.get(purpose, 0)
        # What nobody has looked up in the list of a do-not-call register, only the service can tell.
        self._usual = _PASSING["ASK_HTTP"] if usual.needs_dnc else _decision(usual)
        return None

    def answer(self, reading: Reading, hash_: bytes | None, now: int) -> Decision:
        """Answer for one address."""
        if hash_ is None:
            return _FINAL["NO_ADDRESS"]
        row = reading.row(hash_)
        if row is None:
            return self._usual
        if row.register < self._needed:
            return _PASSING["REGISTER_CHANGED"]
        known = self._known.get(row.template)
        if known is None:
            known = self._known[row.template] = self._learn(reading, row.template)
        if known.ends is None and known.fresh_until is None:
            return known.decision
        return self._while_it_lasts(known, row, now)

    def _while_it_lasts(self, known: _Known, row: StoredRow, now: int) -> Decision:
        if known.fresh_until is not None and known.fresh_until <= now:
            return _FINAL["DNC_STALE"]
        until = None if known.ends is None else row.instant(known.ends)
        if until is not None and until <= now:
            return _PASSING["STALE"]
        ends_at = min(one for one in (until, known.fresh_until) if one is not None)
        return msgspec.structs.replace(known.decision, ends_at=ends_at)

    def _learn(self, reading: Reading, template: int) -> _Known:
        """Find what a template says; a do-not-call snapshot ends its yes for all who have it."""
        purpose, channel = self._pair
        slot = reading.template(template, self._copy_id).get(purpose, {}).get(channel)
        if slot is None:
            return _Known(_PASSING["REGISTER_CHANGED"])
        if not slot.allow or slot.needs_dnc is None:
            return _Known(_decision(slot), slot.valid_until if slot.allow else None)
        snapshot = self._snapshots.get(slot.needs_dnc)
        if snapshot is None or snapshot.valid_until is None:
            return _Known(_FINAL["DNC_STALE"])
        return _Known(_decision(slot), slot.valid_until, micros(snapshot.valid_until))


def _decision(said: Answer | Slot) -> Decision:
    return Decision(allow=said.allow, reason=said.reason, reasons=said.reasons)


def _hasher(key: HashKey | None, kind: str) -> Callable[[str], bytes | None]:
    """Return what hashes addresses of one type; None of what is no address."""
    # Without the key there is nothing to find, and the answer says so.
    keyed = key.hasher(kind) if key is not None else lambda _: b""

    def hash_(address: str) -> bytes | None:
        try:
            return keyed(normalise(kind, address))
        except IdentifierError:
            return None

    return hash_


def address_type(channel: str, type: str | None) -> str:
    """Return the type of identifier that is the address of a channel, or the one given. Raises ValueError."""
    kind = type or ADDRESS_OF.get(channel, "email")
    if kind is None:
        raise ValueError(f"the channel {channel} has no address: say of which type yours is")
    return kind


class _Position(NamedTuple):
    """A place among the changes of one copy under one register; opaque outside."""

    copy_id: str
    stamp: int
    place: int

    def written(self) -> str:
        return base64.urlsafe_b64encode(msgspec.msgpack.encode(tuple(self))).decode().rstrip("=")

    @staticmethod
    def read(position: str) -> "_Position":
        """Raises ValueError."""
        raw = base64.urlsafe_b64decode(position + "=" * (-len(position) % 4))
        return _Position(*msgspec.msgpack.decode(raw, type=tuple[str, int, int]))
