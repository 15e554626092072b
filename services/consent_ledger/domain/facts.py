"""Entries as one controller's dossier keeps them: what a decision needs of them, and nothing else."""

import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Any, Final

import msgspec

from consent_ledger.domain import durations
from consent_ledger.domain.register import RESTRICTIVE
from consent_ledger.domain.register_checks import CHANNELS

SKEW: Final = 5 * durations.MINUTE
"""How far two clocks may differ (PT5M)."""
EventId = bytes
"""The 16 bytes of a UUID; in files with plain names, the name in UTF-8."""
Token = bytes
"""An identifier in opaque form that covers its type: a keyed hash, or type|value."""
Identifier = tuple[str, str, Token, bool]
"""Role (subject, old, new), type, token, shared."""
BY_INSTANT: Final = frozenset({"restriction-lifted"})
"""Types of which the same words say something else at another instant."""
UNREADABLE: Final = date.max.toordinal()
"""Stands for a birth date that a consent gave and that is gone with its personal part."""
_CONSENT: Final = "consent-given"
_FORMAT: Final = 1
_UNREGISTERED: Final = ""
_LEDGER: Final = "ledger"
"""Who enters what stands for a malformed refusal, so that two people can void it."""


class Fact(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One recorded entry. Instants are microseconds since 1970.

    `time` is the order time, the earlier of occurrence and recording: what is dated in the future counts from its
    recording. `ahead`: dated so far ahead that a permission never counts. `controllers` None: no list was given;
    `purposes` and `channels` None: all of them in a refusal, none in a permission. `refers_to`: the event that this one
    confirms, assesses, lifts, refuses or voids, or the request of which it is a step. `birth_day`: proleptic ordinal.
    """

    event_id: EventId
    type: str
    source: str
    time: int
    recorded: int
    shard: int
    pos: int
    version: int
    identifiers: tuple[Identifier, ...]
    controllers: tuple[str, ...] | None = None
    controller_scope: str | None = None
    narrowed: bool = False
    purposes: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    ahead: bool = False
    malformed: bool = False
    refers_to: EventId | None = None
    kind: str | None = None
    outcome: str | None = None
    origin: str | None = None
    mechanism: str | None = None
    evident: bool = False
    text_version: int | None = None
    country: str | None = None
    birth_day: int | None = None
    declared_min_age: int | None = None
    parental: bool = False
    is_minor: bool = False
    grounds: bool = False
    informed: int | None = None
    informed_before: bool = False
    verified: bool = False
    soft_opt_in: bool = False
    by_subject: bool = False
    entered_by: str | None = None
    approved_by: str | None = None

    @property
    def place(self) -> tuple[int, int]:
        """Where the ledger has it."""
        return (self.shard, self.pos)

    @property
    def tokens(self) -> frozenset[Token]:
        """The identifiers that it names."""
        return frozenset(token for _, _, token, _ in self.identifiers)


def fact(
    *,
    event_id: uuid.UUID | EventId | str,
    type: str,
    source: str,
    occurred_at: datetime | int | str | None,
    recorded_at: datetime | int | str,
    shard: int,
    pos: int,
    register_version: int,
    identifiers: Iterable[Identifier],
    body: Mapping[str, Any],
    personal: Mapping[str, Any] | None = None,
) -> Fact:
    """Make the fact of an entry from its fields that are not personal, and those that are, if the key still exists.

    `body` may say by true that a personal field was given. `occurred_at` None: unreadable, so the recording counts.
    Fields of a wrong shape are read as missing; a permission then lacks something, a refusal is wider.
    """
    recorded = durations.instant(recorded_at)
    occurred = recorded if occurred_at is None else durations.instant(occurred_at)
    return fact_of(
        words(type, body, personal, occurred), event_id=_event_id(event_id), type=type, source=source,
        occurred=occurred, recorded=recorded, shard=shard, pos=pos, register_version=register_version,
        identifiers=tuple(identifiers),
    )  # fmt: skip


def fact_of(
    said: Mapping[str, Any],
    *,
    event_id: EventId,
    type: str,
    source: str,
    occurred: int,
    recorded: int,
    shard: int,
    pos: int,
    register_version: int,
    identifiers: tuple[Identifier, ...],
) -> Fact:
    """Make the fact of an entry that says `said` (see `words`)."""
    return Fact(
        event_id=event_id, type=type, source=source, time=min(occurred, recorded), recorded=recorded, shard=shard,
        pos=pos, version=register_version, identifiers=identifiers, ahead=occurred > recorded + SKEW, **said,
    )  # fmt: skip


def without_personal(one: Fact) -> Fact:
    """Give a fact as it is made once its personal fields cannot be read any more."""
    birth_day = UNREADABLE if one.type == _CONSENT and one.birth_day is not None else None
    return msgspec.structs.replace(
        one, birth_day=birth_day, entered_by=_LEDGER if one.malformed else None, approved_by=None
    )  # fmt: skip


def words(
    type: str, body: Mapping[str, Any], personal: Mapping[str, Any] | None = None, occurred: int = 0
) -> dict[str, Any]:
    """Read what an entry says, as fields of its fact. `occurred` matters only to types that are `BY_INSTANT`."""
    said = {**body, **personal} if personal else body
    restrictive = type in RESTRICTIVE
    malformed = body.get("malformed") is True
    details = _DETAILS.get(type)
    purposes, channels = aims(type, body)
    return {
        "controllers": _controllers(body.get("controllers"), restrictive=restrictive),
        "controller_scope": _text(body.get("controller_scope")),
        "narrowed": body.get("identifier_scope") == "identifier",
        "purposes": purposes,
        "channels": channels,
        "malformed": malformed,
        "entered_by": _text(said.get("entered_by")) or (_LEDGER if malformed else None),
        "approved_by": _text(said.get("approved_by")),
        **(details(said, occurred) if details else {}),
    }


def aims(type: str, body: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Read the purposes and the channels that an entry is about, as its fact has them."""
    restrictive = type in RESTRICTIVE
    return (
        _listed(_purposes(body, type), restrictive=restrictive),
        _channels(body.get("channels"), restrictive=restrictive),
    )


class Dossier(msgspec.Struct, frozen=True):
    """All facts of one connected component at one controller, in the order of the ledger."""

    facts: tuple[Fact, ...] = ()

    def add(self, facts: Iterable[Fact]) -> "Dossier":
        """Take facts in; one that is there already stays as it is."""
        known = {one.place: one for one in self.facts}
        for one in facts:
            known.setdefault(one.place, one)
        return Dossier(tuple(known[place] for place in sorted(known)))

    def dumps(self) -> bytes:
        """Give the dossier as bytes, its format first."""
        return _ENCODER.encode((_FORMAT, self.facts))

    @staticmethod
    def loads(stored: bytes) -> "Dossier":
        """Read what `dumps` wrote. Raises msgspec.ValidationError for another format."""
        number, facts = _DECODER.decode(stored)
        if number != _FORMAT:
            raise msgspec.ValidationError(f"a dossier of format {number}")
        return Dossier(facts)


_KNOWN_CHANNELS: Final = frozenset(CHANNELS)
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(tuple[int, tuple[Fact, ...]])


def _event_id(value: uuid.UUID | EventId | str) -> EventId:
    """Give a UUID as its 16 bytes however it is written, and any other name in UTF-8."""
    if isinstance(value, bytes):
        return value
    try:
        return (value if isinstance(value, uuid.UUID) else uuid.UUID(value)).bytes
    except ValueError:
        return str(value).encode(errors="backslashreplace")


def _controllers(value: object, *, restrictive: bool) -> tuple[str, ...] | None:
    """Read the controllers; in a refusal, what cannot be read stands as one that is not registered."""
    if isinstance(value, list | tuple):
        if restrictive:
            return tuple(one if isinstance(one, str) else _UNREGISTERED for one in value)
        return tuple(one for one in value if isinstance(one, str))
    return (value, _UNREGISTERED) if restrictive and isinstance(value, str) and value != "all" else None


def _purposes(body: Mapping[str, Any], type: str) -> object:
    """Find the purposes; a re-permission asks about one, under a name of its own."""
    return [body.get("purpose")] if type == "repermission-sent" else body.get("purposes")


def _channels(value: object, *, restrictive: bool) -> tuple[str, ...] | None:
    """Read the channels; a refusal of one that does not exist is a refusal of all."""
    listed = _listed(value, restrictive=restrictive)
    return None if restrictive and listed is not None and not _KNOWN_CHANNELS.issuperset(listed) else listed


def _listed(value: object, *, restrictive: bool) -> tuple[str, ...] | None:
    if not isinstance(value, list | tuple):
        return None
    names = tuple([one for one in value if isinstance(one, str)])
    return None if restrictive and (not names or len(names) < len(value)) else names


# -- what only some types of event say


def _consent(said: Mapping[str, Any], _: int) -> dict[str, Any]:
    evidence, age, parental = (_object(said.get(name)) for name in ("evidence", "age", "parental"))
    return {
        "origin": _text(said.get("origin")),
        "mechanism": _text(said.get("mechanism")),
        "evident": all(_is_given(evidence.get(part)) for part in ("text_id", "text_version", "ref")),
        "text_version": _number(evidence.get("text_version")),
        "country": _text(said.get("country")),
        "birth_day": _day(said.get("birth_date")) or _day(age.get("birth_date")) or _unreadable(said),
        "declared_min_age": _number(age.get("declared_min_age")),
        "parental": parental.get("verified") is True,
    }


def _unreadable(said: Mapping[str, Any]) -> int | None:
    """Who was too young may have named another address too, so a date that is gone does not become none."""
    return UNREADABLE if "birth_date" in (said.get("personal") or ()) else None


def _assessment(said: Mapping[str, Any], _: int) -> dict[str, Any]:
    return {
        "refers_to": _reference(said.get("objection_id")),
        "outcome": _text(said.get("outcome")),
        "grounds": _is_given(said.get("grounds")),
        "informed": _instant(said.get("subject_informed_at")),
    }


def _lifting(said: Mapping[str, Any], occurred: int) -> dict[str, Any]:
    informed = _instant(said.get("subject_informed_at"))
    return {
        "refers_to": _reference(said.get("restriction_id")),
        "informed_before": informed is not None and informed <= occurred,
    }


def _sale(said: Mapping[str, Any], _: int) -> dict[str, Any]:
    """Note whether a sale meets the conditions of ePrivacy Art. 13(2)."""
    met = all(said.get(name) is True for name in ("collected_in_sale", "opt_out_offered", "similar_products"))
    return {"soft_opt_in": met and not said.get("opted_out_at_collection")}


_DETAILS: Final[dict[str, Callable[[Mapping[str, Any], int], dict[str, Any]]]] = {
    _CONSENT: _consent,
    "consent-confirmed": lambda said, _: {"refers_to": _reference(said.get("consent_id"))},
    "objection-raised": lambda said, _: {"kind": _text(said.get("kind"))},
    "objection-assessed": _assessment,
    "objection-withdrawn": lambda said, _: {"origin": _text(said.get("origin"))},
    "restriction-lifted": _lifting,
    "erasure-refused": lambda said, _: {
        "refers_to": _reference(said.get("request_id")), "grounds": _is_given(said.get("grounds")),
    },
    "hold-lifted": lambda said, _: {"refers_to": _reference(said.get("hold_id"))},
    "identifier-changed": lambda said, _: {
        "origin": _text(said.get("origin")), "verified": said.get("verified") is True,
    },
    "delivery-failed": lambda said, _: {"kind": _text(said.get("bounce"))},
    "relationship-started": _sale,
    "contact-recorded": lambda said, _: {
        "kind": _text(said.get("kind")), "by_subject": said.get("initiated_by") == "subject",
    },
    "age-established": lambda said, _: {
        "birth_day": _day(said.get("birth_date")), "is_minor": said.get("is_minor") is True,
    },
    "event-voided": lambda said, _: {"refers_to": _reference(said.get("voids"))},
} | dict.fromkeys(
    (
        "request-received", "identity-requested", "identity-confirmed", "request-extended", "request-answered",
        "recipient-notified",
    ),
    lambda said, _: {"refers_to": _reference(said.get("request_id"))},
)  # fmt: skip


def _reference(value: object) -> EventId | None:
    return _event_id(value) if isinstance(value, str | bytes | uuid.UUID) else None


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_given(value: object) -> bool:
    return value is not None and value is not False and value != ""


def _instant(value: object) -> int | None:
    try:
        return durations.instant(value) if isinstance(value, str | datetime | int) else None
    except ValueError:
        return None


def _day(value: object) -> int | None:
    if isinstance(value, date):
        return value.toordinal()
    try:
        return date.fromisoformat(value).toordinal() if isinstance(value, str) else None
    except ValueError:
        return None
