"""Decisions offline: a register, events in the order of the ledger, and questions, answered by the same rules."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

import msgspec

from consent_ledger.domain import durations
from consent_ledger.domain import register as registers
from consent_ledger.domain.catalogue import KINDS
from consent_ledger.domain.decision import Decision, decide
from consent_ledger.domain.facts import Fact, Identifier, Token, fact
from consent_ledger.domain.identifiers import normalise_or_raw
from consent_ledger.domain.reach import reach
from consent_ledger.domain.register import RESTRICTIVE, Register
from consent_ledger.domain.standing import Listing, publisher

_SNAPSHOT: Final = "preference-register-imported"


def evaluate(scenario: Mapping[str, Any]) -> list[tuple[bool, str]]:
    """Answer the questions of a scenario: allow and reason each."""
    return [(decision.allow, decision.reason) for decision in answers(scenario)]


def answers(scenario: Mapping[str, Any]) -> list[Decision]:
    """Answer the questions of a scenario in full; each has its own `as_of`, or the scenario's, or knows everything."""
    ledger = Ledger(registers.compile(scenario["register"], 1), scenario["events"])
    default = scenario.get("as_of")
    return [ledger.answer(question, question.get("as_of", default)) for question in scenario["expectations"]]


class Snapshot(NamedTuple):
    """A do-not-call register as imported once; `numbers` with the instant of registration where it is known."""

    time: int
    recorded: int
    source: str
    numbers: Mapping[Token, int | None]


class Snapshots:
    """All imports of one do-not-call register."""

    def __init__(self, snapshots: Iterable[Snapshot]) -> None:
        self._snapshots = sorted(snapshots, key=lambda one: one.time)

    def look_up(self, token: Token, at: int, as_of: int) -> Listing:
        """Say what the latest snapshot known says: a listing is as old as the unbroken run of snapshots with it.

        Snapshots of one instant stand together, in whatever order they arrived: what one of them lists is listed.
        """
        known = [one for one in self._snapshots if one.recorded <= as_of and one.time <= at]
        if not known:
            return Listing(None, None, "")
        latest, listed_from = known[-1].time, None
        for time, together in groupby(reversed(known), key=lambda one: one.time):
            if not any(token in one.numbers for one in together):
                break
            listed_from = time
        newest = [one for one in known if one.time == latest]
        registered = [found for one in newest if (found := one.numbers.get(token)) is not None]
        if registered:
            listed_from = min(max(registered), latest)
        return Listing(latest, listed_from, publisher(one.source for one in newest))


class Ledger:
    """The events of a file as dossiers, one per person and controller."""

    def __init__(self, register: Register, events: Sequence[Mapping[str, Any]]) -> None:
        self.register = register
        admitted = list(_admitted(events))
        self.snapshots = _snapshots(event for event in admitted if event["type"] == _SNAPSHOT)
        self._facts: dict[str, list[Fact]] = {name: [] for name in register.controllers}
        for pos, event in enumerate(admitted):
            if event["type"] != _SNAPSHOT:
                found = _fact(event, pos)
                for controller in _reached(register, found):
                    self._facts[controller].append(found)

    def facts(self, controller: str) -> tuple[Fact, ...]:
        """Give everything that reached a controller."""
        return tuple(self._facts.get(controller, ()))

    def dossier(self, controller: str, tokens: Iterable[Token]) -> tuple[Fact, ...]:
        """Give all facts connected to these identifiers at a controller, by any identifier or reference."""
        facts = self._facts.get(controller, [])
        nodes: set[Token] = set(tokens)
        while True:
            connected = [one for one in facts if not nodes.isdisjoint(_nodes(one))]
            wider = nodes.union(*(_nodes(one) for one in connected))
            if wider == nodes:
                return tuple(connected)
            nodes = wider

    def answer(self, question: Mapping[str, Any], as_of: str | None) -> Decision:
        """Decide a question as of a time of recording; None: with everything known."""
        asked = [(said["type"], _token(said)) for said in question["subject"]]
        return decide(
            self.register,
            self.dossier(question["controller"], (token for _, token in asked)),
            controller=question["controller"],
            identifiers=asked,
            purpose=question["purpose"],
            channel=question["channel"],
            at=durations.instant(question["at"]),
            as_of=None if as_of is None else durations.instant(as_of),
            dnc=self.snapshots,
        )


