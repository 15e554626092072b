"""What stands against one address (specification 6.10).

Do-not-call registers: rows N1 to N7 (WER VI.110 to VI.112). Bounces: rows B1 to B3, replaced addresses: rows X1 to X5
(Art. 5(1)(d), 16).
"""

from typing import Final

from consent_ledger.domain import durations
from consent_ledger.domain.case import SUBJECT, Case
from consent_ledger.domain.facts import Fact
from consent_ledger.domain.standing import certainly_later

_UNADDRESSED: Final = ("internal", "media")


def weigh(case: Case) -> None:
    """Check the address; channels without one have nothing to check."""
    if case.channel in _UNADDRESSED:
        return
    if case.channel == "phone" and case.terms.direct_marketing:
        for place, name in enumerate(case.terms.dnc):
            _do_not_call(case, name, is_named=place == 0)
    for change in case.standing.replacements:
        if not _is_back(case, change):
            case.object("ADDRESS_RETIRED", change)
    for bounce in case.standing.bounces:
        concerned = bounce.channels is None or case.channel in bounce.channels
        if concerned and not any(certainly_later(one, bounce.time, bounce.source) for one in case.standing.proofs):
            case.object("HARD_BOUNCE", bounce)


def _do_not_call(case: Case, name: str, *, is_named: bool) -> None:
    """Check a do-not-call register (WER VI.111 to VI.112): a listing yields only to a later consent to this purpose.

    The first register is the one that a decision names; its age is the reader's to check against the date of the last
    snapshot, so that a new snapshot need not renew every decision.
    """
    history = case.standing.history
    call_register, max_age = history.dnc.get(name), case.standing.register.call_registers.get(name)
    if call_register is None or max_age is None:
        case.object("DNC_STALE")
        return
    (number,) = case.standing.addresses
    listing = call_register.look_up(number, history.at, history.as_of)
    if listing.listed_from is not None and not any(
        consent.origin == SUBJECT and certainly_later(consent, listing.listed_from, listing.source)
        for consent in case.counting
    ):
        case.object("DNC_LISTED")
    if listing.snapshot_at is None:
        case.object("DNC_STALE")
        return
    stale = durations.after(listing.snapshot_at, max_age)
    if not is_named:
        case.wait_for(stale)
    if (history.at if is_named else case.now) >= stale:
        case.object("DNC_STALE")


def _is_back(case: Case, change: Fact) -> bool:
    """Tell whether a replaced address was proved since, changed back, or consented to anew for this purpose."""
    standing = case.standing
    consented = [one for one in case.counting if one.origin == SUBJECT and one.event_id in standing.consents_at_address]
    return any(
        certainly_later(one, change.time, change.source) for one in (*standing.proofs, *standing.returns, *consented)
    )
