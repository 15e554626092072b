"""What another register would change: who would gain or lose permission, for which purpose, and why."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from consent_ledger.domain.decision import CallRegisters, Decision, Pair, decide_address, defaults
from consent_ledger.domain.facts import Fact
from consent_ledger.domain.register import Register
from consent_ledger.domain.suppression import TYPES

_NOT_REGISTERED = (False, "UNKNOWN_PURPOSE")
_NOT_COVERED = (False, "CHANNEL_NOT_COVERED")


class Shift(NamedTuple):
    """Answers of a purpose and channel that turn from one into another; each is (allow, reason)."""

    controller: str
    purpose: str
    channel: str
    before: tuple[bool, str]
    after: tuple[bool, str]

    @property
    def gains(self) -> bool:
        """Whether permission is gained; else it is lost, or only the reason differs."""
        return self.after[0] and not self.before[0]

    @property
    def loses(self) -> bool:
        """Whether permission is lost."""
        return self.before[0] and not self.after[0]


class Impact:
    """Counts, dossier by dossier, what would be answered otherwise at one instant (microseconds).

    A dossier stands for a person: the addresses that a controller knows to belong together. `dossiers` and `addresses`
    count by shift; the answers that stay are not counted.
    """

    def __init__(self, before: Register, after: Register, at: int) -> None:
        self._before = before
        self._after = after
        self._at = at
        self.dossiers: Counter[Shift] = Counter()
        self.addresses: Counter[Shift] = Counter()

    def of_nobody(self) -> list[Shift]:
        """Find what changes for an address with nothing on record: for as many people as were never heard of."""
        found: dict[Shift, None] = {}
        for controller in sorted(self._before.controllers.keys() | self._after.controllers.keys()):
            for type_ in TYPES:
                both = (defaults(register, controller, type_) for register in (self._before, self._after))
                found |= dict.fromkeys(self._shifts(controller, *both))
        return list(found)

    def add(self, controller: str, facts: Sequence[Fact], calls: CallRegisters) -> None:
        """Decide on every address of one dossier under both registers, knowing what `calls` say of numbers."""
        found: set[Shift] = set()
        for type_, token in sorted(
            {(i[1], i[2]) for fact in facts for i in fact.identifiers if isinstance(i[2], bytes)}
        ):
            decisions = [
                decide_address(
                    register,
                    facts,
                    controller=controller,
                    type=type_,
                    token=token,
                    at=self._at,
                    dnc=calls if type_ == "phone" else None,
                )
                for register in (self._before, self._after)
            ]
            shifts = list(self._shifts(controller, *decisions))
            self.addresses.update(shifts)
            found.update(shifts)
        self.dossiers.update(found)

    def _shifts(
        self, controller: str, before: Mapping[Pair, Decision], after: Mapping[Pair, Decision]
    ) -> Iterator[Shift]:
        for purpose, channel in sorted(before.keys() | after.keys()):
            old = _brief(self._before, controller, before, (purpose, channel))
            new = _brief(self._after, controller, after, (purpose, channel))
            if old != new:
                yield Shift(controller, purpose, channel, old, new)


def _brief(register: Register, controller: str, decisions: Mapping[Pair, Decision], pair: Pair) -> tuple[bool, str]:
    decision = decisions.get(pair)
    if decision is not None:
        return decision.allow, decision.reason
    return _NOT_COVERED if (controller, pair[0]) in register.purposes else _NOT_REGISTERED
