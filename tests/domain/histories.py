"""Random histories over a small register, for the laws that every history must keep."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from consent_ledger.domain import register
from consent_ledger.domain.decision import ADDRESS_OF, Decision
from consent_ledger.domain.scenario import Ledger

Event = dict[str, Any]
START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2026, 6, 1, tzinfo=UTC)


def _purpose(controller: str, name: str, basis: str, *channels: str, **terms: Any) -> dict[str, Any]:
    return {"controller": controller, "id": name, "basis": basis, "channels": list(channels), **terms}


MARKETING: dict[str, Any] = {"direct_marketing": True}
REGISTER = register.parse(
    {
        "controllers": {
            "north": {"group": "poles", "country": "BE", "default_objection_scope": "group"},
            "south": {"group": "poles", "country": "NL", "default_objection_scope": "entity"},
            "east": {"group": None, "country": "FR"},
        },
        "purposes": [
            _purpose("north", "news", "consent", "email", "internal", **MARKETING),
            _purpose("north", "club", "consent", "email", **MARKETING, double_opt_in=True, withdrawal_group="g"),
            _purpose("north", "video", "consent", "device", "email", consent_ttl="P30D", withdrawal_group="g"),
            _purpose("north", "talent", "consent", "internal", min_age=16, age_gate="signal", iss=True),
            _purpose("north", "offers", "legitimate-interest", "email", "sms", **MARKETING, soft_opt_in=True),
            _purpose("north", "file", "legitimate-interest", "internal", joint_with=["south"]),
            _purpose("north", "service", "contract", "email", "phone"),
            _purpose(
                "north", "claims", "legitimate-interest", "internal", restriction_exempt=True, erasure_exempt=True
            ),
            _purpose("south", "news", "consent", "email", **MARKETING, min_text_version=2),
            _purpose("south", "file", "legitimate-interest", "internal", joint_with=["north"]),
            _purpose("south", "brochure", "legitimate-interest", "post", "media", **MARKETING, inactivity_ttl="P1M"),
            _purpose("east", "letters", "consent", "email", **MARKETING, inactivity_ttl="P20D"),
            _purpose("east", "ask", "legitimate-interest", "email", **MARKETING, repermission_for="letters"),
            _purpose("east", "calls", "consent", "phone", **MARKETING, dnc=["list"]),
        ],
        "sources": {
            "web:north": {"controllers": ["north"]},
            "web:south": {"controllers": ["south"]},
            "web:east": {"controllers": ["east"]},
            "desk": {"controllers": ["north", "south"]},
        },
        "dnc_registers": {"list": {"max_age": "P7D"}},
    }
)
PEOPLE: tuple[tuple[str, str], ...] = (
    ("email", "an@example.be"), ("email", "an.prive@example.be"), ("phone", "+3221112233"), ("customer_no", "C-1"),
    ("device", "d-1"), ("postal", "1000 BRUSSEL, X 1"),
)  # fmt: skip
STRANGERS: tuple[tuple[str, str], ...] = (
    ("email", "bert@example.nl"),
    ("phone", "+31612345678"),
    ("customer_no", "C-9"),
)
NAMES = sorted({purpose.id for purpose in REGISTER.purposes.values()})
CHANNELS = ["email", "internal", "phone", "post", "device"]

HOMES = {"north": "web:north", "south": "web:south", "east": "web:east"}
minutes = st.one_of(st.integers(0, 12), st.integers(0, 60 * 24 * 40), st.integers(0, 60 * 24 * 150)).map(
    lambda ago: 60 * 24 * 150 - ago
)


def mostly(usual: st.SearchStrategy[Any], rare: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw the usual in seven cases of eight."""
    return st.integers(0, 7).flatmap(lambda throw: rare if throw == 7 else usual)


