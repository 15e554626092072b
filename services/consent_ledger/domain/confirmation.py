"""When the one mail may go out that asks an address to confirm a consent (domain.md 2.6, `doi-confirmation`).

It is no marketing: one mail for each pending consent, at most one to an address in P30D, and only because somebody has
just entered the address in a form of the controller's own; never after an import. So it may go to an address that
objected before. That an earlier mail was sent is concluded from the earlier consent: nothing else has to be recorded.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from consent_ledger.domain import durations
from consent_ledger.domain.case import SUBJECT
from consent_ledger.domain.decision import decide
from consent_ledger.domain.facts import Fact, Token
from consent_ledger.domain.register import Register

ONCE_IN: Final = "P30D"
"""At most one mail to an address in so long (ISO 8601)."""
_ADDRESS: Final = "email"
_PENDING: Final = "CONSENT_PENDING"

Answer = Literal["CONFIRM", "NO_SUCH_CONSENT", "NOT_FROM_FORM", "NOT_PENDING", "ASKED_ALREADY"]
"""CONFIRM alone is a yes. NOT_PENDING: no confirmation would make it count, or it counts already, or time is over."""


def may_ask(
    register: Register, facts: Sequence[Fact], *, controller: str, token: Token, consent_id: bytes, at: int
) -> Answer:
    """Tell whether a mail may ask an address (its token) to confirm a consent, from the facts of its dossier."""
    consents = _asking(register, facts, controller, token)
    consent = next((one for one in consents if one.event_id == consent_id), None)
    if consent is None:
        return "NO_SUCH_CONSENT"
    if not _is_entered(register, consent, controller):
        return "NOT_FROM_FORM"
    if not _is_pending(register, facts, consent, controller, token, at):
        return "NOT_PENDING"
    entered = (one for one in consents if _is_entered(register, one, controller))
    return "CONFIRM" if consent in _once(entered) else "ASKED_ALREADY"


def _asking(register: Register, facts: Iterable[Fact], controller: str, token: Token) -> list[Fact]:
    """List the consents of an address that want to be confirmed, in the order of time."""
    found = [
        one for one in facts
        if one.type == "consent-given" and _ADDRESS in (one.channels or ()) and _purposes(register, one, controller)
        and any((kind, one_token) == (_ADDRESS, token) for _, kind, one_token, _ in one.identifiers)
    ]  # fmt: skip
    return sorted(found, key=lambda one: (one.time, one.place))


def _purposes(register: Register, consent: Fact, controller: str) -> list[str]:
    found = [register.purposes.get((controller, name)) for name in consent.purposes or ()]
    return [one.id for one in found if one and one.terms.double_opt_in and _ADDRESS in one.channels]


def _is_entered(register: Register, consent: Fact, controller: str) -> bool:
    """Tell whether the subject entered the address in a form of the controller's own."""
    return (
        consent.origin == SUBJECT
        and controller in (consent.controllers or ())
        and register.serves(consent.source, controller)
    )


def _is_pending(
    register: Register, facts: Sequence[Fact], consent: Fact, controller: str, token: Token, at: int
) -> bool:
    """Tell whether a confirmation is what the consent lacks: with one now, it would count for some purpose."""
    own = [one for one in facts if one.type != "consent-given" or one.place == consent.place]
    now = max([at, *(one.recorded for one in own)])
    confirmed = msgspec.structs.replace(
        consent, event_id=b"", type="consent-confirmed", refers_to=consent.event_id, time=now, recorded=now,
        shard=-1, pos=-1, identifiers=(), ahead=False,
    )  # fmt: skip

    def answer(purpose: str, some: Sequence[Fact]) -> tuple[str, ...]:
        asked = [(_ADDRESS, token)]
        return decide(
            register, some, controller=controller, identifiers=asked, purpose=purpose, channel=_ADDRESS, at=now
        ).reasons

    return any(
        _PENDING in answer(purpose, own) and answer(purpose, [*own, confirmed]) == ("CONSENT",)
        for purpose in _purposes(register, consent, controller)
    )


def _once(consents: Iterable[Fact]) -> list[Fact]:
    """Choose those of an address's consents, in the order of time, for which a mail went out or may."""
    chosen: list[Fact] = []
    for one in consents:
        if not chosen or one.time >= durations.after(chosen[-1].time, ONCE_IN):
            chosen.append(one)
    return chosen
