"""One question to be decided: a purpose and channel for the person and address of a standing, at an instant."""

from typing import Final

from consent_ledger.domain import durations
from consent_ledger.domain.facts import Fact
from consent_ledger.domain.reasons import PRECEDENCE
from consent_ledger.domain.register import Purpose
from consent_ledger.domain.standing import Standing, certainly_later

SUBJECT: Final = "data-subject"


class Case:
    """Collects what stands in the way, what the answer rests on, and when time alone may change it.

    `next` is the earliest such instant after `now`. `counting` are the consents that count now; `silent_since` is when
    the silence clock ran out. `compelling`: a rejected objection is on record. `now` may be later than the instant of
    the standing; the facts stay those of the standing.
    """

    __slots__ = (
        "_waivers", "against", "candidates", "channel", "compelling", "counting", "next", "now", "purpose", "rests_on",
        "silent_since", "standing", "terms",
    )  # fmt: skip

    def __init__(self, standing: Standing, purpose: Purpose, channel: str, now: int) -> None:
        self.standing = standing
        self.purpose = purpose
        self.terms = purpose.terms
        self.channel = channel
        self.now = now
        self.candidates: list[tuple[Fact, str | None]] = []
        self.counting: list[Fact] = []
        self.against: dict[str, list[Fact]] = {}
        self.rests_on: list[Fact] = []
        self.next: int | None = None
        self.compelling = False
        self.silent_since: int | None = None
        self._waivers: list[Fact] | None = None

    @property
    def is_consent(self) -> bool:
        """Whether the purpose rests on consent."""
        return self.terms.basis == "consent"

    @property
    def reason(self) -> str | None:
        """The first code against, in precedence; None if nothing stands in the way."""
        return min(self.against, key=PRECEDENCE.__getitem__) if self.against else None

    def object(self, code: str, *facts: Fact) -> None:
        """Put a code, and the facts that cause it, against the use."""
        self.against.setdefault(code, []).extend(facts)

    def end_of(self, start: int, duration: str) -> int:
        """Give the end of a span that starts with a fact; the answer may change there by time alone."""
        self.standing.history.clocks.add((start, duration))
        end = durations.after(start, duration)
        self._wait(end)
        return end

    def wait_for(self, instant: int) -> None:
        """Note any other instant at which the answer may change by time alone."""
        self.rest_on_date()
        self._wait(instant)

    def wait_like(self, other: "Case") -> None:
        """Note that the answer may change when that of another case does."""
        if other.next is not None:
            self._wait(other.next)

    def rest_on_date(self) -> None:
        """Note that the answer rests on the calendar, and not just on the order of the facts."""
        self.standing.history.is_dated = True

    def _wait(self, instant: int) -> None:
        if instant > self.now and (self.next is None or instant < self.next):
            self.next = instant

    def is_named_in(self, permission: Fact) -> bool:
        """Tell whether a permission lists this purpose and this channel. A wildcard lists nothing (Art. 4(11))."""
        return (
            permission.purposes is not None
            and self.purpose.id in permission.purposes
            and permission.channels is not None
            and self.channel in permission.channels
        )

    def is_consented_anew(self, refusal: Fact) -> bool:
        """Tell whether a fresh consent, one that counts and is the subject's own act, is later than a refusal."""
        return any(
            consent.origin == SUBJECT and certainly_later(consent, refusal.time, refusal.source)
            for consent in self.counting
        )

    def is_waived(self, refusal: Fact) -> bool:
        """Tell whether the subject took the refusal back for exactly this purpose, channel and address."""
        if self._waivers is None:
            # The newest first: it undoes most.
            self._waivers = [waiver for waiver in reversed(self.standing.waivers) if self.is_named_in(waiver)]
        return any(certainly_later(waiver, refusal.time, refusal.source) for waiver in self._waivers)

    def is_sold_anew(self, refusal: Fact) -> bool:
        """Tell whether a relationship with this address started later than a refusal."""
        return any(certainly_later(sale, refusal.time, refusal.source) for sale in reversed(self.standing.sales))