@st.composite
def subjects(draw: st.DrawFn, people: tuple[tuple[str, str], ...], most: int = 2, *, marks: bool = True) -> list[Event]:
    first = draw(mostly(st.just(people[0]), st.sampled_from(people)))
    more = draw(st.lists(st.sampled_from(people), max_size=most - 1))
    shared = st.sampled_from([*[False] * 7, marks])
    return [
        {"type": kind, "value": value, **({"shared": True} if draw(shared) else {})}
        for kind, value in dict.fromkeys((first, *more))
    ]


def _names(*usual: str) -> st.SearchStrategy[Any]:
    return st.lists(st.sampled_from(usual), min_size=1, max_size=3, unique=True)


def _envelope(draw: st.DrawFn, kind: str, *, permissive: bool) -> Event:
    occurred = START + timedelta(minutes=draw(minutes))
    delay = draw(mostly(st.sampled_from([0, 3]), st.sampled_from([-3, -10, 60 * 24 * 9])))
    controller = draw(st.sampled_from(["north", "north", "north", "south", "east", "east"]))
    several: st.SearchStrategy[Any] = st.lists(
        st.sampled_from(["north", "south", "east"]), min_size=1, max_size=3, unique=True
    )
    unclear = several if permissive else st.one_of(several, st.none(), st.just(["west"]))
    event: Event = {
        "type": kind,
        "source": draw(mostly(st.just(HOMES[controller]), st.sampled_from([*HOMES.values(), "desk", "nobody"]))),
        "occurred_at": occurred.isoformat(),
        "recorded_at": (occurred + timedelta(minutes=delay)).isoformat(),
        "controllers": draw(mostly(st.just([controller]), unclear)),
    }
    own = [purpose.id for purpose in REGISTER.purposes_of(controller)]
    if permissive:
        channels = draw(mostly(st.just(CHANNELS), _names(*CHANNELS)))
        return event | {"purposes": draw(mostly(st.just(own), _names(*NAMES))), "channels": channels}
    said = {
        "purposes": draw(st.one_of(_names(*own), st.just("all"), st.none(), st.just(["news", "old-name"]))),
        "channels": draw(mostly(st.none(), _names(*CHANNELS))),
        "controller_scope": draw(st.sampled_from([None, None, "entity", "group"])),
        "identifier_scope": draw(st.sampled_from([None, None, None, "identifier"])),
        "entered_by": draw(st.sampled_from([None, "staff:a"])),
    }
    return event | {field: value for field, value in said.items() if value is not None}


@st.composite
def consents(
    draw: st.DrawFn, people: tuple[tuple[str, str], ...] = PEOPLE, most: int = 2, *, marks: bool = True
) -> Event:
    ages: list[Event] = [{}, {"birth_date": "2012-05-05"}, {"birth_date": "1990-01-01"}, {"declared_min_age": 16}]
    return _envelope(draw, "consent-given", permissive=True) | {
        "subject": draw(subjects(people, most, marks=marks)),
        "origin": draw(mostly(st.just("data-subject"), st.just("import"))),
        "mechanism": draw(mostly(st.just("button"), st.sampled_from(["toggle", "pre-ticked"]))),
        "evidence": {"text_id": "t", "text_version": draw(mostly(st.just(2), st.just(1))), "ref": "r"},
        "age": draw(st.sampled_from(ages)),
    }


@st.composite
def refusals(draw: st.DrawFn, people: tuple[tuple[str, str], ...] = PEOPLE, most: int = 2) -> Event:
    kinds: list[tuple[str, Event]] = [
        ("consent-withdrawn", {}), ("objection-raised", {"kind": "direct-marketing"}), ("erasure-requested", {}),
        ("objection-raised", {"kind": "situation"}), ("complaint-received", {"kind": "spam"}), ("erasure-executed", {}),
        ("restriction-placed", {}), ("delivery-failed", {"bounce": "hard"}), ("age-established", {"is_minor": True}),
    ]  # fmt: skip
    kind, more = draw(st.sampled_from(kinds))
    return _envelope(draw, kind, permissive=False) | more | {"subject": draw(subjects(people, most, marks=False))}


