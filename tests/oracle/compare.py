"""The product beside the oracle: random histories, decided both ways. `python -m oracle.compare HISTORIES [SEED]`.

Every history has a seed of its own, counted up from the first; a difference names it, and tells the shortest part of
the history that still shows it.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from random import Random
from typing import Any

from consent_ledger.domain import durations
from consent_ledger.domain import register as registers
from consent_ledger.domain.decision import CHANNELS_OF, Decision, decide, decide_address
from consent_ledger.domain.facts import Dossier
from consent_ledger.domain.register import Register
from consent_ledger.domain.scenario import Ledger
from oracle import law, lives, worlds
from oracle.known import Entry, known
from oracle.times import END_OF_TIME, instant

LIVES_IN_A_WORLD = 4
QUESTIONS = 4
PROBES = 2
TICK = timedelta(microseconds=1)
# By an eighteenth birthday, or when the subject is informed; the question after silence opens at its expiry.
OPENED_BY_TIME = {"MINOR", "OBJECTION_PENDING"}
Object = dict[str, Any]
Said = tuple[bool, str, frozenset[str]]


def said(decision: Decision) -> Said:
    return decision.allow, decision.reason, frozenset(() if decision.allow else decision.reasons)


def _told(decision: Decision) -> object:
    """Give what readers see of a decision."""
    return said(decision), decision.entries, decision.since, decision.valid_until, decision.needs_dnc


def _may_follow(decision: Decision, then: Said, instant: int, *, opens: bool) -> bool:
    """Tell whether time alone may make the answer so. `opens`: it may even turn this no into a yes."""
    if then != said(decision) and (decision.due is None or instant < decision.due):
        return False
    if not decision.allow:
        return opens or not then[0]
    if decision.valid_until is None or instant < decision.valid_until:
        return then[0]
    return instant > decision.valid_until or not then[0]


class Trial:
    """One history in one register, by both."""

    def __init__(self, chance: Random, document: Object, register: Register, life: lives.Life, most: int) -> None:
        self.chance = chance
        self.document = document
        self.register = register
        self.life = life
        self.events = life.history(most)
        self.ledger = Ledger(register, as_filed(chance, self.events))
        self.known = known(document, self.events, END_OF_TIME)
        self.answers: Counter[str] = Counter()

    def by_oracle(self, question: Object, entries: Sequence[Entry], document: Object | None = None) -> Said:
        allow, reason, reasons = law.answer(document or self.document, entries, question)
        return allow, reason, frozenset(reasons)

    def run(self) -> None:
        for _ in range(QUESTIONS - 1):
            self.ask()
        self._wait(*self.ask())
        self.replay()
        self.read_record()

    def ask(self) -> tuple[Object, Decision]:
        """A question about all that is known is answered alike."""
        question = self.life.question()
        return question, self._answer(question)

    def _answer(self, question: Object) -> Decision:
        decision = self.ledger.answer(question, None)
        expected = self.by_oracle(question, self.known)
        self.answers[decision.reason] += 1
        assert said(decision) == expected, self._difference(question, END_OF_TIME, said(decision), expected)
        return decision

    def replay(self) -> None:
        """A question as of an earlier recorded time is answered alike."""
        question, as_of = self.life.question(), self.life.instant()
        decision = self.ledger.answer(question, as_of.isoformat())
        expected = self.by_oracle(question, known(self.document, self.events, as_of))
        assert said(decision) == expected, self._difference(question, as_of, said(decision), expected)

    def read_record(self) -> None:
        """The record of one address, from facts folded in any order and any batches, holds the same answers."""
        kind, value = self.chance.choice(self.life.people)
        controller = self.chance.choice([self.life.focus["controller"], *self.document["controllers"]])
        token = f"{kind}|{value}".encode()
        facts = self._folded(self.ledger.dossier(controller, [token]))
        at = max([durations.instant(self.life.instant()), *(one.recorded for one in facts)])
        record = decide_address(
            self.register, facts, controller=controller, type=kind, token=token, at=at, dnc=self.ledger.snapshots
        )
        subject = [{"type": kind, "value": value}]
        pairs = [(p.id, c) for p in self.register.purposes_of(controller) for c in p.channels if c in CHANNELS_OF[kind]]
        assert sorted(record) == sorted(pairs)
        checked = self.chance.choice(pairs) if pairs else None
        for purpose, channel in pairs:
            question = {
                "controller": controller, "purpose": purpose, "channel": channel, "subject": subject,
                "at": durations.moment(at).isoformat(),
            }  # fmt: skip
            told, expected = said(record[purpose, channel]), self.by_oracle(question, self.known)
            assert told == expected, "in a record: " + self._difference(question, END_OF_TIME, told, expected)
            if (purpose, channel) == checked:
                whole = decide(
                    self.register, self.ledger.facts(controller), controller=controller, identifiers=[(kind, token)],
                    purpose=purpose, channel=channel, at=at, dnc=self.ledger.snapshots,
                )  # fmt: skip
                assert _told(record[checked]) == _told(whole), f"seed {self.life.seed}: {question} {self.events}"
                self._wait(question, record[checked])

    def _folded(self, facts: Sequence[Any]) -> Sequence[Any]:
        """Fold as the viewer does: batch by batch, each stored and read again, some facts met twice."""
        shuffled = self.chance.sample([*facts, *facts[:2]], len(facts) + len(facts[:2]))
        dossier = Dossier()
        while shuffled:
            size = self.chance.randint(1, 3)
            batch, shuffled = shuffled[:size], shuffled[size:]
            dossier = Dossier.loads(dossier.add(batch).dumps())
        return dossier.add(facts).facts

    def _wait(self, question: Object, decision: Decision) -> None:
        """Time alone changes the answer when `due` says so and not before, ends a yes at `valid_until` (6.13.6)."""
        document = self.document
        if decision.needs_dnc:
            if "DNC_STALE" in decision.reasons:
                return
            # The age of the snapshot that a decision names is the reader's to check.
            ages = document["dnc_registers"] | {decision.needs_dnc: {"max_age": "P900Y"}}
            document = document | {"dnc_registers": ages}
        at = instant(question["at"])
        for end in self._ends(decision):
            self._answer(question | {"at": end.isoformat()})
        happened = [one for one in self.known if one.t <= at]
        for later in self._probes(at, decision):
            then = self.by_oracle(question | {"at": later.isoformat()}, happened, document)
            opens = decision.reason in OPENED_BY_TIME or question["purpose"] == "ask"
            assert _may_follow(decision, then, durations.instant(later), opens=opens), (
                f"seed {self.life.seed}: {question} at {later} says {then}, after {decision}; {self.events}"
            )

    def _ends(self, decision: Decision) -> set[datetime]:
        """Give the instants at which a decision says that it may change, and the very last before them."""
        ends = {durations.moment(end) for end in (decision.due, decision.valid_until) if end}
        return {*ends, *(end - TICK for end in ends)}

    def _probes(self, at: datetime, decision: Decision) -> list[datetime]:
        instants = [one for one in self.life.instants if one > at]
        found = {*self._ends(decision), *self.chance.sample(instants, min(PROBES, len(instants)))}
        return sorted(one for one in found | {one - TICK for one in found} if one >= at)

    def _difference(self, question: Object, as_of: datetime, told: Said, expected: Said) -> str:
        events = self._shortest(question, as_of)
        lines = "\n".join(f"  {event}" for event in events)
        purpose = [one for one in self.document["purposes"] if one["controller"] == question["controller"]]
        return (
            f"seed {self.life.seed}: the product says {told}, the oracle {expected}\n  {question}\n  as of {as_of}\n"
            f"  {purpose}\n  {self.document['controllers']} {self.document['sources']}\n{lines}"
        )

    def _shortest(self, question: Object, as_of: datetime) -> list[Object]:
        """Leave out every event without which the two still differ."""
        events = list(self.events)
        for one in self.events:
            fewer = [other for other in events if other is not one]
            decision = Ledger(self.register, fewer).answer(question, as_of.isoformat())
            if said(decision) != self.by_oracle(question, known(self.document, fewer, as_of)):
                events = fewer
        return events


def as_filed(chance: Random, events: Sequence[Object]) -> list[Object]:
    """Give events in an order in which a file may hold them: any, but for those of one instant of recording."""
    together = [list(some) for _, some in groupby(events, key=lambda one: instant(one["recorded_at"]))]
    chance.shuffle(together)
    return [one for some in together for one in some]


def trial(chance: Random, seed: int | None = None, most: int = 9) -> list[Trial]:
    """Make one world and a few lives in it."""
    document = worlds.register(chance)
    register = registers.compile(document, 1)
    return [
        Trial(chance, document, register, lives.Life(chance, document, seed), most) for _ in range(LIVES_IN_A_WORLD)
    ]


def compare(first_seed: int, histories: int) -> Counter[str]:
    """Compare so many histories; count the answers that both gave. Raises AssertionError on the first difference."""
    answers: Counter[str] = Counter()
    for seed in range(first_seed, first_seed + max(1, histories // LIVES_IN_A_WORLD)):
        for one in trial(Random(seed), seed):
            one.run()
            answers.update(one.answers)
    return answers


if __name__ == "__main__":
    number, start = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else Random().randrange(10**9)
    print(f"{number} histories from CONSENT_ORACLE_SEED={start}", flush=True)  # noqa: T201
    print(compare(start, number).most_common(), "no difference")  # noqa: T201
