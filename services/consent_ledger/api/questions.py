"""The questions of a `POST /v1/decisions` request, read and brought to the form in which addresses are stored."""

import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from consent_ledger.api.problems import ProblemError
from consent_ledger.domain.cloudevents import Instant
from consent_ledger.domain.errors import IdentifierError
from consent_ledger.domain.event_parts import MAX_IDENTIFIERS
from consent_ledger.domain.identifiers import TYPES, normalise

QUESTIONS_MAX: Final = 10_000

Name = Annotated[str, Meta(min_length=1, max_length=200)]


class Address(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An identifier of the person, as the caller has it."""

    type: Annotated[str, Meta(pattern=f"^({'|'.join(TYPES)})$")]
    value: Annotated[str, Meta(max_length=1000)]


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether a controller may use an address for a purpose over a channel, now or at another instant.

    Without `purpose`, or `channel`, or both: for each of them.
    """

    controller: Name
    subject: Annotated[list[Address], Meta(max_length=MAX_IDENTIFIERS)]
    purpose: Name | None = None
    channel: Name | None = None
    at: Instant | None = None


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request.

    `as_of`: answer by what was known then, an instant of recording or the `known` of an earlier answer, and for then
    unless `at` says otherwise. Needs the scope audit. `campaign`: the name under which who was asked about and what was
    answered is remembered; not together with `as_of`. `reason`: why somebody wants an explanation, which shows what is
    on record and is refused without; `viewer`: who, where the key does not say it.
    """

    questions: list[Question]
    as_of: Annotated[str, Meta(min_length=1, max_length=20_000)] | None = None
    campaign: Name | None = None
    reason: Annotated[str, Meta(min_length=1, max_length=2_000, pattern=r"\S")] | None = None
    viewer: Name | None = None


class _Counted(msgspec.Struct, frozen=True):
    """The body, its questions unread."""

    questions: list[msgspec.Raw]
    as_of: msgspec.Raw | None = None


_decode = msgspec.json.Decoder(Asked).decode
_count = msgspec.json.Decoder(_Counted).decode
_INDEX = re.compile(r" - at `\$\.questions\[(\d+)\]")


def read(body: bytes) -> Asked:
    """Read a request.

    Raises `ProblemError` 400 for what is no JSON, 413 for too many questions, 422 for a malformed one.
    """
    try:
        asked = _decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(body, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProblemError(400, "not-json", "the body is not JSON") from None
    if len(asked.questions) > QUESTIONS_MAX:
        raise _too_many()
    if asked.as_of is not None and asked.campaign is not None:
        raise ProblemError(422, "invalid", "a campaign is asked about now, not as_of an earlier time")
    return asked


def _invalid(body: bytes, message: str) -> ProblemError:
    """Say which question is wrong and where, never what stands there."""
    try:
        if len(_count(body).questions) > QUESTIONS_MAX:
            return _too_many()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    found = _INDEX.search(message)
    place = message.rpartition(" - at ")[2].strip("`") if " - at " in message else "$"
    if found is None:
        return ProblemError(422, "invalid", f"not valid: {place}")
    return ProblemError(422, "invalid", f"question {found[1]} is not valid: {place}", index=int(found[1]))


def _too_many() -> ProblemError:
    return ProblemError(413, "too-many", f"more than {QUESTIONS_MAX} questions")


def normalised(question: Question) -> list[tuple[str, str]] | None:
    """Bring the addresses to their one form; None when one of them is no address, so that nothing can be sent to it."""
    try:
        return [(address.type, normalise(address.type, address.value)) for address in question.subject]
    except IdentifierError:
        return None