def _admitted(events: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    """Admit as the ledger does: a repeated event once; a used id with other content only as a refusal of its own.

    A permission for an identifier that has no proper form is refused.
    """
    contents: dict[str, list[bytes]] = {}
    # A file may list events in another order; of a repeated one the first recording counts.
    for event in sorted(events, key=lambda one: durations.instant(one["recorded_at"])):
        if KINDS.get(event["type"]) == "P" and _has_raw(event):
            continue
        content = msgspec.json.encode({**event, "recorded_at": None}, order="sorted")
        known = contents.setdefault(event["id"], [])
        if content in known:
            continue
        known.append(content)
        if len(known) == 1:
            yield event
        elif event["type"] in RESTRICTIVE:
            yield {**event, "id": f"{event['id']}~{len(known)}", "conflicts_with": event["id"]}


def _fact(event: Mapping[str, Any], pos: int) -> Fact:
    identifiers: list[Identifier] = [
        (role, one["type"], _token(one), one.get("shared") is True) for role, one in _said(event)
    ]
    return fact(
        event_id=event["id"], type=event["type"], source=event["source"], occurred_at=event.get("occurred_at"),
        recorded_at=event["recorded_at"], shard=0, pos=pos, register_version=1, identifiers=identifiers, body=event,
    )  # fmt: skip


def _reached(register: Register, found: Fact) -> tuple[str, ...]:
    return reach(
        register, type=found.type, source=found.source, controllers=found.controllers,
        controller_scope=found.controller_scope,
    )[0]  # fmt: skip


def _nodes(found: Fact) -> set[Token]:
    """Name what connects a fact to others: its identifiers, its own id, and the event it refers to."""
    nodes: set[Token] = {identifier[2] for identifier in found.identifiers}
    nodes.update(b"event|" + one for one in (found.event_id, found.refers_to) if one is not None)
    return nodes


def _snapshots(events: Iterable[Mapping[str, Any]]) -> dict[str, Snapshots]:
    found: dict[str, list[Snapshot]] = {}
    for event in events:
        recorded = durations.instant(event["recorded_at"])
        time = min(durations.instant(event.get("occurred_at") or event["recorded_at"]), recorded)
        snapshot = Snapshot(time, recorded, event["source"], _numbers(event.get("numbers") or ()))
        found.setdefault(event["register"], []).append(snapshot)
    return {name: Snapshots(snapshots) for name, snapshots in found.items()}


def _numbers(listed: Iterable[Mapping[str, Any]]) -> dict[Token, int | None]:
    """Read the numbers of a snapshot; of one that is listed twice the later registration counts."""
    numbers: dict[Token, int | None] = {}
    for one in listed:
        token, registered = _token({"type": "phone", **one}), _registered(one)
        known = numbers.get(token)
        numbers[token] = known if registered is None else max(registered, registered if known is None else known)
    return numbers


def _registered(number: Mapping[str, Any]) -> int | None:
    return durations.instant(number["registered_at"]) if number.get("registered_at") else None


def _token(said: Mapping[str, Any]) -> Token:
    """Write an identifier as type|value, in its one form, or raw where it has none."""
    kind = str(said["type"])
    return f"{kind}|{normalise_or_raw(kind, str(said['value']))[0]}".encode()


def _has_raw(event: Mapping[str, Any]) -> bool:
    return any(normalise_or_raw(str(one["type"]), str(one["value"]))[1] for _, one in _said(event))


def _said(event: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """List the identifiers of an event with their roles."""
    said = [("subject", one) for one in event.get("subject") or ()]
    return said + [(role, event[role]) for role in ("old", "new") if event.get(role)]
