"""Proof of one consent (Art. 7(1)): a record with the field names of ISO/IEC TS 27560, and what proves it.

What is said here was said to the ledger, or stands in the register that was in force when the consent was recorded.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from consent_ledger.domain import access, durations
from consent_ledger.domain.access import Place
from consent_ledger.domain.catalogue import KINDS, VIEWED
from consent_ledger.domain.leaf import SALT_BYTES
from consent_ledger.domain.reach import addressed, covers, scope
from consent_ledger.domain.register import REFUSALS, Register
from consent_ledger.domain.texts import Text, shown

FORMAT: Final = "urn:consent-ledger:export:consent:1"
_GIVEN: Final = "consent-given"
_CONFIRMED: Final = "consent-confirmed"
_VOIDED: Final = "event-voided"
# The state of a box before anybody touched it, where the mechanism says it.
_DEFAULT_STATES: Final = {"unticked-checkbox": "unticked", "toggle": "off"}
_STATES: Final = {
    _GIVEN: "given", _CONFIRMED: "confirmed", "consent-withdrawn": "withdrawn", _VOIDED: "invalidated",
    "erasure-requested": "erasure requested", "erasure-executed": "terminated", "objection-raised": "objected",
    "complaint-received": "objected", "restriction-placed": "restricted", "identifier-changed": "address changed",
}  # fmt: skip


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """An identifier of the subject, as given; null where it is erased, and then its keyed `hash`."""

    type: str
    value: str | None
    hash: str | None


class PiiProcessing(msgspec.Struct, frozen=True, kw_only=True):
    """What was consented to, as the register had it then. Null: it does not say."""

    purpose: str
    purpose_description: str | None
    lawful_basis: str | None
    pii_types: list[str]
    pii_controllers: list[str]
    channels: list[str]
    storage_locations: str | None
    retention_period: str | None
    jurisdiction: str | None
    recipient_third_parties: list[str]
    withdrawal_method: str | None


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """The text that was shown.

    `found`: `exact`, the event names its hash; `version`, it names id and version; else nothing is found, as it was
    never registered (`unregistered`), the event names none (`unnamed`) or another hash (`differs`), or does not say in
    which of several languages (`ambiguous`). `kept_before`: it was in the ledger when the consent was recorded.
    """

    id: str | None
    version: int | None
    language: str | None
    hash: str | None
    privacy_notice_version: str | None
    found: Literal["exact", "version", "unnamed", "unregistered", "differs", "ambiguous"]
    media_type: str | None
    text: str | None
    event_id: str | None
    kept_before: bool | None


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """How the declaration was made, and where that is kept (EDPB Guidelines 05/2020, 104 to 108)."""

    mechanism: str | None
    default_state: str | None
    source: str
    received_via: str | None
    origin: str | None
    evidence_ref: str | None
    ip: str | None
    device: str | None
    declared_min_age: int | None
    birth_date: str | None
    country: str | None
    parental_authorisation: str | None
    entered_by: str | None


class DoubleOptIn(msgspec.Struct, frozen=True, kw_only=True):
    """The two instants: the declaration, and its confirmation from the address itself; null while there is none."""

    required: bool
    requested_at: str
    confirmed_at: str | None
    confirmation: str | None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to the consent, the consent itself first. `validity_duration`: ISO 8601, or null."""

    event_id: str
    event_type: str
    event_state: str
    event_time: str
    recorded_at: str
    entity_id: str
    validity_duration: str | None
    purposes: list[str] | None
    voided: bool
    place: Place


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What the log says of an event's entry. `proof`: a C2SP tlog-proof with the signed checkpoint.

    `opening`: salt and personal fields in base64, to whose SHA-256 the entry commits; null where they are erased.
    """

    event_id: str
    place: Place
    leaf_hash: str
    proof: str
    opening: str | None


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """Under which key the proofs are checked: `consent verify` needs nothing else."""

    verifier_key: str
    proofs: list[Proof]


class ConsentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One consent at one controller."""

    format: Literal["urn:consent-ledger:export:consent:1"]
    schema_version: Literal["ISO/IEC TS 27560:2023"]
    record_id: str
    made_at: str
    pii_principal_id: list[Principal]
    pii_processing: list[PiiProcessing]
    party_identification: list[access.Party]
    consent_type: Literal["explicit"]
    notice: Notice
    collection: Collection
    double_opt_in: DoubleOptIn
    event: list[Event]
    register_version: int
    log: Log


