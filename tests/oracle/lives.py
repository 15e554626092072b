"""Random histories of a person or two, hostile ones too, in the order of the ledger, and questions about them.

Instants come from each other by the spans that the rules know, so that ties to the microsecond, exactly PT5M, and the
very instants of expiry are frequent.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from random import Random
from typing import Any

from oracle import times
from oracle.case import ADDRESS_OF
from oracle.worlds import CHANNELS, CONTROLLERS, PURPOSES, REGISTERS, TTLS, Object, maybe

START = datetime(2024, 1, 31, 9, tzinfo=UTC)
TICK = timedelta(microseconds=1)
DOUBT = timedelta(minutes=5)
STEPS = (
    timedelta(), timedelta(), TICK, timedelta(seconds=1), DOUBT - TICK, DOUBT, DOUBT, DOUBT + TICK, timedelta(hours=1),
    timedelta(days=1), timedelta(days=7) - TICK, timedelta(days=7), timedelta(days=7) + TICK, timedelta(days=29),
)  # fmt: skip
DELAYS = (timedelta(), timedelta(seconds=1), DOUBT, timedelta(days=1), timedelta(days=30))
AHEAD = (timedelta(minutes=3), DOUBT, DOUBT + TICK, timedelta(days=1), timedelta(days=3000))
PEOPLE = (
    ("email", "an@example.be"), ("email", "an@example.be"), ("email", "bert@example.nl"), ("email", "cas@example.de"),
    ("phone", "+3221112233"), ("phone", "+3221112233"), ("phone", "+31612345678"), ("customer_no", "C-1"),
    ("account_id", "A-1"), ("device", "d-1"), ("device", "d-2"), ("postal", "1000 BRUSSEL, X 1"),
)  # fmt: skip
BIRTHS = ("2012-02-29", "2008-01-31", "2006-02-28", "2006-02-01", "1990-05-05")
SPELLINGS: dict[str, Callable[[str], str]] = {
    "email": lambda value: f" {value.replace('an', 'An').replace('example', 'EXAMPLE')}",
    "phone": lambda value: f"{value.replace('+', '00')[:4]} {value[3:5]}/{value[5:]} ",
}
STAFF = ("eva", "jan", "dpo")
CONTACTS = ("click", "order", "call", "collection", "open", "mailing")
PERMITTING = (
    ("consent-given",) * 7 + ("relationship-started", "contact-recorded", "objection-withdrawn") * 3
    + ("consent-confirmed", "objection-assessed", "identifier-changed", "identifier-verified") * 2
    + ("preference-register-imported",) * 3 + ("restriction-lifted", "erasure-refused", "identifiers-linked")
)  # fmt: skip
REFUSING = (
    ("consent-withdrawn", "objection-raised") * 3 + ("event-voided", "delivery-failed", "age-established") * 2
    + ("complaint-received", "erasure-requested", "erasure-executed", "restriction-placed", "relationship-ended") * 2
    + ("repermission-sent", "preference-register-imported", "request-received")
)  # fmt: skip
REFERS = {
    "consent-confirmed": ("consent_id", ("consent-given",)),
    "objection-assessed": ("objection_id", ("objection-raised", "consent-withdrawn")),
    "restriction-lifted": ("restriction_id", ("restriction-placed",)),
    "erasure-refused": ("request_id", ("erasure-requested", "erasure-executed")),
    "erasure-executed": ("request_id", ("erasure-requested",)),
}


class Life:
    """A history in the making: about one purpose of one controller for the most part, and one person."""

    def __init__(self, chance: Random, register: Object, seed: int | None = None) -> None:
        self.chance = chance
        self.seed = seed
        self.register = register
        self.focus = chance.choice(register["purposes"])
        self.called = bool(self.focus.get("dnc")) and "phone" in self.focus["channels"] and chance.random() < 0.8
        self.channel = "phone" if self.called else chance.choice(self.focus["channels"])
        self.named = self.focus.get("repermission_for", self.focus["id"])
        self.people = self._crowd()
        terms = [one for one in register["purposes"] if one["controller"] == self.focus["controller"]]
        self.spans = [one[field] for one in terms for field in ("consent_ttl", "inactivity_ttl") if one.get(field)]
        self.spans = self.spans * 3 + ["P7D", self.chance.choice(TTLS)]
        self.kindness = chance.choice((0.4, 0.7, 0.9))
        self.hostility = chance.choice((0.0, 0.3, 1.0))
        self.now = START
        self.events: list[Object] = []

    def _crowd(self) -> list[tuple[str, str]]:
        """Choose whom it is about: first somebody at an address of the channel in question."""
        fitting = [one for one in PEOPLE if ADDRESS_OF[self.channel] in (None, one[0])]
        crowd = [self.chance.choice(fitting), *self.chance.sample(PEOPLE, self.chance.randint(1, 3))]
        return list(dict.fromkeys(crowd))

    def history(self, most: int) -> list[Object]:
        for _ in range(self.chance.randint(1, most)):
            self.events.append(self._event())
        return sorted(self.events, key=lambda one: times.instant(one["recorded_at"]))

    def _odds(self, odds: float) -> bool:
        return self.chance.random() < odds

    def _rarely(self, odds: float) -> bool:
        return self._odds(odds * self.hostility)

    def _event(self) -> Object:
        if self.events and self._rarely(0.08):
            return self._repeated(self.chance.choice(self.events))
        kind = self._type()
        event = {"id": f"e{len(self.events)}", "type": kind, **self._when(), **self._whom(kind)}
        if kind not in ("consent-confirmed", "preference-register-imported", "identifier-changed", "event-voided"):
            event["subject"] = self._subject(marks=0.08)
        return event | getattr(self, "_" + kind.replace("-", "_"), dict)()

    def _type(self) -> str:
        if self._odds(0.25):
            wanted = [kind for kind, (_, targets) in REFERS.items() if self._ids(targets)]
            if wanted:
                return self.chance.choice(wanted)
        if self.called and self._odds(0.25):
            return "preference-register-imported"
        if self.named != self.focus["id"] and self._odds(0.15):
            return "repermission-sent"
        return self.chance.choice(PERMITTING if self._odds(self.kindness) else REFUSING)

    def _repeated(self, before: Object) -> Object:
        """Use an id again: with the same content, with other content, or with another type."""
        again = before | {"recorded_at": self._later(times.instant(before["recorded_at"])).isoformat()}
        if self._odds(0.4):
            return again
        other = self._event() if self._odds(0.5) else before | {"purposes": self._purposes()}
        return other | {"id": before["id"], "recorded_at": again["recorded_at"]}

    def _later(self, instant: datetime) -> datetime:
        step = self.chance.choice(STEPS)
        if self._odds(0.2):
            return times.plus(instant, self.chance.choice(self.spans)) - (TICK if self._odds(0.3) else timedelta())
        return instant + step

    def _when(self) -> Object:
        if self._odds(0.85):
            self.now = self._later(self.now)
        occurred = self.now
        recorded = occurred + (self.chance.choice(DELAYS) if self._odds(0.3) else timedelta())
        if self._rarely(0.15):
            recorded = occurred - self.chance.choice(AHEAD)
        return {"occurred_at": occurred.isoformat(), "recorded_at": recorded.isoformat()}

    def _whom(self, kind: str) -> Object:
        """Say which source speaks, for which controllers, purposes and channels."""
        own = self.chance.choice(CONTROLLERS) if self._odds(0.05 + 0.25 * self.hostility) else self.focus["controller"]
        some: Any = [own]
        if kind == "consent-given" and self._odds(0.2):
            some = list(dict.fromkeys((own, *self.chance.sample(CONTROLLERS, 2))))
        if self._rarely(0.3):
            some = self.chance.choice(
                ([own, "yak"], self.chance.sample(CONTROLLERS, 2), [*CONTROLLERS], [], None, "all")
            )
        said: Object = {"source": f"web:{own}", "controllers": some}
        if self._rarely(0.5) or (len(some or ()) > 1 and self._odds(0.5)):
            said["source"] = self.chance.choice(("desk", "agency", "feed", "stranger", "web:bee"))
        said |= {"purposes": self._purposes()} if self._odds(0.8) or kind == "consent-given" else {}
        if kind in ("consent-given", "objection-withdrawn"):
            said["channels"] = [*self.focus["channels"]]
        if self._rarely(0.5):
            said["channels"] = self._channels()
        said |= maybe(self.chance, 0.15, controller_scope=self.chance.choice(("group", "entity")))
        said |= maybe(self.chance, 0.1, identifier_scope=self.chance.choice(("identifier", "person")))
        said |= maybe(self.chance, 0.4, entered_by=self.chance.choice(STAFF))
        if said["controllers"] is None or said.get("purposes") is None:
            said = {field: value for field, value in said.items() if value is not None}
        return said

    def _purposes(self) -> Any:
        if not self._rarely(0.6):
            return [self.named if self._odds(0.9) else self.focus["id"]]
        other = [one["id"] for one in self.register["purposes"] if one["controller"] == self.focus["controller"]]
        return self.chance.choice(
            ("all", [], ["gone"], [self.focus["id"], "gone"], None, other, [*PURPOSES[:2], "ask"])
        )

    def _channels(self) -> Any:
        return self.chance.choice(("all", [], ["pigeon"], [self.chance.choice(CHANNELS)], ["email", "internal"]))

    def _subject(self, marks: float, most: int = 3) -> list[Object]:
        found = {} if self._rarely(0.5) else {self.people[0]: None}
        found |= dict.fromkeys(self.chance.sample(self.people, self.chance.randint(0 if found else 1, 1)))
        if self._odds(0.35):
            found |= dict.fromkeys(self.chance.choices(self.people if self._odds(0.8) else PEOPLE, k=most - 1))
        return [{"type": t, "value": self._spelt(t, v), **maybe(self.chance, marks, shared=True)} for t, v in found]

    def _spelt(self, kind: str, value: str) -> str:
        """Write an identifier in another form than its one form, or in none."""
        if kind not in SPELLINGS or not self._rarely(0.1):
            return value
        return "no address" if self._odds(0.1) else SPELLINGS[kind](value)

    def _ids(self, types: tuple[str, ...]) -> list[str]:
        return [one["id"] for one in self.events if one["type"] in types]

    def _reference(self, types: tuple[str, ...]) -> str:
        wanted = self._ids(types)
        if wanted and self._odds(0.9):
            return self.chance.choice(wanted)
        return self.chance.choice([one["id"] for one in self.events] or ["e0"]) if self._odds(0.7) else "e1"

    # -- what the types say besides

    def _consent_given(self) -> Object:
        age = self.chance.choice(({"declared_min_age": 16}, {"birth_date": self.chance.choice(BIRTHS)}))
        evidence = {"text_id": "t", "text_version": self.chance.choice((1, 2, 2, 3)), "ref": "r"}
        if self._rarely(0.1):
            evidence.pop(self.chance.choice(("text_id", "text_version", "ref")))
        origin: str | None = "data-subject"
        if self._odds(0.1 + 0.2 * self.hostility):
            origin = self.chance.choice(("import", "third-party", "unknown", None))
        return {
            "origin": origin,
            "mechanism": "button"
            if not self._rarely(0.1)
            else self.chance.choice(("toggle", "pre-ticked", "double-opt-in")),
            "evidence": evidence,
            **maybe(self.chance, 0.35, age=age),
            **maybe(self.chance, 0.15, parental={"verified": self._odds(0.7), "ref": "p"}),
            **maybe(self.chance, 0.2, country=self.chance.choice(("BE", "DK", "DE", "XX"))),
        }

    def _consent_confirmed(self) -> Object:
        return self._referring("consent-confirmed")

    def _referring(self, kind: str) -> Object:
        field, types = REFERS[kind]
        return {field: self._reference(types)}

    def _objection_raised(self) -> Object:
        return maybe(self.chance, 0.85, kind=self.chance.choice(("direct-marketing", "situation", "weather")))

    def _objection_assessed(self) -> Object:
        purposes = maybe(self.chance, 0.4, purposes=[self.chance.choice((self.focus["id"], "news"))])
        return {
            **self._referring("objection-assessed"),
            "purposes": purposes.get("purposes"),
            "outcome": self.chance.choice(("rejected", "rejected", "upheld", "partly")),
            **maybe(self.chance, 0.85, grounds="balanced"),
            **maybe(self.chance, 0.85, subject_informed_at=self._informed()),
        }

    def _informed(self) -> str:
        return (self._later(self.now) if self._odds(0.5) else self.now - self.chance.choice(STEPS)).isoformat()

    def _objection_withdrawn(self) -> Object:
        return {"origin": "data-subject" if self._odds(0.85) else "import"}

    def _complaint_received(self) -> Object:
        return {"kind": "spam-feedback-loop"}

    def _restriction_lifted(self) -> Object:
        return {
            **self._referring("restriction-lifted"),
            **maybe(self.chance, 0.85, subject_informed_at=self._informed()),
        }

    def _erasure_refused(self) -> Object:
        return {**self._referring("erasure-refused"), **maybe(self.chance, 0.9, grounds="Art. 17(3)(b)")}

    def _erasure_executed(self) -> Object:
        return self._referring("erasure-executed")

    def _identifier_changed(self) -> Object:
        """Change an address, most often the first one; then life goes on at the new one."""
        old = self.people[0] if self._odds(0.7) else self.chance.choice(PEOPLE)
        new = self.chance.choice(PEOPLE if self._rarely(0.2) else [one for one in PEOPLE if one[0] == old[0]])
        if self._odds(0.5):
            self.people = list(dict.fromkeys((new, *self.people)))
        return {
            "old": {"type": old[0], "value": old[1]},
            "new": {"type": new[0], "value": new[1]},
            "origin": "data-subject" if self._odds(0.75) else "staff",
            "verified": self._odds(0.75),
        }

    def _delivery_failed(self) -> Object:
        return {"bounce": "hard" if self._odds(0.85) else "soft"}

    def _age_established(self) -> Object:
        minor = {"is_minor": self._odds(0.85)}
        return minor if self._odds(0.5) else {"birth_date": self.chance.choice(BIRTHS)}

    def _relationship_started(self) -> Object:
        return {
            "collected_in_sale": self._odds(0.95), "opt_out_offered": self._odds(0.95),
            "similar_products": self._odds(0.95), **maybe(self.chance, 0.06, opted_out_at_collection=True),
        }  # fmt: skip

    def _contact_recorded(self) -> Object:
        return {
            "initiated_by": "subject" if self._odds(0.85) else "controller",
            "kind": self.chance.choice(CONTACTS),
        }

    def _repermission_sent(self) -> Object:
        """Ask again, most often at the very end of a span since something happened, or just before."""
        asked: Object = {"purpose": self.named if self._odds(0.8) else "news"}
        if self.events and self._odds(0.6):
            since = times.instant(self.chance.choice(self.events)["occurred_at"])
            self.now = times.plus(since, self.chance.choice(self.spans)) - (TICK if self._odds(0.3) else timedelta())
            asked |= {"occurred_at": self.now.isoformat(), "recorded_at": self.now.isoformat()}
        return asked

    def _preference_register_imported(self) -> Object:
        numbers = self.chance.sample(("+3221112233", "+31612345678"), self.chance.choice((0, 1, 1, 2)))
        if self.called and self._odds(0.6):
            numbers = [self.people[0][1]]
        names = self.focus["dnc"] if self.called and self._odds(0.8) else REGISTERS
        known = maybe(self.chance, 0.3, registered_at=self._informed())
        return {
            "register": self.chance.choice(names),
            "numbers": [{"value": value, **known} for value in numbers],
            "source": "dncm" if self._odds(0.8) else f"web:{self.focus['controller']}",
        }

    def _event_voided(self) -> Object:
        any_id = [one["id"] for one in self.events] or ["e1"]
        source = self.chance.choice(("agency", "agency", "desk", f"web:{self.focus['controller']}", "stranger"))
        said = {"voids": self.chance.choice(any_id), "source": source}
        return (
            said | maybe(self.chance, 0.85, entered_by=self.chance.choice(STAFF))
            | maybe(self.chance, 0.85, approved_by=self.chance.choice(STAFF))
        )  # fmt: skip

    # -- what is asked

    @cached_property
    def instants(self) -> list[datetime]:
        """Every instant at which an event happens, a span of the rules ends, or a birthday falls."""
        found = {times.instant(one[field]) for one in self.events for field in ("occurred_at", "recorded_at")}
        found |= {times.instant(one["subject_informed_at"]) for one in self.events if "subject_informed_at" in one}
        ends = {times.plus(instant, span) for instant in found for span in (*TTLS, "PT5M")}
        closes = {times.plus(end, "P30D") for end in ends}
        births = [datetime.fromisoformat(day).date() for day in BIRTHS]
        turns = {datetime.combine(times.birthday(day, 18), datetime.min.time(), UTC) for day in births}
        return sorted(instant for instant in found | ends | closes | turns if instant.year < 2100)

    def instant(self) -> datetime:
        if self._odds(0.6):
            return self.now + timedelta(days=self.chance.choice((0, 1, 10, 40)))
        return self.chance.choice(self.instants) + self.chance.choice((timedelta(), timedelta(), TICK, -TICK))

    def question(self) -> Object:
        purpose = self.focus if self._odds(0.8) else self.chance.choice(self.register["purposes"])
        channel = self.chance.choice(purpose["channels"])
        if purpose is self.focus and self._odds(0.8):
            channel = self.channel
        asked: Object = {"controller": purpose["controller"], "purpose": purpose["id"], "channel": channel}
        if self._odds(0.015):
            asked[self.chance.choice(("controller", "purpose", "channel"))] = self.chance.choice(("yak", "sms", "news"))
        kind = ADDRESS_OF.get(asked["channel"])
        fitting = [one for one in (*self.people, *PEOPLE) if one[0] == kind] or list(self.people)
        first = fitting[0] if self._odds(0.8) else self.chance.choice(fitting)
        more = [one for one in self.people if one[0] != kind or self._odds(0.1)] if self._odds(0.3) else []
        subject = [{"type": t, "value": v} for t, v in dict.fromkeys((first, *more))]
        return asked | {"subject": subject if self._odds(0.99) else [], "at": self.instant().isoformat()}
