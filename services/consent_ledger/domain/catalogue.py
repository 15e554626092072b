"""The events: every type of domain.md 4.2 with its fields, and which of them are personal.

The shapes are wide on purpose. What a consent lacks, or claims, is judged when it is read (domain.md 6.3): a consent
without evidence, with a pre-ticked box or for "all" purposes is recorded and grants nothing. A refusal that leaves out
controllers, purposes or channels means all of them. Only what would have no meaning at all is no event.
"""

import hashlib
import uuid
from datetime import date
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from consent_ledger.domain.cloudevents import Instant

Kind = Literal["P", "R", "N"]
MAX_IDENTIFIERS: Final = 50
TEXT_MAX: Final = 200_000
"""How many characters a registered text may have."""

Name = Annotated[str, Meta(max_length=200)]
Names = Annotated[list[Name], Meta(max_length=1000)] | Literal["all"]
Whole = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Personal = Meta(extra={"personal": True}, extra_json_schema={"x-personal": True})
PersonalText = Annotated[str, Meta(max_length=10_000), Personal]
BirthDate = Annotated[date, Personal]


def text_hash(text: str) -> str:
    """Give the name of a text by its content: `sha256:` and the digest of its UTF-8, in lower-case hex."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


class Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An identifier as the publisher gives it. `shared`: known to be used by several people."""

    type: Literal["email", "phone", "postal", "customer_no", "account_id", "device"]
    value: Annotated[str, Meta(max_length=1000)]
    shared: bool | None = None


Subject = Annotated[list[Said], Meta(max_length=MAX_IDENTIFIERS, min_length=1), Personal]
Pair = Annotated[list[Said], Meta(max_length=MAX_IDENTIFIERS, min_length=2), Personal]


class Evidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What proves a declaration (Art. 7(1)): the text shown, and where the proof is kept."""

    text_id: Name | None = None
    text_version: Whole | None = None
    ref: PersonalText | None = None
    language: Name | None = None
    text_hash: Name | None = None
    notice_version: Name | None = None


class Age(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the subject said about their age (Art. 8)."""

    declared_min_age: Whole | None = None
    birth_date: BirthDate | None = None


