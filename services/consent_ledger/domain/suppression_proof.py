"""Proof of suppression: how each refusal of a person came in, was recorded, spread, and was found at a send."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from consent_ledger.domain import access
from consent_ledger.domain.access import Kept, Place
from consent_ledger.domain.notices import Notice
from consent_ledger.domain.propagation import REFUSALS, Refusal, Stage, minute_of, refusal
from consent_ledger.domain.reach import covers
from consent_ledger.domain.register import Purpose, Register

FORMAT: Final = "urn:consent-ledger:export:suppression:1"


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a refusal has arrived at the topic or at a consumer, by its own acknowledgement.

    `acknowledged_to`: it has everything recorded up to this instant; null: nothing yet. `within_seconds`: how long it
    took at most; null where that was not measured, or is no longer kept.
    """

    name: str
    arrived: bool
    acknowledged_to: datetime | None
    within_seconds: float | None


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The first check before a send that was answered no after the refusal was recorded."""

    checked_at: datetime
    campaign: str
    purpose: str | None
    channel: str | None
    reason: str


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """One refusal. `received_at`: it reached the controller; `recorded_at`: from here on every answer obeys it."""

    event_id: str
    type: str
    received_at: str
    recorded_at: str
    place: Place
    source: str
    received_via: str | None
    purposes: list[str] | None
    channels: list[str] | None
    voided: bool
    published: Arrived
    consumers: list[Arrived]
    first_check: Check | None
    notices: list[Notice]


class Suppression(msgspec.Struct, frozen=True, kw_only=True):
    """All refusals of one person at one controller. `entries`: what is kept so that suppression goes on."""

    format: Literal["urn:consent-ledger:export:suppression:1"]
    made_at: str
    controller: access.Party
    entries: list[Kept]
    refusals: list[Refused]


def suppression(
    register: Register,
    shown: Mapping[str, Any],
    stages: Sequence[Stage],
    checks: Sequence[Check],
    notices: Sequence[Notice],
    made_at: str,
) -> Suppression:
    """Make the proof from what was `shown` of the person (`POST /v1/subjects/lookup`).

    `stages`: the topic, then the consumers; `checks`: those answered no, the earliest first.
    """
    topic, *consumers = stages
    return Suppression(
        format=FORMAT,
        made_at=made_at,
        controller=access.party(register, shown["controller"]),
        entries=[
            Kept(type=one["type"], value=one["value"], hash=one["hash"], recorded_at=one["recorded_at"])
            for one in shown["suppression"]
        ],
        refusals=[
            _refused(register, entry, shown["controller"], topic, consumers, checks, notices)
            for entry in shown["entries"]
            if is_refusal(entry)
        ],
    )


def is_refusal(entry: Mapping[str, Any]) -> bool:
    """Tell whether an entry, as shown, is a refusal that must spread."""
    return entry["type"] in REFUSALS or (entry["type"] == "delivery-failed" and entry["said"].get("bounce") == "hard")


def _refused(
    register: Register, entry: Mapping[str, Any], controller: str, topic: Stage, consumers: Sequence[Stage],
    checks: Sequence[Check], notices: Sequence[Notice],
) -> Refused:  # fmt: skip
    said, recorded = entry["said"], datetime.fromisoformat(entry["recorded_at"])
    spreads = refusal(
        register, {**said, "source": entry["source"]}, event_id=UUID(entry["event_id"]), type=entry["type"],
        declared_at=datetime.fromisoformat(entry["occurred_at"]), recorded_at=recorded, controllers=[controller],
    )  # fmt: skip
    about = {entry["event_id"], str(said.get("request_id"))}
    return Refused(
        event_id=entry["event_id"],
        type=entry["type"],
        received_at=entry["occurred_at"],
        recorded_at=entry["recorded_at"],
        place=Place(entry["position"]["shard"], entry["position"]["position"]),
        source=entry["source"],
        received_via=said.get("received_via"),
        purposes=said["purposes"] if isinstance(said.get("purposes"), list) else None,
        channels=said["channels"] if isinstance(said.get("channels"), list) else None,
        voided=entry["voided"],
        published=_arrived(topic, spreads),
        consumers=[_arrived(one, spreads) for one in consumers if one.asks_about(spreads)],
        first_check=next(
            (one for one in checks if _is_hit(one, spreads, register.purposes.get((controller, one.purpose or "")))),
            None,
        ),
        notices=[one for one in notices if one.controller == controller and str(one.about) in about],
    )


def _arrived(stage: Stage, refusal: Refusal) -> Arrived:
    delay = stage.delays.get(minute_of(refusal.recorded_at))
    arrived = stage.has(refusal)
    return Arrived(
        name=stage.name,
        arrived=arrived,
        acknowledged_to=stage.instant,
        within_seconds=delay.total_seconds() if delay is not None and arrived else None,
    )


def _is_hit(check: Check, refusal: Refusal, purpose: Purpose | None) -> bool:
    """Tell whether a check came after a refusal, about what it refuses; `purpose`: that of the check, if registered."""
    names = refusal.scope.names
    return (
        check.checked_at >= refusal.recorded_at
        and (names is None or check.purpose in names or (purpose is not None and covers(refusal.scope, purpose)))
        and (refusal.channels is None or check.channel in refusal.channels)
    )
