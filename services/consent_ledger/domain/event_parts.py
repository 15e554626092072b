"""What events are made of: how long names and texts may be, what is personal, and the fields any event may have."""

from datetime import date
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

MAX_IDENTIFIERS: Final = 50

Name = Annotated[str, Meta(max_length=200)]
Names = Annotated[list[Name], Meta(max_length=1000)] | Literal["all"]
Whole = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Personal = Meta(extra={"personal": True}, extra_json_schema={"x-personal": True})
PersonalText = Annotated[str, Meta(max_length=10_000), Personal]
BirthDate = Annotated[date, Personal]


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
