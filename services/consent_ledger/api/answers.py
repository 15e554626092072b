"""Answers to questions from one snapshot of the view: the stored decision where it will do, else decided afresh."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from consent_ledger.api.questions import Question, normalised
from consent_ledger.domain import durations
from consent_ledger.domain.decision import ADDRESS_OF, CallRegisters, Decision, decide
from consent_ledger.domain.explain import NOT_REPRODUCIBLE, Explanation, explain, explain_reason
from consent_ledger.domain.facts import Fact
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.domain.register import Register
from consent_ledger.domain.suppression import Answer, Answers, answer, decode_own, default_answers
from consent_ledger.store.view import StoredRow

FACTS_MAX: Final = 1000
"""A dossier with more facts is no person's; it raises an alarm when it is folded, and is answered no."""

# The service cannot tell at the moment; asked again, it may answer otherwise without any event.
_PASSING: Final = frozenset({"STALE", "REGISTER_CHANGED", "UNAVAILABLE"})

# Of these there is nothing on record to explain them by.
_UNFOUNDED: Final = _PASSING | {NOT_REPRODUCIBLE}

Pair: TypeAlias = tuple[str | None, str | None]


class Place(msgspec.Struct, frozen=True):
    """A place in the ledger."""

    shard: int
    position: int


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one question.

    `reasons`: all that apply, `reason` first. `basis`: the legal basis of the purpose (Art. 6(1)). `position` and
    `recorded_at`: the entry that last changed what is known of the address, null when nothing is. `valid_until`: when
    this yes ends by itself. `final` false: the service cannot tell at the moment and says no; ask again.
    `explanation`: there if it was asked for.
    """

    allow: bool
    reason: str
    reasons: tuple[str, ...]
    basis: str | None
    position: Place | None
    recorded_at: datetime | None
    valid_until: str | None
    final: bool
    explanation: Explanation | UnsetType = UNSET


class Named(Item, frozen=True, kw_only=True):
    """One of the answers to a question that leaves purpose or channel open; null where there is none to name."""

    purpose: str | None
    channel: str | None


class Several(msgspec.Struct, frozen=True):
    """The answers to a question that leaves purpose or channel open: one for each that the addresses can serve."""

    decisions: list[Named]


class Asked(NamedTuple):
    """A question in terms of the register and the view. `addresses` None: one of them is no address.

    `has_key` false: the controller has none, so the hashes are under no secret and must not be kept.
    """

    controller: str
    addresses: tuple[tuple[str, bytes], ...] | None
    pairs: list[Pair]
    at: int | None
    is_open: bool
    has_key: bool


class Said(NamedTuple):
    """An answer, and the place and instant of the entry that last changed what is known of the address."""

    answer: Answer
    place: tuple[int, int] | None = None
    recorded_at: datetime | None = None
    explanation: Explanation | UnsetType = UNSET


class Ground(NamedTuple):
    """What answers rest on, all of one snapshot. `now` is in microseconds."""

    register: Register
    needs: Mapping[tuple[str, str], int]
    rows: Mapping[bytes, StoredRow]
    now: int


def ask(register: Register, keys: Mapping[str, bytes], question: Question) -> Asked:
    """Find the addresses, hashed as the view has them, and the purposes and channels that are asked about."""
    controller, purpose, channel = question.controller, question.purpose, question.channel
    # A controller without a key is not registered, so nothing is on record there.
    key = keys.get(controller, b"")
    plain = normalised(question)
    addresses = None
    if plain is not None:
        hashed = [(kind, address_hash(key, kind, value)) for kind, value in plain]
        addresses = tuple(hashed if len(hashed) == 1 else dict.fromkeys(hashed))
    at = None if question.at is None else durations.instant(question.at)
    if purpose is not None and channel is not None:
        return Asked(controller, addresses, [(purpose, channel)], at, is_open=False, has_key=controller in keys)
    # Where there is nothing to name, the question stands for itself and is told why.
    pairs: list[Pair] = list(_pairs(register, question)) or [(purpose, channel)]
    return Asked(controller, addresses, pairs, at, is_open=True, has_key=controller in keys)


def _pairs(register: Register, question: Question) -> Iterator[tuple[str, str]]:
    types = {address.type for address in question.subject}
    for purpose in register.purposes_of(question.controller):
        if question.purpose in (None, purpose.id):
            for channel in purpose.channels:
                if question.channel in (None, channel) and ADDRESS_OF[channel] in (None, *types):
                    yield purpose.id, channel


@lru_cache(maxsize=64)
def _no(reason: str) -> Said:
    return Said(Answer(allow=False, reason=reason, reasons=(reason,)))


def refuse(asked: Asked, reason: str) -> list[Said]:
    """Say no to all that is asked, for one reason."""
    return [_no(reason)] * len(asked.pairs)


def is_gone(asked: Asked, forgotten: Mapping[bytes, int], instant: int) -> bool:
    """Tell whether something was deleted since that was known of an address asked about, at the earlier instant.

    `forgotten`: of addresses, the instant up to which what was known may be gone. `instant`: as of which it is asked.
    """
    earlier = instant if asked.at is None else min(asked.at, instant)
    return any(earlier < forgotten[hash_] for _, hash_ in asked.addresses or () if hash_ in forgotten)


def from_view(asked: Asked, ground: Ground) -> list[Said] | None:
    """Answer from what is stored; None when the dossiers must be read."""
    if asked.addresses is None:
        return refuse(asked, "NO_ADDRESS")
    if asked.at is not None or len(asked.addresses) != 1:
        return None
    ((kind, hash_),) = asked.addresses
    row = ground.rows.get(hash_)
    usual = default_answers(ground.register, asked.controller, kind)
    said = []
    for purpose, channel in asked.pairs:
        stored = usual.get(purpose or "", {}).get(channel or "")
        if stored is None or stored.needs_dnc is not None:
            # A listing counts from the commit that brings it, before the rows of its numbers are made again.
            return None
        one = Said(stored) if row is None else _from_row(row, asked.controller, (purpose, channel), stored, ground)
        if one.answer.valid_until is not None and _micros(one.answer.valid_until) <= ground.now:
            return None
        said.append(one)
    return said


def _from_row(row: StoredRow, controller: str, pair: Pair, usual: Answer, ground: Ground) -> Said:
    """What is not in a row is the default of its register version, which still holds unless the purpose has changed."""
    purpose, channel = pair
    if row.register_version < ground.needs.get((controller, purpose or ""), 0):
        return _no("REGISTER_CHANGED")
    own = _decode_own(row.decisions).get(purpose or "", {}).get(channel or "", usual)
    return Said(own, (row.shard, row.pos), row.recorded_at)


@lru_cache(maxsize=65_536)
def _decode_own(decisions: bytes) -> Answers:
    return decode_own(decisions)


@lru_cache(maxsize=65_536)
def _micros(instant: str) -> int:
    return durations.instant(instant)


def from_dossiers(
    asked: Asked,
    ground: Ground,
    facts: Sequence[Fact],
    calls: CallRegisters | None = None,
    *,
    as_of: int | None = None,
) -> list[Said]:
    """Decide on all facts of the dossiers of the addresses asked about, and on what `calls` say of numbers.

    `as_of`: nothing recorded later counts (microseconds).
    """
    if len(facts) > FACTS_MAX:
        return refuse(asked, "UNAVAILABLE")
    last = max(facts, key=lambda fact: (fact.recorded, fact.place), default=None)
    place = None if last is None else last.place
    recorded_at = None if last is None else durations.moment(last.recorded)
    said = []
    for purpose, channel in asked.pairs:
        at = ground.now if asked.at is None else asked.at
        decision = decide(
            ground.register, facts, controller=asked.controller, identifiers=asked.addresses or (),
            purpose=purpose or "", channel=channel or "", at=at, as_of=as_of, dnc=calls,
        )  # fmt: skip
        said.append(Said(answer(_while_fresh(decision, ground.register, calls, at, as_of)), place, recorded_at))
    return said


def _while_fresh(
    decision: Decision, register: Register, calls: CallRegisters | None, at: int, as_of: int | None
) -> Decision:
    """End a yes that needs a do-not-call register when its snapshot will be too old, if nothing ends it before."""
    name = decision.needs_dnc
    if not decision.allow or name is None or calls is None:
        return decision
    snapshot_at = calls[name].look_up(b"", at, durations.NEVER if as_of is None else as_of).snapshot_at
    assert snapshot_at is not None  # noqa: S101 - without a snapshot the decision is a no
    stale = durations.after(snapshot_at, register.call_registers[name])
    until = stale if decision.valid_until is None else min(stale, decision.valid_until)
    return msgspec.structs.replace(decision, valid_until=until)


def explained(
    asked: Asked,
    ground: Ground,
    facts: Sequence[Fact],
    said: Sequence[Said] | None,
    calls: CallRegisters | None,
    *,
    as_of: int | None,
) -> list[Said]:
    """Decide on all facts and explain the answers; what was `said` already rests on no facts, and stays."""
    if said is None:
        # What is recorded has happened, whatever the clock says that lags behind the ledger's.
        if as_of is None:
            ground = ground._replace(now=max([ground.now, *(fact.recorded for fact in facts)]))
        said = from_dossiers(asked, ground, facts, calls, as_of=as_of)
    return [
        one._replace(explanation=_explanation(asked, pair, one, ground, facts, calls, as_of))
        for pair, one in zip(asked.pairs, said, strict=True)
    ]


def _explanation(
    asked: Asked,
    pair: Pair,
    said: Said,
    ground: Ground,
    facts: Sequence[Fact],
    calls: CallRegisters | None,
    as_of: int | None,
) -> Explanation:
    if asked.addresses is None or said.answer.reason in _UNFOUNDED:
        return explain_reason(said.answer.reason)
    return explain(
        ground.register,
        facts,
        controller=asked.controller,
        identifiers=asked.addresses,
        purpose=pair[0] or "",
        channel=pair[1] or "",
        at=ground.now if asked.at is None else asked.at,
        as_of=as_of,
        dnc=calls,
    )


def item(asked: Asked, said: Sequence[Said], register: Register) -> Item | Several:
    """Give what was said the form in which it goes out."""
    if asked.is_open:
        return Several([_named(asked, pair, one, register) for pair, one in zip(asked.pairs, said, strict=True)])
    one = said[0]
    return Item(
        allow=one.answer.allow,
        reason=one.answer.reason,
        reasons=one.answer.reasons,
        basis=_basis(register, asked.controller, asked.pairs[0][0]),
        position=None if one.place is None else Place(*one.place),
        recorded_at=one.recorded_at,
        valid_until=one.answer.valid_until,
        final=one.answer.reason not in _PASSING,
        explanation=one.explanation,
    )


def _named(asked: Asked, pair: Pair, said: Said, register: Register) -> Named:
    purpose, channel = pair
    single = item(asked._replace(pairs=[pair], is_open=False), [said], register)
    return Named(**msgspec.structs.asdict(single), purpose=purpose, channel=channel)


def _basis(register: Register, controller: str, purpose: str | None) -> str | None:
    registered = register.purposes.get((controller, purpose or ""))
    return None if registered is None else registered.terms.basis
