"""One question to be decided: a purpose and channel for the person and address of a standing, at an instant."""

from functools import cached_property

from consent_ledger.domain import rules_consent
from consent_ledger.domain.facts import Fact
from consent_ledger.domain.reasons import PRECEDENCE
from consent_ledger.domain.register import CONSENT, Purpose, Terms
from consent_ledger.domain.standing import Standing, certainly_later


class Case:
    """Collects what stands in the way, what the answer rests on, and when time alone may change it."""

    def __init__(self, standing: Standing, purpose: Purpose, channel: str, now: int) -> None:
        self.standing = standing
        self.purpose = purpose
        self.terms: Terms = purpose.terms
        self.channel = channel
        self.now = now
        self.against: dict[str, list[Fact]] = {}
        self.rests_on: list[Fact] = []
        self.next: int | None = None
        self.compelling = False
        self.silent_since: int | None = None
