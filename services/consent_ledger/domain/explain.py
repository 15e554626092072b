"""Why an answer is what it is: its rule, the entries it rests on and what each did, and what would change it.

Nothing here says more of a person than that entries exist, of what type, when, and from which source.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from consent_ledger.domain import durations, remedies, rules_consent
from consent_ledger.domain.case import SUBJECT, Case
from consent_ledger.domain.decision import ADDRESS_OF, CallRegisters, Decision, conclude, decide, judge
from consent_ledger.domain.durations import moment, rfc3339
from consent_ledger.domain.facts import SKEW, Fact, Token
from consent_ledger.domain.reach import addressed
from consent_ledger.domain.reasons import RULES
from consent_ledger.domain.register import REFUSALS, Register
from consent_ledger.domain.remedies import By
from consent_ledger.domain.standing import History, Refusal, certainly_later

_GATES: Final = {
    "UNKNOWN_CONTROLLER": "Only a register with this controller would change the answer.",
    "UNKNOWN_PURPOSE": "Only a register with this purpose would change the answer.",
    "CHANNEL_NOT_COVERED": "Only a register with this channel for the purpose would change the answer.",
    "NO_ADDRESS": "Ask with the one address that is to be used.",
}
"""What is answered before anything on record is looked at, and what would change it."""
_PASSING: Final = {
    "STALE": "The service is behind, so it cannot tell and says no.",
    "REGISTER_CHANGED": "The register has changed, and this address has not been decided on under it yet.",
    "UNAVAILABLE": "What is on record cannot be judged by the service, so it says no.",
}
NOT_REPRODUCIBLE: Final = "NOT_REPRODUCIBLE"
"""Why a question about the past is not answered: what the answer rested on was erased, or its time was over."""
_GONE: Final = "Of what was known of this address then, some was erased or deleted, so that the answer cannot be given."
_DAY: Final = durations.DAY
_HOUR: Final = 60 * durations.MINUTE


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the ledger and what it did.

    `time`: when it happened, as far as it counts. `source`: null when it is not registered, for its name may say
    anything.
    """

    shard: int
    position: int
    type: str
    time: str
    recorded_at: str
    source: str | None
    notes: tuple[str, ...]


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """A reason that applies. `rows`: of the decision tables, specification 6.12. `entries`: what it rests on."""

    reason: str
    text: str
    articles: tuple[str, ...]
    rows: tuple[str, ...]
    entries: tuple[Entry, ...] = ()


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """An event that would help, by whom; `example`: what it has to say beside its controller and the address."""

    event: str
    by: By
    text: str
    example: dict[str, Any]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Steps that together would make a no a yes, certainly later than `later_than` and not after `until`."""

    steps: tuple[Step, ...]
    later_than: str | None
    until: str | None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """An answer explained. `reasons`: all that apply, the reported one first.

    `without_effect`: entries that do not count, or do not undo a refusal, and why. `ends`: when a yes ends by itself;
    `begins`: when a no does. `changes`: every smallest set of steps that would make it a yes; `outlook` sums all up.
    """

    allow: bool
    reason: str
    reasons: tuple[Reason, ...]
    without_effect: tuple[Entry, ...] = ()
    ends: str | None = None
    begins: str | None = None
    changes: tuple[Change, ...] = ()
    outlook: str


def explain(
    register: Register,
    facts: Sequence[Fact],
    *,
    controller: str,
    identifiers: Sequence[tuple[str, Token]],
    purpose: str,
    channel: str,
    at: datetime | int,
    as_of: datetime | int | None = None,
    dnc: CallRegisters | None = None,
) -> Explanation:
    """Explain what `decide` answers to the same question."""
    decision = decide(
        register, facts, controller=controller, identifiers=identifiers, purpose=purpose, channel=channel, at=at,
        as_of=as_of, dnc=dnc,
    )  # fmt: skip
    if decision.reason in _GATES:
        return explain_reason(decision.reason)
    now = durations.instant(at)
    known_at = durations.NEVER if as_of is None else durations.instant(as_of)
    history = History(register, facts, controller, at=now, as_of=known_at, dnc=dnc)
    registered = register.purposes[controller, purpose]
    kind = ADDRESS_OF[channel]
    address = None if kind is None else next(token for type_, token in identifiers if type_ == kind)
    asked = tuple(dict.fromkeys(token for _, token in identifiers))
    standing = history.standing(asked, address, registered.terms.joint)
    case = judge(standing, registered, channel, now)
    known = remedies.known(facts, now, known_at)
    question = remedies.Asked(case, known, identifiers, known_at, dnc or {})
    return _Explained(case, conclude(standing, registered, channel), known).explanation(question)


def explain_reason(reason: str) -> Explanation:
    """Explain a no that rests on nothing on record: an unknown thing, no address, what is gone, or nobody can tell."""
    if reason == NOT_REPRODUCIBLE:
        told = Reason(reason=reason, text=_GONE, articles=("Art. 17(1)", "Art. 5(1)(e)"), rows=())
        return Explanation(allow=False, reason=reason, reasons=(told,), outlook="What is gone does not come back.")
    if reason in _PASSING:
        told = Reason(reason=reason, text=_PASSING[reason], articles=(), rows=())
        return Explanation(allow=False, reason=reason, reasons=(told,), outlook="Ask again in a moment.")
    return Explanation(allow=False, reason=reason, reasons=(_reason(reason, ()),), outlook=_GATES[reason])


def _reason(code: str, entries: tuple[Entry, ...]) -> Reason:
    rule = RULES[code]
    return Reason(reason=code, text=rule.text, articles=rule.articles, rows=rule.rows, entries=entries)


class _Explained:
    """A case that has been decided, put in words."""

    def __init__(self, case: Case, decision: Decision, known: Sequence[Fact]) -> None:
        self._case = case
        self._decision = decision
        self._known = known
        self._refusals: dict[tuple[int, int], Refusal] = {one.fact.place: one for one in case.standing.refusals}

    def explanation(self, question: remedies.Asked) -> Explanation:
        case, decision = self._case, self._decision
        allow = decision.allow
        begins = None if allow else remedies.by_itself(case)
        found = () if allow else remedies.changes(question)
        told = [self._told(code) for code in decision.reasons]
        return Explanation(
            allow=allow,
            reason=decision.reason,
            reasons=tuple(told),
            without_effect=tuple(self._without_effect()),
            ends=_instant(decision.valid_until),
            begins=_instant(begins),
            changes=tuple(map(_written, found)),
            outlook=self._outlook(begins, found),
        )

    def _outlook(self, begins: int | None, found: Sequence[remedies.Change]) -> str:
        """Sum up what would change the answer."""
        decision = self._decision
        if decision.allow:
            if decision.valid_until is None:
                return "It holds until something is refused, or the register changes."
            return f"It ends by itself at {_instant(decision.valid_until)}."
        told = [] if begins is None else [f"It ends by itself at {_instant(begins)}."]
        if decision.reason == "EPRIVACY_NO_BASIS":
            told.append("Only another purpose, one that rests on consent, would change the answer.")
        elif not found:
            told.append("Nothing that a person or the controller can do now would change the answer.")
        elif any(all(step.by == "controller" for step in change.steps) for change in found):
            told.append("The controller can change the answer.")
        else:
            told.append("Nothing that the controller can do alone would change the answer; the person can.")
        if not self._is_served():
            told.append("No source is registered for the controller, so that no permission counts.")
        return " ".join(told)

    def _is_served(self) -> bool:
        standing = self._case.standing
        return any(standing.controller in served for served in standing.register.sources.values())

    def _told(self, code: str) -> Reason:
        facts = self._case.rests_on if self._decision.allow else self._case.against[code]
        return _reason(code, self._entries(facts, self._notes))

    def _entries(self, facts: Iterable[Fact], notes: Callable[[Fact], Iterable[str]]) -> tuple[Entry, ...]:
        ordered = sorted({fact.place: fact for fact in facts}.values(), key=lambda fact: (fact.time, fact.place))
        return tuple(self._entry(fact, notes(fact)) for fact in ordered)

    def _entry(self, fact: Fact, notes: Iterable[str]) -> Entry:
        return Entry(
            shard=fact.shard, position=fact.pos, type=fact.type, time=rfc3339(moment(fact.time)),
            recorded_at=rfc3339(moment(fact.recorded)), notes=tuple(notes),
            source=fact.source if fact.source in self._case.standing.register.sources else None,
        )  # fmt: skip

    def _notes(self, fact: Fact) -> Iterator[str]:
        yield from _clock_notes(fact)
        if fact.malformed:
            yield "could not be read as sent, so it stands as an objection to everything"
        refusal = self._refusals.get(fact.place)
        if refusal is not None:
            yield from self._wide_notes(refusal)
        elif fact.type == "consent-withdrawn":
            yield "reached a controller that is named in the same consent (C-129/21)"

    def _wide_notes(self, refusal: Refusal) -> Iterator[str]:
        """Say beyond what it says itself a refusal reaches, and why."""
        fact, standing = refusal.fact, self._case.standing
        whom = addressed(standing.register, fact.type, fact.source, fact.controllers, fact.controller_scope)
        if standing.controller not in whom.controllers:
            yield "reached a joint controller of the purpose (Art. 26(3))"
        elif standing.controller not in whom.ungrouped:
            yield "counts for the whole group"
        elif standing.controller not in (fact.controllers or ()):
            yield "names no controller, or an unknown one, so it counts for every controller that its source serves"
        if refusal.scope.names is None:
            named = fact.purposes is not None
            yield "names a purpose that is not registered, so it counts for all" if named else "counts for all purposes"
        elif self._case.purpose.id not in refusal.scope.names:
            yield "reached a purpose of the same withdrawal group"
        if fact.channels is not None and self._case.channel not in fact.channels:
            yield "reaches profiling for marketing over whatever channel (Art. 21(2))"
        if not refusal.direct:
            yield "made by another identifier of the same person"

    def _without_effect(self) -> Iterator[Entry]:
        """List voided entries, consents that do not count, and those that count and undo no refusal."""
        case = self._case
        seen = {one.fact.place for one in case.standing.history.seen}
        voided = [one for one in self._known if one.place not in seen and one.time <= case.now]
        yield from self._entries(voided, lambda _: ("voided",))
        said = {fact.place for causes in case.against.values() for fact in causes}
        candidates = rules_consent.candidates(case) if case.is_consent else []
        flaws = {
            consent.place: RULES[flaw].text
            for consent, flaw in candidates if flaw is not None and consent.place not in said
        }  # fmt: skip
        flawed = [consent for consent, _ in candidates if consent.place in flaws]
        yield from self._entries(flawed, lambda fact: (flaws[fact.place],))
        refusals = [fact for causes in case.against.values() for fact in causes if fact.type in REFUSALS]
        if refusals:
            counting = [consent for consent, flaw in candidates if flaw is None]
            yield from self._entries(counting, lambda consent: _in_vain(consent, refusals))


def _in_vain(consent: Fact, refusals: Sequence[Fact]) -> Iterator[str]:
    """Say why a consent that counts does not undo a refusal."""
    if consent.origin != SUBJECT:
        yield "not the person's own act, so it ends no refusal"
    elif any(consent.time <= refusal.time for refusal in refusals):
        yield "not later than the refusal"
    elif not all(certainly_later(consent, refusal.time, refusal.source) for refusal in refusals):
        yield "later by the clock of another source only, and by no more than five minutes"


def _clock_notes(fact: Fact) -> Iterator[str]:
    if fact.ahead:
        yield "dated ahead of its recording"
    late = fact.recorded - fact.time
    if late > SKEW:
        yield f"came in {_span(late)} after it happened"


def _span(micros: int) -> str:
    for unit, name in ((_DAY, "day"), (_HOUR, "hour"), (durations.MINUTE, "minute")):
        count = micros // unit
        if count:
            return f"{count} {name}{'s' if count > 1 else ''}"
    return "a moment"


def _instant(instant: int | None) -> str | None:
    return None if instant is None else rfc3339(moment(instant))


def _written(change: remedies.Change) -> Change:
    steps = tuple(Step(event=one.event, by=one.by, text=one.text, example=one.example) for one in change.steps)
    return Change(steps=steps, later_than=_instant(change.later_than), until=_instant(change.until))
