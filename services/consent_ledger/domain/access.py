"""What one controller tells a person who asks for their data: access (Art. 15) and portability (Art. 20).

Made of what an officer was shown of the person. Left out is what is not theirs to see: other people's addresses, who of
the staff did what, keys, and everything of other controllers.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from consent_ledger.domain.catalogue import VIEWED
from consent_ledger.domain.errors import ConsentError
from consent_ledger.domain.reasons import RULES
from consent_ledger.domain.register import Register

ACCESS: Final = "urn:consent-ledger:export:access:1"
PORTABILITY: Final = "urn:consent-ledger:export:portability:1"

RIGHTS: Final = (
    "access", "rectification", "erasure", "restriction", "portability", "objection", "withdrawal", "complaint",
)  # fmt: skip
"""What a person may ask for (Art. 7(3), 15 to 18, 20, 21, 77)."""
_AUTHORITIES: Final = {
    "BE": "Gegevensbeschermingsautoriteit / Autorité de protection des données",
    "NL": "Autoriteit Persoonsgegevens",
    "FR": "Commission nationale de l'informatique et des libertés (CNIL)",
    "DE": "Datenschutzaufsichtsbehörde des Landes",
}
# Names of staff, and what is told of an entry apart from what it said.
_NOT_SAID: Final = frozenset({"entered_by", "approved_by", "old", "new", "controllers"})
_STAFFLESS: Final = frozenset({"ledger"})

# What a subject does or says themselves (Art. 20(1): data which they have provided).
_PROVIDED: Final = frozenset({"consent-given", "consent-withdrawn", "identifier-changed", "contact-recorded"})
_PORTABLE_BASES: Final = frozenset({"consent", "contract"})
_PORTABLE: Final = ("purposes", "channels", "country", "age", "birth_date", "language", "kind", "extra")


class SharedError(ConsentError):
    """The identifier is used by several people, so it does not say whose data are asked for."""


class Place(msgspec.Struct, frozen=True):
    """A place in the ledger."""

    shard: int
    position: int


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """An identifier in an event. `value` null: it cannot be read any more, or belongs to somebody else: `withheld`."""

    role: str
    type: str
    value: str | None
    withheld: bool


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """An identifier by which the controller knows the person: `asked` for, or linked to one that was."""

    type: str
    value: str | None
    asked: bool
    events: int


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """One event: when it happened, when it was recorded, and what it said.

    `entered_by`: `staff`, `ledger` (by the service itself) or null, for nobody typed it. `personal`: `shown`, `erased`,
    `elsewhere` (this controller was told and holds no copy) or `none`. `voided`: found to be a mistake, without effect.
    """

    id: str
    type: str
    occurred_at: str
    recorded_at: str
    place: Place
    source: str
    entered_by: str | None
    identifiers: list[Address]
    personal: Literal["shown", "erased", "elsewhere", "none"]
    said: dict[str, Any]
    voided: bool
    malformed: bool


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody was shown the person's data: when, why, and how many entries; `by`: a person of the staff."""

    recorded_at: str
    reason: str | None
    by: Literal["staff"]
    entries: int | None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an address may be used now, for a purpose over a channel, and why."""

    type: str
    value: str
    purpose: str
    channel: str
    allow: bool
    reason: str
    reasons: list[str]
    text: str
    articles: list[str]


class Processing(msgspec.Struct, frozen=True, kw_only=True):
    """One purpose (Art. 15(1)(a) to (h)). Null: the register of the controller does not say it."""

    purpose: str
    aim: str | None
    basis: str
    channels: list[str]
    direct_marketing: bool
    categories: list[str] | None
    recipients: list[str]
    retention: str | None
    evidence_retention: str | None
    profiling: str | None
    third_countries: str | None
    joint_with: list[str]


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A keyed hash that is kept so that the address stays suppressed."""

    type: str
    value: str | None
    hash: str
    recorded_at: str


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """The controller. `contact`, `dpo`: null where the register does not say."""

    id: str
    name: str
    country: str | None
    contact: str | None
    dpo: str | None


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one controller holds of a person (Art. 15), and what it does with it.

    `withheld`: how many identifiers are left out because they are somebody else's. `sources`: from where data came that
    the person has not given themselves (Art. 15(1)(g)).
    """

    format: Literal["urn:consent-ledger:export:access:1"]
    made_at: str
    controller: Party
    identifiers: list[Known]
    events: list[Happened]
    sources: list[str]
    processing: list[Processing]
    answers: list[Answer]
    suppression: list[Kept]
    looks: list[Looked]
    rights: list[str]
    authority: str | None
    withheld: int


class Provided(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the person has said or done."""

    id: str
    type: str
    occurred_at: str
    identifiers: list[Address]
    said: dict[str, Any]


