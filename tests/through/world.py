"""All scenarios in one installation: every name is made the scenario's own, and one time runs through all of them."""

import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

Json = dict[str, Any]

FILE: Final = Path(__file__).parents[1] / "data" / "scenarios.json"
_IDS: Final = uuid.UUID("6f0c4b5e-8a43-4a6e-9a60-5d0f0d7f3c11")
_REFERENCES: Final = ("consent_id", "objection_id", "restriction_id", "request_id", "voids")
_SNAPSHOT: Final = "preference-register-imported"
_ATTRIBUTES: Final = ("id", "type", "source", "occurred_at", "recorded_at")


@dataclass(frozen=True, eq=False, kw_only=True)
class Recorded:
    """An event as its publisher sends it, and the instant at which it is recorded."""

    event: Json
    recorded_at: datetime
    time: datetime

    @property
    def is_voiding(self) -> bool:
        """Whether it counts for all time before it."""
        return bool(self.event["type"] == "event-voided")


@dataclass(frozen=True, eq=False, kw_only=True)
class Expectation:
    """A question, and the answer that the scenario expects from what was recorded up to `as_of`."""

    scenario: str
    question: Json
    at: datetime
    as_of: datetime
    allow: bool
    reason: str
    is_live: bool
    """Whether whoever asks at `at` knows already all that counts, so that any gate then must give this answer."""

    @property
    def expected(self) -> tuple[bool, str]:
        """What a full answer must be."""
        return self.allow, self.reason


@dataclass(frozen=True, kw_only=True)
class World:
    """What is loaded, recorded and asked."""

    register: Json
    recorded: list[Recorded]
    expectations: list[Expectation]

    def instants(self) -> list[datetime]:
        """Every instant at which something is recorded, or asked of a gate."""
        live = {one.at for one in self.expectations if one.is_live}
        return sorted(live | {one.as_of for one in self.expectations} | {one.recorded_at for one in self.recorded})


def world(scenarios: Iterable[Json]) -> World:
    """Put scenarios into one world, in which none of them knows of another."""
    made = World(
        register={"controllers": {}, "sources": {}, "purposes": [], "dnc_registers": {}}, recorded=[], expectations=[]
    )
    for scenario in scenarios:
        name = _Names(scenario["id"].lower())
        for part, value in name.register(scenario["register"]).items():
            if part == "purposes":
                made.register[part].extend(value)
            else:
                made.register[part].update(value)
        recorded = [name.recorded(event) for event in scenario["events"]]
        made.recorded.extend(recorded)
        made.expectations.extend(_expectations(scenario, name, recorded))
    made.recorded.sort(key=lambda one: one.recorded_at)
    return made


def scenarios() -> list[Json]:
    """Read the scenarios."""
    read: list[Json] = json.loads(FILE.read_text(encoding="utf-8"))["scenarios"]
    return read


class _Names:
    """Makes the names of a scenario its own."""

    def __init__(self, scenario: str) -> None:
        self._scenario = scenario

    def of(self, name: str) -> str:
        return f"{self._scenario}-{name}"

    def list(self, names: Any) -> Any:
        return [self.of(one) for one in names] if isinstance(names, list) else names

    def id(self, name: str) -> str:
        return str(uuid.uuid5(_IDS, self.of(name)))

    def register(self, register: Json) -> Json:
        return {
            "controllers": {
                self.of(name): {**one, "group": self.of(one["group"])} if one.get("group") else one
                for name, one in register["controllers"].items()
            },
            "sources": {
                self.of(name): {**one, "controllers": self.list(one["controllers"])}
                for name, one in register["sources"].items()
            },
            "dnc_registers": {self.of(name): one for name, one in register["dnc_registers"].items()},
            "purposes": [
                {**row, "controller": self.of(row["controller"])}
                | {part: self.list(row[part]) for part in ("joint_with", "dnc") if row.get(part)}
                for row in register["purposes"]
            ],
        }

    def recorded(self, event: Json) -> Recorded:
        data = {name: value for name, value in event.items() if name not in _ATTRIBUTES}
        data |= {name: self.id(data[name]) for name in _REFERENCES if data.get(name)}
        if data.get("controllers"):
            data["controllers"] = self.list(data["controllers"])
        if event["type"] == _SNAPSHOT:
            data["register"] = self.of(data["register"])
        said = {
            "specversion": "1.0", "id": self.id(event["id"]), "source": self.of(event["source"]),
            "type": event["type"], "time": event["occurred_at"], "data": data,
        }  # fmt: skip
        recorded_at = instant(event["recorded_at"])
        return Recorded(event=said, recorded_at=recorded_at, time=min(recorded_at, instant(event["occurred_at"])))


def _expectations(scenario: Json, name: _Names, recorded: list[Recorded]) -> Iterator[Expectation]:
    for one in scenario["expectations"]:
        at, as_of = instant(one["at"]), instant(one.get("as_of", scenario["as_of"]))
        later = [event for event in recorded if at < event.recorded_at <= as_of]
        yield Expectation(
            scenario=scenario["id"],
            question={
                "controller": name.of(one["controller"]), "subject": one["subject"], "purpose": one["purpose"],
                "channel": one["channel"],
            },
            at=at, as_of=as_of, allow=one["allow"], reason=one["reason"],
            is_live=not any(event.time <= at or event.is_voiding for event in later)
            and not any(as_of < event.recorded_at <= at for event in recorded),
        )  # fmt: skip


def instant(text: str) -> datetime:
    """Read an instant of the scenarios."""
    return datetime.fromisoformat(text)
