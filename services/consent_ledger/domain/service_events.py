"""The events by which the service and those who run it say what they did: looks, runs, texts and registers."""

import hashlib
import uuid
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from consent_ledger.domain.cloudevents import Instant
from consent_ledger.domain.event_parts import Fields, Name, Personal, PersonalText, Said, Whole

TEXT_MAX: Final = 200_000
"""How many characters a registered text may have."""


def text_hash(text: str) -> str:
    """Give the name of a text by its content: `sha256:` and the digest of its UTF-8, in lower-case hex."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


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