class Portability(msgspec.Struct, frozen=True, kw_only=True):
    """What the person has provided, for purposes on consent or contract (Art. 20(1))."""

    format: Literal["urn:consent-ledger:export:portability:1"]
    made_at: str
    controller: Party
    provided: list[Provided]


def access(register: Register, shown: Mapping[str, Any], made_at: str) -> Access:
    """Tell a person what was `shown` of them, as `POST /v1/subjects/lookup` answers. Raises `SharedError`."""
    controller = shown["controller"]
    mine = _own(shown)
    events = [_happened(entry, mine) for entry in shown["entries"] if entry["type"] != VIEWED]
    return Access(
        format=ACCESS,
        made_at=made_at,
        controller=party(register, controller),
        identifiers=[
            Known(type=one["type"], value=one["value"], asked=one["asked"], events=len(one["positions"]))
            for one in shown["identifiers"]
        ],
        events=events,
        sources=sorted({one["source"] for one in shown["entries"] if _is_from_others(one)}),
        processing=_processing(register, controller, _purposes(shown)),
        answers=[_answer(one, each) for one in shown["answers"] for each in one["decisions"]],
        suppression=[
            Kept(type=one["type"], value=one["value"], hash=one["hash"], recorded_at=one["recorded_at"])
            for one in shown["suppression"]
        ],
        looks=[_looked(entry) for entry in shown["entries"] if entry["type"] == VIEWED],
        rights=list(RIGHTS),
        authority=_AUTHORITIES.get(_country(register, controller) or ""),
        withheld=sum(address.withheld for one in events for address in one.identifiers),
    )


def portability(register: Register, shown: Mapping[str, Any], made_at: str) -> Portability:
    """Give a person what they have provided. Raises `SharedError`."""
    controller, mine = shown["controller"], _own(shown)
    portable = {one.id for one in register.purposes_of(controller) if one.terms.basis in _PORTABLE_BASES}
    found = []
    for entry in shown["entries"]:
        purposes = entry["said"].get("purposes")
        named = [one for one in purposes if one in portable] if isinstance(purposes, list) else purposes
        if _is_provided(entry) and named != []:
            said = {name: entry["said"][name] for name in _PORTABLE if name in entry["said"]}
            found.append(
                Provided(
                    id=entry["event_id"], type=entry["type"], occurred_at=entry["occurred_at"],
                    identifiers=_addresses(entry, mine), said=said if named is None else {**said, "purposes": named},
                )
            )  # fmt: skip
    return Portability(
        format=PORTABILITY, made_at=made_at, controller=party(register, controller), provided=found
    )  # fmt: skip


def party(register: Register, controller: str) -> Party:
    """Name a controller; one that the register in force does not have goes by its id."""
    said = register.document.get("controllers", {}).get(controller, {})
    return Party(
        id=controller, name=_text(said.get("name")) or controller, country=_text(said.get("country")),
        contact=_text(said.get("contact")), dpo=_text(said.get("dpo")),
    )  # fmt: skip


def _country(register: Register, controller: str) -> str | None:
    known = register.controllers.get(controller)
    return None if known is None else known.country


