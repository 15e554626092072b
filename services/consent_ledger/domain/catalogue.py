"""The events: every type of domain.md 4.2 with its fields, and which of them are personal.

The shapes are wide on purpose. What a consent lacks, or claims, is judged when it is read (domain.md 6.3): a consent
without evidence, with a pre-ticked box or for "all" purposes is recorded and grants nothing. A refusal that leaves out
controllers, purposes or channels means all of them. Only what would have no meaning at all is no event.
"""

import uuid
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from consent_ledger.domain.cloudevents import Instant
from consent_ledger.domain.event_parts import (
    Age,
    BirthDate,
    Fields,
    Name,
    OfSubject,
    Pair,
    Parental,
    Personal,
    PersonalText,
    Said,
    Whole,
)
from consent_ledger.domain.service_events import (
    ErasureCarriedOut,
    PurposeRegistered,
    RebuildRun,
    RegisterLoaded,
    RetentionRun,
    SubjectViewed,
    TextRegistered,
)

Kind = Literal["P", "R", "N"]


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
