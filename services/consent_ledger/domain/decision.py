"""May a controller, for a purpose, over a channel, use an address at an instant? Anything unsure is a no."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from consent_ledger.domain import durations, rules_address, rules_basis, rules_consent, rules_refusal
from consent_ledger.domain.case import Case
from consent_ledger.domain.facts import Fact, Token
from consent_ledger.domain.reasons import ARTICLES, PRECEDENCE
from consent_ledger.domain.register import REFUSALS, Purpose, Register, Terms
from consent_ledger.domain.standing import CallRegister, History, Standing

ADDRESS_OF: Final[Mapping[str, str | None]] = {
    "email": "email", "phone": "phone", "sms": "phone", "post": "postal", "device": "device",
    "internal": None, "media": None,
}  # fmt: skip
"""Channel → the type of identifier that is its address; None: it has none."""
CHANNELS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "email": ("email", "internal", "media"),
    "phone": ("phone", "sms", "internal", "media"),
    "postal": ("post", "internal", "media"),
    "device": ("device", "internal"),
    "customer_no": ("internal", "media"),
    "account_id": ("internal", "media"),
}
"""Type of identifier → the channels about which the record of one such identifier holds decisions."""
CallRegisters = Mapping[str, CallRegister]
Pair = tuple[str, str]
"""Purpose and channel."""
_TOUCHING_ALL: Final = frozenset({"age-established", "delivery-failed", "identifier-changed"})
_TOUCHING_CLOCKS: Final = frozenset({"relationship-started", "relationship-ended", "contact-recorded"})


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one question. Instants are microseconds since 1970.

    `reasons`: all codes that apply, the reported one first. `entries`: shard and position of what it rests on. `since`:
    when that happened, for a no that an entry caused. `valid_until`: when this yes ends by time alone. `due`: when the
    answer, either way, may next change by time alone. `needs_dnc`: the do-not-call register whose last snapshot must
    not be older than its `max_age` when this yes is used; its date is in neither instant.
    """

    allow: bool
    reason: str
    reasons: tuple[str, ...]
    articles: tuple[str, ...]
    basis: str | None = None
    entries: tuple[tuple[int, int], ...] = ()
    since: int | None = None
    valid_until: int | None = None
    due: int | None = None
    needs_dnc: str | None = None


def decide(
    register: Register,
    facts: Iterable[Fact],
    *,
    controller: str,
    identifiers: Sequence[tuple[str, Token]],
    purpose: str,
    channel: str,
    at: datetime | int,
    as_of: datetime | int | None = None,
    dnc: CallRegisters | None = None,
) -> Decision:
    """Decide one question from the facts of the dossiers of the identifiers asked about (type, token).

    Events after `at` have not happened yet; events recorded after `as_of` (None: whatever was recorded) are not known.
    """
    registered = register.purposes.get((controller, purpose))
    if controller not in register.controllers:
        return _gate("UNKNOWN_CONTROLLER")
    if registered is None:
        return _gate("UNKNOWN_PURPOSE")
    if channel not in registered.channels:
        return _gate("CHANNEL_NOT_COVERED", registered.terms.basis)
    address_type = ADDRESS_OF[channel]
    addresses = {token for kind, token in identifiers if address_type in (None, kind)}
    if not addresses or (address_type is not None and len(addresses) > 1):
        return _gate("NO_ADDRESS", registered.terms.basis)
    known = durations.NEVER if as_of is None else durations.instant(as_of)
    history = History(register, facts, controller, at=durations.instant(at), as_of=known, dnc=dnc)
    asked = tuple(dict.fromkeys(token for _, token in identifiers))
    address = None if address_type is None else addresses.pop()
    return conclude(history.standing(asked, address, registered.terms.joint), registered, channel)


