"""Conditions of the basis, do-not-call, the address (specification 6.9, 6.10, 6.14.9).

Decided here, where the text is silent:
- Verifying, confirming, changing back and consenting anew are permissions that beat a replacement or a bounce, and a
  consent beats a listing: certainly later (6.2).
- Of what happened at one instant, contacts come before a relationship, and its end comes last.
- Two snapshots of one instant stand together: what either lists is listed. A listing registered after its snapshot
  counts from the snapshot, as every refusal dated ahead. If they are of several sources, none of these has its clock.
- An address replaced by itself is neither replaced nor brought back.
- A question asked again is one that names the underlying purpose or the re-permission purpose itself.
- A consent that retires no longer the address must be fresh: only the subject's own act undoes (6.7).
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from oracle import known
from oracle.case import ADDRESS_OF, Case, about, identifiers
from oracle.consents import TO_CONFIRM, confirms, counting, known_under_18, reported_status
from oracle.identifiers import normal
from oracle.known import Entry, certainly_later, listed
from oracle.refusals import covers_channel, covers_purpose
from oracle.times import DOUBT, instant, plus

BY_THE_SUBJECT = {"collection", "order", "click", "reply", "login", "call", "visit"}
TO_ASK_AGAIN = "P30D"


def basis_reasons(case: Case) -> set[str]:
    """6.9: what the basis still lacks."""
    reasons: set[str] = set()
    if case.basis == "consent" and not counting(case):
        reasons.add(reported_status(case))
    if case.basis != "consent" and case.marketing:
        reasons |= _marketing_on_f(case)
    if case.purpose.get("inactivity_ttl"):
        reasons |= _silence(case)
    return reasons


def _marketing_on_f(case: Case) -> set[str]:
    reasons: set[str] = set()
    if not case.purpose.get("repermission_for") and no_eprivacy_basis(case):
        reasons.add("EPRIVACY_NO_BASIS")
    if known_under_18(case):
        reasons.add("MINOR")
    if needs_soft_opt_in(case) and not soft_opt_in(case):
        reasons.add("SOFT_OPT_IN_MISSING")
    return reasons


def no_eprivacy_basis(case: Case) -> bool:
    if case.channel in ("email", "sms"):
        return not case.purpose.get("soft_opt_in")
    return case.channel == "device" or (case.channel == "phone" and not case.purpose.get("dnc"))


def needs_soft_opt_in(case: Case) -> bool:
    return bool(case.purpose.get("soft_opt_in")) and case.channel in ("email", "sms")


def soft_opt_in(case: Case) -> bool:
    """A sale with all four conditions, at this controller, with this address, later than any erasure of it."""
    return any(
        case.counts(sale)
        and case.at_the_address(sale)
        and all(sale.body.get(met) is True for met in ("collected_in_sale", "opt_out_offered", "similar_products"))
        and not sale.body.get("opted_out_at_collection")
        and all(certainly_later(sale, erasure) for erasure in _erasures(case))
        for sale in case.of("relationship-started")
    )


def _erasures(case: Case) -> list[Entry]:
    return [
        one
        for one in case.of("erasure-executed")
        if case.addresses(one) and case.at_the_address(one) and covers_purpose(case, one) and covers_channel(case, one)
    ]


def _silence(case: Case) -> set[str]:
    """6.9: the clock of silence, told through the life of the person at this controller."""
    running, end = silence(case)
    if running:
        return set()
    if end is None:
        return {"RETENTION_UNPROVEN"}
    return {"INACTIVE_EXPIRED"} if case.at >= end else set()


def silence(case: Case) -> tuple[bool, datetime | None]:
    """Return whether a relationship is running and, if none is, when silence has lasted too long."""
    ttl = case.purpose["inactivity_ttl"]
    mine = [one for one in case.happened if case.counts(one) and case.of_the_person(one)]
    life = [(one.t, 1, "contact") for one in mine if _is_contact(one)]
    life += [(one.t, 2, "start") for one in mine if one.type == "relationship-started"]
    life += [(one.t, 3, "end") for one in mine if one.type == "relationship-ended"]
    life += [(one.t, 0, "consent") for one in counting(case)]
    running, end = False, None
    for t, _, what in sorted(life):
        if what == "start":
            running = True
        elif what == "contact" and end is not None and t >= end and not running:
            continue
        else:
            running = running and what != "end"
            end = plus(t, ttl)
    return running, end


def _is_contact(one: Entry) -> bool:
    return (
        one.type == "contact-recorded"
        and one.body.get("initiated_by") == "subject"
        and one.body.get("kind") in BY_THE_SUBJECT
    )


def repermission_reasons(case: Case, ask: Callable[[str], tuple[bool, str, set[str]]], underlying: Case) -> set[str]:
    """6.9: only while the underlying purpose answers exactly INACTIVE_EXPIRED, once, within P30D."""
    allow, reason, _ = ask(case.purpose["repermission_for"])
    if allow:
        return {"REPERMISSION_NOT_DUE"}
    if reason != "INACTIVE_EXPIRED":
        return {reason}
    expiry = silence(underlying)[1]
    assert expiry
    reasons: set[str] = set()
    if any(
        one.t >= expiry
        and case.controller in listed(one, "controllers")
        and one.body.get("purpose") in (None, case.purpose["repermission_for"], case.purpose["id"])
        and case.of_the_person(one)
        for one in case.of("repermission-sent")
    ):
        reasons.add("REPERMISSION_ALREADY_SENT")
    if case.at >= plus(expiry, TO_ASK_AGAIN):
        reasons.add("REPERMISSION_WINDOW_CLOSED")
    return reasons


def do_not_call(case: Case) -> set[str]:
    """6.10: phone marketing with `dnc`, whatever the basis; for the question after silence, that of either purpose."""
    if not (case.marketing and case.channel == "phone"):
        return set()
    names = {*(case.purpose.get("dnc") or ()), *(case.asked_for.get("dnc") or ())}
    return {reason for name in names for reason in _one_register(case, name)}


def _one_register(case: Case, name: str) -> set[str]:
    by_instant: dict[datetime, list[Entry]] = {}
    for one in case.of("preference-register-imported"):
        if one.body.get("register") == name:
            by_instant.setdefault(one.t, []).append(one)
    if not by_instant or name not in case.register["dnc_registers"]:
        return {"DNC_STALE"}
    reasons: set[str] = set()
    latest = max(by_instant)
    if case.at >= plus(latest, case.register["dnc_registers"][name]["max_age"]):
        reasons.add("DNC_STALE")
    run: list[Entry] = []
    for t in sorted(by_instant, reverse=True):
        listing = [one for one in by_instant[t] if _numbers(case, one)]
        if not listing:
            break
        run.extend(listing)
    if run and not _consented_since(case, run, latest, {one.source for one in by_instant[latest]}):
        reasons.add("DNC_LISTED")
    return reasons


def _numbers(case: Case, snapshot: Entry) -> list[dict[str, str]]:
    return [
        one for one in snapshot.body.get("numbers") or () if ("phone", normal("phone", one["value"])[0]) in case.asked
    ]


def _consented_since(case: Case, run: list[Entry], latest: datetime, sources: set[str]) -> bool:
    """A fresh consent for this very purpose, certainly later than the listing."""
    newest = [one for one in run if one.t == latest]
    registered = [
        instant(number["registered_at"])
        for one in newest
        for number in _numbers(case, one)
        if number.get("registered_at")
    ]
    fresh = [one for one in counting(case) if one.body.get("origin") == "data-subject"]
    listed_from = min(max(registered), latest) if registered else run[-1].t
    return any(one.t - listed_from > (DOUBT if sources != {one.source} else timedelta()) for one in fresh)


def address_reasons(case: Case) -> set[str]:
    """6.10: the address was replaced, or mail to it bounced, and nothing since has proved it."""
    if ADDRESS_OF[case.channel] is None:
        return set()
    reasons: set[str] = set()
    for one in case.of("identifier-changed"):
        names = case.controller in listed(one, "controllers") and one.body["old"] != one.body["new"]
        retires = identifiers([one.body["old"]]) & case.stand_for_the_address
        if names and retires and not (_proved_since(case, one) or _taken_up_since(case, one)):
            reasons.add("ADDRESS_RETIRED")
    for one in case.of("delivery-failed"):
        here = case.controller in known.addressed(case.register, one) and case.at_the_address(one)
        hard = one.body.get("bounce") == "hard" and covers_channel(case, one)
        if here and hard and not _proved_since(case, one):
            reasons.add("HARD_BOUNCE")
    return reasons


def _proved_since(case: Case, refusal: Entry) -> bool:
    """Verified or confirmed, certainly later."""
    confirmations = [
        one
        for one in case.of("consent-confirmed")
        for consent in case.of("consent-given")
        if case.controller in listed(consent, "controllers")
        and confirms(case, one, consent)
        and consent.t <= one.t <= plus(consent.t, TO_CONFIRM)
        and about(consent) & case.stand_for_the_address
    ]
    verifications = [one for one in case.of("identifier-verified") if case.counts(one) and case.at_the_address(one)]
    return any(certainly_later(one, refusal) for one in confirmations + verifications)


def _taken_up_since(case: Case, change: Entry) -> bool:
    """Changed back, or consented anew for this purpose."""
    back = [
        one
        for one in case.of("identifier-changed")
        if case.counts(one)
        and identifiers([one.body["new"]]) & case.stand_for_the_address
        and one.body["old"] != one.body["new"]
    ]
    anew = [one for one in counting(case) if case.at_the_address(one) and one.body.get("origin") == "data-subject"]
    return any(certainly_later(one, change) for one in back + anew)