def record(
    shown_: Mapping[str, Any], event_id: str, register: Register, texts: Iterable[Text], log: Log, made_at: str
) -> ConsentRecord:
    """Make the record of a consent from what was `shown_` of its person (`POST /v1/subjects/lookup`).

    `register`: that under which it was recorded. Raises LookupError when no consent has this id.
    """
    entries = relevant(shown_, given(shown_, event_id), register)
    consent, said = entries[0], entries[0]["said"]
    controller = shown_["controller"]
    return ConsentRecord(
        format=FORMAT,
        schema_version="ISO/IEC TS 27560:2023",
        record_id=event_id,
        made_at=made_at,
        pii_principal_id=_principal(consent),
        pii_processing=_processing(register, controller, said, consent),
        party_identification=[
            access.party(register, name) for name in _list(said.get("controllers")) or [controller]
        ],
        consent_type="explicit",
        notice=_notice(texts, controller, consent),
        collection=_collection(consent),
        double_opt_in=_double_opt_in(register, controller, entries),
        event=[_event(one, register, controller) for one in entries],
        register_version=consent["register_version"],
        log=log,
    )  # fmt: skip


def _principal(consent: Mapping[str, Any]) -> list[Principal]:
    """Give the identifiers as given, where they can be read."""
    if (opening := consent.get("opening")) is not None:
        given = msgspec.json.decode(base64.b64decode(opening)[SALT_BYTES:])["subject"]
        return [Principal(type=one["type"], value=one["value"], hash=None) for one in given]
    return [Principal(type=one["type"], value=None, hash=one.get("hash")) for one in consent["identifiers"]]


def given(shown_: Mapping[str, Any], event_id: str) -> Mapping[str, Any]:
    """Find the entry of a consent. Raises LookupError when no consent has this id."""
    entries: Sequence[Mapping[str, Any]] = shown_["entries"]
    consent = next((one for one in entries if one["event_id"] == event_id and one["type"] == _GIVEN), None)
    if consent is None:
        raise LookupError("no consent has this id")
    return consent


def relevant(shown_: Mapping[str, Any], consent: Mapping[str, Any], register: Register) -> list[Mapping[str, Any]]:
    """Give the entry of a consent and those that matter to it, in the order of recording: the consent first.

    These are its confirmations and voidings, and whatever the person did afterwards that is not about other purposes
    only; `register`: that under which the consent was recorded.
    """
    purposes = frozenset(_list(consent["said"].get("purposes")) or ())
    return [
        consent,
        *(
            one for one in shown_["entries"]
            if one is not consent and _matters(one, consent)
            and _is_about(one, register, shown_["controller"], purposes)
        ),
    ]  # fmt: skip


def _matters(one: Mapping[str, Any], consent: Mapping[str, Any]) -> bool:
    said = one["said"]
    if one["type"] == VIEWED:
        return False
    if one["type"] in (_CONFIRMED, _VOIDED):
        return consent["event_id"] in (said.get("consent_id"), said.get("voids"))
    return _at(one["recorded_at"]) >= _at(consent["recorded_at"]) and (
        KINDS.get(one["type"]) == "R" or one["type"] in _STATES
    )


def _is_about(one: Mapping[str, Any], register: Register, controller: str, purposes: frozenset[str]) -> bool:
    """Tell whether an entry is about some of the purposes; a refusal may reach others than it names."""
    said = one["said"]
    named = _list(said.get("purposes"))
    if named is None or purposes.intersection(named):
        return True
    if one["type"] not in REFUSALS:
        return False
    whom = tuple(_list(said.get("controllers")) or ()) or None
    speaks_to = addressed(register, one["type"], one["source"], whom, _text(said.get("controller_scope"))).controllers
    reached = scope(register, speaks_to, tuple(named))
    known = (register.purposes.get((controller, name)) for name in purposes)
    return reached.names is None or any(purpose is not None and covers(reached, purpose) for purpose in known)