def decide_address(
    register: Register,
    facts: Sequence[Fact],
    *,
    controller: str,
    type: str,
    token: Token,
    at: datetime | int,
    dnc: CallRegisters | None = None,
) -> dict[Pair, Decision]:
    """Decide every purpose and channel that the record of one address holds, as `decide` would, knowing everything.

    What is recorded has happened: no clock that lags behind the ledger's can hide an entry. Purposes that nothing in
    the dossier can touch keep the answer of `defaults`, as the same objects.
    """
    history = history_of(register, facts, controller=controller, at=at, dnc=dnc)
    return {**defaults(register, controller, type), **decide_touched(history, type=type, token=token)}


def history_of(
    register: Register,
    facts: Sequence[Fact],
    *,
    controller: str,
    at: datetime | int,
    dnc: CallRegisters | None = None,
) -> History:
    """Give the history from which the record of an address is decided: everything known, at `at` or later."""
    instant = max(durations.instant(at), max((fact.recorded for fact in facts), default=0))
    return History(register, facts, controller, at=instant, as_of=durations.NEVER, dnc=dnc)


def decide_touched(history: History, *, type: str, token: Token) -> dict[Pair, Decision]:
    """Decide, of what the record of one address holds, all that its history can touch; the rest has its default."""
    plan = _plan(history.register, history.controller, type)
    decisions: dict[Pair, Decision] = {}
    touched = _touched(history, plan)

    def conclude_pair(purpose: Purpose, channel: str) -> Decision:
        address = token if ADDRESS_OF[channel] == type else None
        return conclude(history.standing((token,), address, purpose.terms.joint), purpose, channel)

    for name in touched.names:
        for purpose, channel in plan.pairs_of.get(name, ()):
            decisions[name, channel] = conclude_pair(purpose, channel)
    for alike in plan.alike:
        if touched.everything or (touched.clocks and alike.has_clock) or (history.dnc and alike.has_dnc):
            purposes = [purpose for purpose in alike.purposes if purpose.id not in touched.names]
            if purposes:
                decision = conclude_pair(purposes[0], alike.channel)
                decisions.update(((purpose.id, alike.channel), decision) for purpose in purposes)
    return decisions


def defaults(register: Register, controller: str, type: str) -> Mapping[Pair, Decision]:
    """Decide every purpose and channel for an identifier with nothing on record and no do-not-call snapshot."""
    return _plan(register, controller, type).defaults


def conclude(standing: Standing, purpose: Purpose, channel: str) -> Decision:
    """Decide for a purpose and channel of a standing, at the instant of the standing."""
    case = judge(standing, purpose, channel, standing.history.at)
    terms = purpose.terms
    needs_dnc = terms.dnc[0] if terms.dnc and terms.direct_marketing and channel == "phone" else None
    if not case.against:
        reason = rules_basis.allowed_as(case)
        return Decision(
            allow=True, reason=reason, reasons=(reason,), articles=ARTICLES[reason], basis=terms.basis,
            entries=_places(case.rests_on), valid_until=_valid_until(case), due=case.next, needs_dnc=needs_dnc,
        )  # fmt: skip
    reasons = tuple(sorted(case.against, key=PRECEDENCE.__getitem__))
    causes = case.against[reasons[0]]
    return Decision(
        allow=False, reason=reasons[0], reasons=reasons, articles=ARTICLES[reasons[0]], basis=terms.basis,
        entries=_places(causes), since=min((fact.time for fact in causes), default=None), due=case.next,
        needs_dnc=needs_dnc,
    )  # fmt: skip


def judge(standing: Standing, purpose: Purpose, channel: str, now: int) -> Case:
    """Put everything that stands against a use into a case: refusals, what the basis lacks, the address."""
    case = Case(standing, purpose, channel, now)
    rules_consent.weigh(case)
    rules_refusal.weigh(case)
    rules_basis.weigh(case)
    rules_address.weigh(case)
    if purpose.terms.repermission_for is not None:
        _ask_again(case, purpose.terms.repermission_for)
    return case