def _own(shown: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """Name the identifiers of the person. One by which several people are known tells of nobody alone."""
    asked = {(one["type"], one["value"]) for one in shown["identifiers"] if one["asked"]}
    shared = {
        (one["type"], one["value"]) for entry in shown["entries"] for one in entry["identifiers"] if one.get("shared")
    }
    if asked & shared:
        raise SharedError("several people use this identifier: ask by one that is the person's alone")
    return frozenset((one["type"], one["value"]) for one in shown["identifiers"])


def _addresses(entry: Mapping[str, Any], mine: frozenset[tuple[str, str]]) -> list[Address]:
    """Give the identifiers of an entry; one that is not the person's, nor shared by them, is withheld."""
    return [
        Address(role=one["role"], type=one["type"], value=one["value"] if known else None,
                withheld=one["value"] is not None and not known)
        for one in entry["identifiers"]
        for known in ((one["type"], one["value"]) in mine or one.get("shared", False),)
    ]  # fmt: skip


def _happened(entry: Mapping[str, Any], mine: frozenset[tuple[str, str]]) -> Happened:
    typed_by = entry["entered_by"]
    return Happened(
        id=entry["event_id"],
        type=entry["type"],
        occurred_at=entry["occurred_at"],
        recorded_at=entry["recorded_at"],
        place=Place(entry["position"]["shard"], entry["position"]["position"]),
        source=entry["source"],
        entered_by=None if typed_by is None else typed_by if typed_by in _STAFFLESS else "staff",
        identifiers=_addresses(entry, mine),
        personal=entry["personal"],
        said={name: value for name, value in entry["said"].items() if name not in _NOT_SAID},
        voided=entry["voided"],
        malformed=entry["malformed"],
    )


def _looked(entry: Mapping[str, Any]) -> Looked:
    """Say when and why somebody looked (CJEU C-579/21), and not who."""
    reason = entry["said"].get("reason")
    return Looked(
        recorded_at=entry["recorded_at"], reason=reason if isinstance(reason, str) else None, by="staff",
        entries=entry["said"].get("shown"),
    )  # fmt: skip


def _answer(of: Mapping[str, Any], decision: Mapping[str, Any]) -> Answer:
    rule = RULES.get(decision["reason"])
    return Answer(
        type=of["type"], value=of["value"], purpose=decision["purpose"] or "", channel=decision["channel"] or "",
        allow=decision["allow"], reason=decision["reason"], reasons=list(decision["reasons"]),
        text=rule.text if rule else "", articles=list(rule.articles) if rule else [],
    )  # fmt: skip


def _purposes(shown: Mapping[str, Any]) -> set[str]:
    """Name the purposes that are asked about or were named by any event."""
    answered = {each["purpose"] for one in shown["answers"] for each in one["decisions"]}
    named = (entry["said"].get("purposes") for entry in shown["entries"])
    return answered.union(*(one for one in named if isinstance(one, list)))


def _processing(register: Register, controller: str, wanted: Iterable[str]) -> list[Processing]:
    chosen = frozenset(wanted)
    rows = (row for row in register.document.get("purposes", ()) if row["controller"] == controller)
    return [describe(register, row) for row in rows if row["id"] in chosen]


def describe(register: Register, row: Mapping[str, Any]) -> Processing:
    """Say what the register says of a purpose; what it documents only may stand in its field `doc`."""
    purpose = register.purposes[row["controller"], row["id"]]
    doc: dict[str, Any] = row["doc"] if isinstance(row.get("doc"), dict) else {}
    said: dict[str, Any] = {**doc, **{name: value for name, value in row.items() if value is not None}}
    recipients = list(dict.fromkeys(_texts(said.get("recipients")) or ()))
    return Processing(
        purpose=purpose.id,
        aim=_text(said.get("description")),
        basis=purpose.terms.basis,
        channels=list(purpose.channels),
        direct_marketing=purpose.terms.direct_marketing,
        categories=_texts(said.get("categories")),
        recipients=recipients,
        retention=_text(said.get("retention")) or _text(said.get("retention_in_seed")),
        evidence_retention=_text(said.get("evidence_retention")),
        profiling=_text(said.get("profiling")),
        third_countries=_text(said.get("third_countries")),
        joint_with=sorted(purpose.terms.joint),
    )


def _is_from_others(entry: Mapping[str, Any]) -> bool:
    return entry["type"] != VIEWED and entry["said"].get("origin") not in (None, "data-subject")


def _is_provided(entry: Mapping[str, Any]) -> bool:
    if entry["type"] not in _PROVIDED or entry["voided"]:
        return False
    if entry["type"] == "contact-recorded":
        return bool(entry["said"].get("initiated_by") == "subject")
    return bool(entry["type"] == "consent-withdrawn" or entry["said"].get("origin") == "data-subject")


def _texts(value: object) -> list[str] | None:
    if isinstance(value, str):
        return [value]
    listed: Sequence[object] = value if isinstance(value, list) else ()
    return [one for one in listed if isinstance(one, str)] or None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
