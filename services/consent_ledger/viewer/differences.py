"""Says of an address why two views say different things of it: which entries, which fields, which answers. Pure.

Nothing of it is personal but the keyed hash.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

import msgspec

from consent_ledger.domain import suppression
from consent_ledger.domain.facts import Dossier, Fact
from consent_ledger.domain.suppression import Answers, decode_own
from consent_ledger.store.rebuild import Differing, Wait

Decide = Callable[[Differing, Sequence[Fact], int], bytes]
"""Decides on an address, from facts, at an instant in microseconds; the answers as a row keeps them."""

What = Literal["missing", "unexpected", "answers", "version", "facts", "due", "place", "waiting"]
Known = Literal["not folded", "not in the ledger", "altered"]
_TRIED_MAX: Final = 1_000


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that the two views know differently. `fields`: of the fact, where they have other values."""

    shard: int
    position: int
    type: str
    known: Known
    fields: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer by the reasons that are given for it; null where it is what holds for everybody."""

    purpose: str
    channel: str
    live: str | None
    anew: str | None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One address, or one entry that waits. `what`: the gravest of what differs."""

    what: What
    cause: str
    controller: str | None = None
    type: str | None = None
    hash: str | None = None
    entries: tuple[Entry, ...] = ()
    answers: tuple[Answer, ...] = ()


def explain(one: Differing, decide: Decide, needed: int, instant: int) -> Difference:
    """Find out what differs of an address, and why. `needed`: the oldest version that its row may have."""
    live, anew = _facts(one.live.facts), _facts(one.anew.facts)
    entries = tuple(_entries(live, anew))
    what = _what(one, needed)
    return Difference(
        what=what,
        cause=_cause(one, what, entries, anew, decide, needed, instant),
        controller=one.anew.controller or one.live.controller,
        type=one.anew.type or one.live.type,
        hash=one.hash.hex(),
        entries=entries,
        answers=tuple(_answers(one.live.decisions, one.anew.decisions)),
    )


def waits(one: Wait) -> Difference:
    """Tell of an entry that waits in one of the views only."""
    where = "in the live view only" if one.live else "and the live view does not know it"
    cause = f"entry {one.shard}/{one.pos} waits for event {one.event_id}, {where}"
    return Difference(what="waiting", cause=cause)


def _facts(stored: bytes | None) -> list[Fact]:
    """Read facts, the oldest recording first."""
    facts = () if stored is None else Dossier.loads(stored).facts
    return sorted(facts, key=lambda fact: (fact.recorded, fact.place))


def _what(one: Differing, needed: int) -> What:
    live, anew = one.live, one.anew
    if live.decisions is None and anew.decisions is not None:
        return "missing"
    if anew.decisions is None and live.decisions is not None:
        return "unexpected"
    if live.decisions != anew.decisions:
        return "answers"
    if (live.controller, live.type, live.q) != (anew.controller, anew.type, anew.q):
        return "place"
    if one.version is not None and one.version < needed:
        return "version"
    return "facts" if live.facts != anew.facts else "due"


def _entries(live: Iterable[Fact], anew: Iterable[Fact]) -> Iterable[Entry]:
    old, new = ({fact.place: fact for fact in facts} for facts in (live, anew))
    for place in sorted(old.keys() | new.keys()):
        one, other = old.get(place), new.get(place)
        if one == other:
            continue
        fact = other or one
        assert fact is not None  # noqa: S101 - it is in one of the two
        fields: tuple[str, ...] = ()
        if one is not None and other is not None:
            fields = tuple(name for name in fact.__struct_fields__ if getattr(one, name) != getattr(other, name))
        known: Known = "altered" if fields else "not folded" if one is None else "not in the ledger"
        yield Entry(shard=place[0], position=place[1], type=fact.type, known=known, fields=fields)


def _answers(live: bytes | None, anew: bytes | None) -> Iterable[Answer]:
    old, new = _read(live), _read(anew)
    pairs = {(purpose, channel) for side in (old, new) for purpose, channels in side.items() for channel in channels}
    for purpose, channel in sorted(pairs):
        one, other = old.get(purpose, {}).get(channel), new.get(purpose, {}).get(channel)
        if one != other:
            yield Answer(
                purpose=purpose, channel=channel, live=_reasons(one), anew=_reasons(other),
            )  # fmt: skip


def _read(own: bytes | None) -> Answers:
    try:
        return decode_own(own) if own else {}
    except msgspec.MsgspecError:
        # What nobody can have written holds no answer.
        return {}


def _reasons(given: suppression.Answer | None) -> str | None:
    return None if given is None else "+".join(dict.fromkeys((given.reason, *given.reasons)))


def _cause(
    one: Differing, what: What, entries: Sequence[Entry], facts: Sequence[Fact], decide: Decide, needed: int,
    instant: int,
) -> str:  # fmt: skip
    if what == "unexpected":
        return "no entry of the ledger speaks of this address"
    if entries:
        first = entries[0]
        fields = f" in {', '.join(first.fields)}" if first.fields else ""
        return f"entry {first.shard}/{first.position} ({first.type}) is {first.known}{fields}"
    if what == "missing":
        return f"the row is gone; it rests on entry {facts[-1].shard}/{facts[-1].pos} ({facts[-1].type})"
    if what == "version" or (one.version is not None and one.version < needed):
        return f"the row was made under version {one.version} of the register, and {needed} is needed"
    if what == "answers":
        return _stale(one, facts, decide, instant)
    return {"place": "it stands under another address or partition", "due": "it would be looked at again too late"}[
        what
    ]


def _stale(one: Differing, facts: Sequence[Fact], decide: Decide, instant: int) -> str:
    """Tell whether the answers were right once: before an entry, or before an instant."""
    if len(facts) <= _TRIED_MAX:
        for number in range(len(facts) - 1, -1, -1):
            if decide(one, facts[:number], instant) == one.live.decisions:
                fact = facts[number]
                return f"the row says what held before entry {fact.shard}/{fact.pos} ({fact.type})"
        if any(decide(one, facts, fact.recorded) == one.live.decisions for fact in facts):
            return "the row says what held before time ended or began something"
    return "the row is not what the rules make of these entries"