def _ask_again(case: Case, name: str) -> None:
    standing = case.standing
    underlying = standing.register.purposes.get((standing.controller, name))
    if underlying is None:
        case.object("UNKNOWN_PURPOSE")
    elif case.channel not in underlying.channels:
        case.object("CHANNEL_NOT_COVERED")
    elif underlying.terms.repermission_for is not None:
        case.object("REPERMISSION_NOT_DUE")
    else:
        beside = standing.beside(underlying.terms.joint)
        rules_basis.ask_again(case, judge(beside, underlying, case.channel, case.now))


def _valid_until(case: Case) -> int | None:
    """Find the instant at which an allowed use ends, by judging it again wherever time may change it."""
    until = case.next
    while until is not None:
        later = judge(case.standing, case.purpose, case.channel, until)
        if later.against:
            return until
        until = later.next
    return None


def _gate(reason: str, basis: str | None = None) -> Decision:
    return Decision(allow=False, reason=reason, reasons=(reason,), articles=ARTICLES[reason], basis=basis)


def _places(facts: Iterable[Fact]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted({fact.place for fact in facts}))


class _Alike(NamedTuple):
    """Purposes on equal terms with one channel: only what names one of them can tell them apart."""

    channel: str
    purposes: tuple[Purpose, ...]
    has_clock: bool
    has_dnc: bool


class _Plan(NamedTuple):
    """What the record of one type of identifier holds at one controller, before anything is recorded."""

    defaults: Mapping[Pair, Decision]
    pairs_of: Mapping[str, tuple[tuple[Purpose, str], ...]]
    alike: tuple[_Alike, ...]
    members: Mapping[str, frozenset[str]]
    """Withdrawal group → its purposes."""
    asking: Mapping[str, frozenset[str]]
    """Purpose → those that ask permission for it anew."""


class _Touched(NamedTuple):
    """What the facts of a dossier can have changed: everything, what has a clock, or just what they name."""

    everything: bool
    clocks: bool
    names: frozenset[str]


@lru_cache(maxsize=1024)
def _plan(register: Register, controller: str, type: str) -> _Plan:
    purposes = register.purposes_of(controller)
    pairs = [(p, channel) for p in purposes for channel in CHANNELS_OF[type] if channel in p.channels]
    alike: dict[tuple[Terms, str], list[Purpose]] = {}
    for purpose, channel in pairs:
        alike.setdefault((purpose.terms, channel), []).append(purpose)
    history = History(register, (), controller, at=0, as_of=0, dnc=None)
    nobody = history.standing((b"",), b"", frozenset())
    found = {key: conclude(nobody, members[0], key[1]) for key, members in alike.items()}
    groups = {p.withdrawal_group for p in purposes if p.withdrawal_group}
    return _Plan(
        defaults={(purpose.id, channel): found[purpose.terms, channel] for purpose, channel in pairs},
        pairs_of={p.id: tuple((p, channel) for one, channel in pairs if one is p) for p in purposes},
        alike=tuple(
            _Alike(
                channel, tuple(members), has_dnc=channel == "phone" and bool(terms.dnc),
                has_clock=bool(terms.soft_opt_in or terms.inactivity_ttl or terms.repermission_for),
            )
            for (terms, channel), members in alike.items()
        ),
        members={group: frozenset(p.id for p in purposes if p.withdrawal_group == group) for group in groups},
        asking={
            name: frozenset(p.id for p in purposes if p.terms.repermission_for == name)
            for name in {p.terms.repermission_for for p in purposes} if name
        },
    )  # fmt: skip


def _touched(history: History, plan: _Plan) -> _Touched:
    names: set[str] = set()
    everything = clocks = False
    for one in history.seen:
        fact = one.fact
        if fact.type in REFUSALS:
            reached = history.scope_of(fact)
            everything = everything or reached.names is None
            names.update(reached.names or (), *(plan.members.get(group, ()) for group in reached.groups))
        elif fact.type in _TOUCHING_ALL:
            everything = True
        elif fact.type in _TOUCHING_CLOCKS:
            clocks = True
        names.update(fact.purposes or ())
    names.update(*(plan.asking.get(name, ()) for name in tuple(names) if plan.asking))
    return _Touched(everything, clocks, frozenset(names))