@st.composite
def others(draw: st.DrawFn, people: tuple[tuple[str, str], ...] = PEOPLE) -> Event:
    """Every other event about people, and those that refer to an event of the first eight in a history."""
    reference = f"e{draw(st.integers(0, 7))}"
    informed = (START + timedelta(minutes=draw(minutes))).isoformat()
    old, new = draw(st.sampled_from(people)), draw(st.sampled_from(people))
    kinds: list[tuple[str, Event]] = [
        ("consent-confirmed", {"consent_id": reference}),
        ("objection-withdrawn", {"origin": "data-subject"}),
        ("objection-assessed", {
            "objection_id": reference, "outcome": "rejected", "grounds": "g", "subject_informed_at": informed,
        }),
        ("objection-assessed", {"objection_id": reference, "outcome": "upheld", "subject_informed_at": informed}),
        ("restriction-lifted", {"restriction_id": reference, "subject_informed_at": START.isoformat()}),
        ("erasure-refused", {"request_id": reference, "grounds": "g"}),
        ("relationship-started", dict.fromkeys(("collected_in_sale", "opt_out_offered", "similar_products"), True)),
        ("relationship-ended", {}),
        ("contact-recorded", {"initiated_by": "subject", "kind": "click"}),
        ("identifiers-linked", {}),
        ("identifier-verified", {}),
        ("age-established", {"birth_date": draw(st.sampled_from(["2008-07-01", "1990-01-01"]))}),
        ("event-voided", {"voids": reference, "entered_by": "staff:a", "approved_by": "staff:b"}),
        ("repermission-sent", {"purpose": "letters"}),
        ("identifier-changed", {
            "old": {"type": old[0], "value": old[1]}, "new": {"type": new[0], "value": new[1]},
            "origin": "data-subject", "verified": draw(st.booleans()),
        }),
    ]  # fmt: skip
    kind, more = draw(st.sampled_from(kinds))
    event = _envelope(draw, kind, permissive=True) | more
    if kind == "objection-assessed":
        del event["purposes"]
    if kind not in ("consent-confirmed", "restriction-lifted", "erasure-refused", "event-voided", "identifier-changed"):
        event["subject"] = draw(subjects(people, marks=kind != "age-established"))
    return event


def numbered(events: list[Event], prefix: str = "e") -> list[Event]:
    """Give every event its id, in order."""
    return [event | {"id": f"{prefix}{place}"} for place, event in enumerate(events)]


def histories(people: tuple[tuple[str, str], ...] = PEOPLE, most: int = 8) -> st.SearchStrategy[list[Event]]:
    """Histories in the order in which the events arrived."""
    events = st.one_of(consents(people), consents(people), refusals(people), others(people))
    return st.lists(events, min_size=3, max_size=most).map(
        lambda found: numbered(sorted(found, key=lambda one: one["recorded_at"]))
    )


def questions() -> list[tuple[str, str, str, tuple[str, str]]]:
    """Every controller, purpose and channel for every address it can be asked for."""
    return [
        (purpose.controller, purpose.id, channel, person)
        for purpose in REGISTER.purposes.values()
        for channel in purpose.channels
        for person in PEOPLE
        if ADDRESS_OF[channel] in (None, person[0])
    ]


def ask(ledger: Ledger, question: tuple[str, str, str, tuple[str, str]], at: str, as_of: str | None = None) -> Decision:
    """Ask one question about one identifier."""
    controller, purpose, channel, (kind, value) = question
    asked: Mapping[str, Any] = {
        "controller": controller, "purpose": purpose, "channel": channel, "at": at,
        "subject": [{"type": kind, "value": value}],
    }  # fmt: skip
    return ledger.answer(asked, as_of)


def answers(
    events: list[Event], at: str, as_of: str | None = None
) -> dict[tuple[str, str, str, tuple[str, str]], Decision]:
    """Answer every question there is about a history."""
    ledger = Ledger(REGISTER, events)
    return {question: ask(ledger, question, at, as_of) for question in questions()}