class Parental(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Authorisation by the holder of parental responsibility (Art. 8(1))."""

    verified: bool | None = None
    ref: PersonalText | None = None


class Fields(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields of domain.md 4.1, which any event may have."""

    schema_version: Whole | None = None
    controllers: Names | None = None
    controller_scope: Literal["entity", "group"] | None = None
    subject: Subject | None = None
    identifier_scope: Literal["person", "identifier"] | None = None
    purposes: Names | None = None
    channels: Names | None = None
    origin: Name | None = None
    entered_by: PersonalText | None = None
    approved_by: PersonalText | None = None
    received_via: Name | None = None
    evidence: Evidence | None = None
    ip: PersonalText | None = None
    device: PersonalText | None = None
    reason: PersonalText | None = None


class OfSubject(Fields, frozen=True, kw_only=True, omit_defaults=True):
    """An event that names the person itself."""

    subject: Subject


class ConsentGiven(OfSubject, frozen=True, kw_only=True, omit_defaults=True):
    """The subject permits a purpose over a channel (Art. 4(11), 7)."""

    mechanism: Name | None = None
    age: Age | None = None
    country: Name | None = None
    parental: Parental | None = None


class ConsentConfirmed(Fields, frozen=True, kw_only=True, omit_defaults=True):
    """The second step of a double opt-in: the address itself confirmed the consent."""

    consent_id: uuid.UUID


class ConsentWithdrawn(OfSubject, frozen=True, kw_only=True, omit_defaults=True):
    """The subject takes consent back (Art. 7(3))."""


class ObjectionRaised(OfSubject, frozen=True, kw_only=True, omit_defaults=True):
    """The subject objects (Art. 21). `kind`: direct-marketing, or situation, which is also meant if it is missing."""

    kind: Name | None = None


class ObjectionAssessed(Fields, frozen=True, kw_only=True, omit_defaults=True):
    """The controller's answer to an objection under Art. 21(1). `outcome`: upheld or rejected."""

    objection_id: uuid.UUID
    outcome: Name
    grounds: PersonalText | None = None
    subject_informed_at: Instant | None = None


class ObjectionWithdrawn(OfSubject, frozen=True, kw_only=True, omit_defaults=True):
    """The subject lifts an objection for exactly what is named."""


class ComplaintReceived(OfSubject, frozen=True, kw_only=True, omit_defaults=True):
    """A spam report, or a complaint made directly or to an authority."""

    kind: Name | None = None


class RestrictionPlaced(OfSubject, frozen=True, kw_only=True, omit_defaults=True):
    """Processing is restricted (Art. 18(1)); `ground` is one of its points (a) to (c)."""

    ground: PersonalText | None = None


class RestrictionLifted(Fields, frozen=True, kw_only=True, omit_defaults=True):
    """A restriction ends, after the subject was informed (Art. 18(3))."""

    restriction_id: uuid.UUID
    subject_informed_at: Instant | None = None


class ErasureRequested(OfSubject, frozen=True, kw_only=True, omit_defaults=True):
    """The subject asks for erasure (Art. 17(1))."""


class ErasureExecuted(OfSubject, frozen=True, kw_only=True, omit_defaults=True):
    """The erasure was carried out."""

    request_id: uuid.UUID


class ErasureRefused(Fields, frozen=True, kw_only=True, omit_defaults=True):
    """The erasure was refused on grounds of Art. 17(3) or 12(5)."""

    request_id: uuid.UUID
    grounds: PersonalText | None = None


class HoldPlaced(OfSubject, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of the subject must be kept for legal claims (Art. 17(3)(e), 18(2)): nothing of it is destroyed.

    It permits nothing and stops nothing else. `controllers` are those that need it; `reason` says which claim.
    """

    controllers: Annotated[list[Name], Meta(max_length=1000, min_length=1)]


class HoldLifted(Fields, frozen=True, kw_only=True, omit_defaults=True):
    """A hold ends: what was to be destroyed meanwhile is destroyed now."""

    hold_id: uuid.UUID


class IdentifierChanged(Fields, frozen=True, kw_only=True, omit_defaults=True):
    """An address was replaced (Art. 16). `verified`: the new one was proved to be the subject's."""

    old: Annotated[Said, Personal]
    new: Annotated[Said, Personal]
    verified: bool | None = None


class IdentifiersLinked(Fields, frozen=True, kw_only=True, omit_defaults=True):
    """These identifiers belong to one person from now on."""

    subject: Pair


class IdentifierVerified(OfSubject, frozen=True, kw_only=True, omit_defaults=True):
    """The address was proved to reach the subject."""


class DeliveryFailed(OfSubject, frozen=True, kw_only=True, omit_defaults=True):
    """A message could not be delivered."""

    bounce: Literal["hard", "soft"]


class Listed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A number on a do-not-call register."""

    value: Annotated[str, Meta(max_length=1000)]
    registered_at: Instant | None = None


class PreferenceRegisterImported(Fields, frozen=True, kw_only=True, omit_defaults=True):
    """A full snapshot of a do-not-call register; small ones carry their numbers, large ones digest and count."""

    register: Name
    numbers: Annotated[list[Listed], Personal] | None = None
    digest: Name | None = None
    count: Whole | None = None


class RelationshipStarted(OfSubject, frozen=True, kw_only=True, omit_defaults=True):
    """A sale or contract began, with the conditions of ePrivacy Art. 13(2)."""

    sale_ref: PersonalText | None = None
    collected_in_sale: bool | None = None
    opt_out_offered: bool | None = None
    similar_products: bool | None = None
    opted_out_at_collection: bool | None = None


class RelationshipEnded(OfSubject, frozen=True, kw_only=True, omit_defaults=True):
    """The customer relationship ended; the silence clock starts."""


class ContactRecorded(OfSubject, frozen=True, kw_only=True, omit_defaults=True):
    """A contact with the subject. `initiated_by`: subject or controller."""

    initiated_by: Name
    kind: Name


class RepermissionSent(OfSubject, frozen=True, kw_only=True, omit_defaults=True):
    """The one question after the silence clock ran out was asked."""

    purpose: Name


class AgeEstablished(OfSubject, frozen=True, kw_only=True, omit_defaults=True):
    """The age, or minority, of the subject became known."""

    birth_date: BirthDate | None = None
    is_minor: bool | None = None

    def __post_init__(self) -> None:
        """Ask for one of the two."""
        if self.birth_date is None and self.is_minor is None:
            raise ValueError("Expected birth_date or is_minor")


class EventVoided(Fields, frozen=True, kw_only=True, omit_defaults=True):
    """An earlier event was entered by mistake (domain.md 6.3)."""

    voids: uuid.UUID


class OfRequest(Fields, frozen=True, kw_only=True, omit_defaults=True):
    """A step in the handling of a request (Art. 12)."""

    request_id: uuid.UUID
    article: Name | None = None
    outcome: Name | None = None
    digest: Name | None = None
    recipient: Name | None = None


class RequestReceived(OfRequest, frozen=True, kw_only=True, omit_defaults=True):
    """A request under Art. 15 to 22 came in."""


class IdentityRequested(OfRequest, frozen=True, kw_only=True, omit_defaults=True):
    """The requester was asked to show who they are (Art. 12(6)); the clock pauses."""


class IdentityConfirmed(OfRequest, frozen=True, kw_only=True, omit_defaults=True):
    """The requester is the subject; the clock runs on."""


class RequestExtended(OfRequest, frozen=True, kw_only=True, omit_defaults=True):
    """The subject was told that the answer takes longer, and why (Art. 12(3))."""


class RequestAnswered(OfRequest, frozen=True, kw_only=True, omit_defaults=True):
    """The request was answered."""


class RecipientNotified(OfRequest, frozen=True, kw_only=True, omit_defaults=True):
    """A recipient was told of an erasure, rectification or restriction (Art. 19)."""


class SubjectViewed(Fields, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody at the desk was shown a person's entries at one controller (Art. 5(2), 32); never has any effect.

    `subject`: one identifier, so that a look links nothing. `viewed`: the event looked up, where no address of the
    person can be read any more. `record`: a record in quarantine, as TOPIC/PARTITION@OFFSET. `api_key`: the key that
    was used. `shown` entries were shown; `digest` is that of what was shown, keyed by the controller's hash key, or of
    the manifest of an evidence pack.
    """

    subject: Annotated[list[Said], Meta(max_length=1, min_length=1), Personal] | None = None
    viewed: uuid.UUID | None = None
    record: Name | None = None
    entered_by: PersonalText
    reason: PersonalText
    api_key: Name | None = None
    shown: Whole
    digest: Name

    def __post_init__(self) -> None:
        """Ask for one of the three, and for nothing said about the address but what it is."""
        if [self.subject, self.viewed, self.record].count(None) != 2:  # noqa: PLR2004 - one of three
            raise ValueError("Expected one of subject, viewed and record")
        if self.subject and self.subject[0].shared is not None:
            raise ValueError("Expected an identifier without shared")


class RetentionRun(Fields, frozen=True, kw_only=True, omit_defaults=True):
    """Evidence whose time was over was deleted (Art. 5(1)(e)): how many rows of which kind, and nothing about whom."""

    payloads: Whole
    index_rows: Whole
    quarantined: Whole
    kept: Whole | None = None
    began_at: Instant | None = None


class ErasureCarriedOut(Fields, frozen=True, kw_only=True, omit_defaults=True):
    """Personal parts of a person are destroyed at the controller named: how many, and which under a salted digest.

    `erasure`: the id of the event that orders it. By the digest nothing else can be passed off as its work.
    """

    erasure: Name
    payloads: Whole
    digest: Name


class RebuildRun(Fields, frozen=True, kw_only=True, omit_defaults=True):
    """The view was made anew from the ledger and compared with the live one (Art. 5(2), 32(1)(d)).

    It holds the entries before `applied`, by shard, under version `register` of the register; `digest`: of its answers.
    `written` rows were put right; of a `drill` none are.
    """

    drill: bool
    applied: Annotated[list[Annotated[int, Meta(ge=0, le=2**63 - 1)]], Meta(max_length=1000)]
    register: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    digest: Name
    addresses: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    differences: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    written: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    began_at: Instant | None = None


class TextRegistered(Fields, frozen=True, kw_only=True, omit_defaults=True):
    """A text that subjects are shown when they consent is kept, word for word, at the controllers named (Art. 7(1)).

    `text_hash`: `sha256:` and the digest of the text in UTF-8, in lower-case hex. `language`: a tag such as fr-BE.
    """

    text_id: Name
    text_version: Whole
    language: Name
    text_hash: Name
    media_type: Literal["text/plain", "text/html", "text/markdown"] = "text/plain"
    text: Annotated[str, Meta(min_length=1, max_length=TEXT_MAX)]

    def __post_init__(self) -> None:
        """Ask for the digest of this very text."""
        if self.text_hash != text_hash(self.text):
            raise ValueError("Expected text_hash to be that of the text")


class PurposeRegistered(Fields, frozen=True, kw_only=True, omit_defaults=True):
    """One purpose enters the register."""

    purpose: dict[str, Any]
    valid_from: Instant | None = None


class RegisterLoaded(Fields, frozen=True, kw_only=True, omit_defaults=True):
    """A register was loaded: it replaces the controllers, purposes and sources it names."""

    document: dict[str, Any]
    valid_from: Instant | None = None


_CATALOGUE: Final[tuple[tuple[Kind, type[Fields]], ...]] = (
    ("P", ConsentGiven), ("P", ConsentConfirmed), ("R", ConsentWithdrawn), ("R", ObjectionRaised),
    ("P", ObjectionAssessed), ("P", ObjectionWithdrawn), ("R", ComplaintReceived), ("R", RestrictionPlaced),
    ("P", RestrictionLifted), ("R", ErasureRequested), ("R", ErasureExecuted), ("P", ErasureRefused),
    ("P", IdentifierChanged), ("P", IdentifiersLinked), ("P", IdentifierVerified), ("R", DeliveryFailed),
    ("R", PreferenceRegisterImported), ("P", RelationshipStarted), ("P", RelationshipEnded), ("P", ContactRecorded),
    ("N", RepermissionSent), ("R", AgeEstablished), ("N", EventVoided), ("N", RequestReceived),
    ("N", IdentityRequested), ("N", IdentityConfirmed), ("N", RequestExtended), ("N", RequestAnswered),
    ("N", RecipientNotified), ("N", SubjectViewed), ("N", RetentionRun), ("N", RebuildRun), ("N", PurposeRegistered),
    ("N", RegisterLoaded), ("N", HoldPlaced), ("N", HoldLifted), ("N", TextRegistered), ("N", ErasureCarriedOut),
)  # fmt: skip


def _name(shape: type[Fields]) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in shape.__name__).removeprefix("-")


SHAPES: Final[dict[str, type[Fields]]] = {_name(shape): shape for _, shape in _CATALOGUE}
KINDS: Final[dict[str, Kind]] = {_name(shape): kind for kind, shape in _CATALOGUE}
"""P permissive, R restrictive, N neutral (domain.md 4.2)."""

FIVE_REFUSALS: Final = frozenset(
    {"consent-withdrawn", "objection-raised", "complaint-received", "erasure-requested", "restriction-placed"}
)
"""The types that suppress even when malformed (domain.md 4.1)."""

CONTROL_TYPES: Final = frozenset({"register-loaded", "purpose-registered"})
"""The types that are accepted on the control topic only."""

ERASED: Final = "erasure-executed"
"""The type on which what is personal is destroyed."""
HOLD: Final = "hold-placed"
"""The type that keeps what is known of a person from being destroyed."""
CALL_SNAPSHOT: Final = "preference-register-imported"
"""The type that brings a snapshot of a do-not-call register into force."""
VIEWED: Final = "subject-viewed"
"""The type that records a look. It is an entry, and no fact about the person."""
TEXT: Final = "text-registered"
"""The type that keeps a text which subjects are shown."""