def _processing(
    register: Register, controller: str, said: Mapping[str, Any], consent: Mapping[str, Any]
) -> list[PiiProcessing]:
    rows = {row["id"]: row for row in register.document.get("purposes", ()) if row["controller"] == controller}
    types = sorted({one["type"] for one in consent["identifiers"]})
    known = register.controllers.get(controller)
    found = []
    for name in _list(said.get("purposes")) or ():
        row = rows.get(name)
        purpose = None if row is None else access.describe(register, row)
        doc: Mapping[str, Any] = row["doc"] if row is not None and isinstance(row.get("doc"), dict) else {}
        found.append(
            PiiProcessing(
                purpose=name,
                purpose_description=None if purpose is None else purpose.aim,
                lawful_basis=None if purpose is None else purpose.basis,
                pii_types=types,
                pii_controllers=_list(said.get("controllers")) or [controller],
                channels=_list(said.get("channels")) or [],
                storage_locations=_text(doc.get("storage_locations")),
                retention_period=None if purpose is None else purpose.evidence_retention or purpose.retention,
                jurisdiction=None if known is None else known.country,
                recipient_third_parties=[] if purpose is None else purpose.recipients,
                withdrawal_method=_text(doc.get("withdrawal_method")),
            )
        )
    return found


def text_of(texts: Iterable[Text], controller: str, consent: Mapping[str, Any]) -> tuple[Text | None, str]:
    """Find the text that a consent names as shown, as `texts.shown` does."""
    return shown(texts, controller, _evidence(consent))


def _evidence(consent: Mapping[str, Any]) -> dict[str, Any]:
    evidence = consent["said"].get("evidence")
    return evidence if isinstance(evidence, dict) else {}


def _notice(texts: Iterable[Text], controller: str, consent: Mapping[str, Any]) -> Notice:
    evidence = _evidence(consent)
    text, found = text_of(texts, controller, consent)
    return Notice(
        id=evidence.get("text_id"),
        version=evidence.get("text_version"),
        language=evidence.get("language") if text is None else text.language,
        hash=evidence.get("text_hash") if text is None else text.hash,
        privacy_notice_version=evidence.get("notice_version"),
        found=found,  # type: ignore[arg-type]
        media_type=None if text is None else text.media_type,
        text=None if text is None else text.text,
        event_id=None if text is None else str(text.event_id),
        kept_before=None if text is None else text.recorded_at <= _at(consent["recorded_at"]),
    )


def _at(instant: str) -> datetime:
    return datetime.fromisoformat(instant)


def _collection(consent: Mapping[str, Any]) -> Collection:
    said = consent["said"]
    age = said.get("age") if isinstance(said.get("age"), dict) else {}
    mechanism = said.get("mechanism")
    return Collection(
        mechanism=mechanism,
        default_state=_DEFAULT_STATES.get(mechanism) if isinstance(mechanism, str) else None,
        source=consent["source"],
        received_via=said.get("received_via"),
        origin=said.get("origin"),
        evidence_ref=said.get("evidence.ref"),
        ip=said.get("ip"),
        device=said.get("device"),
        declared_min_age=age.get("declared_min_age"),
        birth_date=said.get("birth_date"),
        country=said.get("country"),
        parental_authorisation=said.get("parental.ref"),
        entered_by=consent["entered_by"],
    )


def _double_opt_in(register: Register, controller: str, entries: Sequence[Mapping[str, Any]]) -> DoubleOptIn:
    consent = entries[0]
    confirmed = next((one for one in entries if one["type"] == _CONFIRMED and not one["voided"]), None)
    purposes = (register.purposes.get((controller, name)) for name in _list(consent["said"].get("purposes")) or ())
    return DoubleOptIn(
        required=any(purpose is not None and purpose.terms.double_opt_in for purpose in purposes),
        requested_at=consent["occurred_at"],
        confirmed_at=None if confirmed is None else confirmed["occurred_at"],
        confirmation=None if confirmed is None else confirmed["event_id"],
    )


def _event(one: Mapping[str, Any], register: Register, controller: str) -> Event:
    purposes = _list(one["said"].get("purposes"))
    ttl = None
    if one["type"] == _GIVEN:
        found = [register.purposes.get((controller, name)) for name in purposes or ()]
        spans = [purpose.terms.consent_ttl for purpose in found if purpose and purpose.terms.consent_ttl]
        ttl = min(spans, key=_length, default=None)
    return Event(
        event_id=one["event_id"],
        event_type=one["type"],
        event_state=_STATES.get(one["type"], one["type"]),
        event_time=one["occurred_at"],
        recorded_at=one["recorded_at"],
        entity_id=one["source"],
        validity_duration=ttl,
        purposes=purposes,
        voided=one["voided"],
        place=Place(one["position"]["shard"], one["position"]["position"]),
    )


def _length(span: str) -> tuple[int, int]:
    parsed = durations.parse(span)
    return parsed.months, parsed.microseconds


def _list(value: object) -> list[str] | None:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
