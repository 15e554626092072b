"""What a mail that came back says: an unsubscription, a failed delivery, a spam complaint, or nothing we understand."""

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

from consent_ledger.domain import inbound_reports as reports
from consent_ledger.domain import unsubscribe
from consent_ledger.domain.inbound_parts import Aside, Learnt, addresses, email_of, texts, tokens_in
from consent_ledger.domain.unsubscribe import Claim, TokenKey

RECEIVED_VIA: Final = "mailto"

_NAMESPACE: Final = uuid.UUID("4e4f6b4e-2f0a-5d0c-9a67-1f1a3b7c5d20")
_UNSUBSCRIBE: Final = "unsubscribe"
# Where the address that a mail was sent to is written down, the surest first.
_OURS: Final = ("Delivered-To", "X-Original-To", "Envelope-To", "To", "Cc")


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What one must know to understand a mail.

    `keys`: of tokens, by kid. `bases`: of purposes, by controller and id. `mailboxes`: address → the controllers that
    its mail is about.
    """

    keys: Mapping[str, TokenKey]
    bases: Mapping[tuple[str, str], str]
    mailboxes: Mapping[str, Sequence[str]]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One event to publish. The same mail gives the same id, so that reading it twice does no harm."""

    id: uuid.UUID
    type: str
    data: dict[str, Any]


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a mail says. `aside`: why somebody must look at it, None if all of it was understood."""

    told: tuple[Told, ...] = ()
    aside: str | None = None
    received_at: datetime | None = None


def read(raw: bytes, known: Known, recipients: Sequence[str] = ()) -> Reading:
    """Understand a mail; never raises. `recipients`: whom its envelope named, where that is at hand."""
    try:
        return _read(raw, known, recipients)
    except Exception as error:  # noqa: BLE001 - mail from strangers is as broken as can be, and the library with it
        return Reading(aside=f"UNREADABLE ({type(error).__name__})")


def _read(raw: bytes, known: Known, recipients: Sequence[str]) -> Reading:
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)  # noqa: S101 - what this policy makes
    ours = [*recipients, *addresses(message, *_OURS)]
    learnt, aside = _understand(message, ours, known)
    identity = texts(message, "Message-ID")[:1] or [hashlib.sha256(raw).hexdigest()]
    told = {one.id: one for one in (_told(identity[0], learnt_) for learnt_ in learnt)}
    return Reading(told=tuple(told.values()), aside=aside, received_at=_received_at(message))


def _told(identity: str, learnt: Learnt) -> Told:
    kind, data = learnt
    said = json.dumps([identity, kind, data], sort_keys=True)
    return Told(id=uuid.uuid5(_NAMESPACE, said.encode("utf-8", "surrogatepass").hex()), type=kind, data=data)


def _received_at(message: EmailMessage) -> datetime | None:
    """Give the instant at which our own server took the mail, which is what its own, topmost, line says."""
    for line in texts(message, "Received")[:1]:
        try:
            instant = parsedate_to_datetime(line.rpartition(";")[2].strip())
            return instant.astimezone(UTC) if instant.tzinfo is not None else None
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return None


def _understand(message: EmailMessage, ours: Sequence[str], known: Known) -> tuple[list[Learnt], Aside]:
    status, feedback, original = reports.parts(message)
    said = tokens_in(" ".join(ours)) + (tokens_in(" ".join(texts(original, "List-Unsubscribe"))) if original else [])
    claim = next(iter(_claims(said, known)), None)
    controllers = [claim.controller] if claim else _mapped(ours, known)
    if feedback is not None:
        return reports.complaint(feedback, original, claim, controllers)
    if status is not None:
        return reports.bounces(status, claim, controllers)
    return _unsubscription(message, ours, controllers, known)


def _claims(tokens: Iterable[str], known: Known) -> list[Claim]:
    opened = (unsubscribe.open_token(token, known.keys.get) for token in tokens)
    return [claim for claim in opened if claim is not None and claim.identifier["type"] == "email"]


def _mapped(ours: Iterable[str], known: Known) -> list[str]:
    """Give the controllers of the mailboxes that a mail came to; a tag after a plus makes no other mailbox."""
    found: dict[str, None] = {}
    for address in ours:
        local, _, domain = address.lower().rpartition("@")
        for mailbox in (f"{local}@{domain}", f"{local.partition('+')[0]}@{domain}"):
            found |= dict.fromkeys(known.mailboxes.get(mailbox, ()))
    return list(found)


def _unsubscription(
    message: EmailMessage, ours: Sequence[str], controllers: Sequence[str], known: Known
) -> tuple[list[Learnt], Aside]:
    """Read a mail to an unsubscribe address (RFC 2369): by its token, else by its sender."""
    # An absence notice goes to the address that bounces go to, token and all, and means nothing of the kind.
    asked = [address for address in ours if address.lower().partition("@")[0].partition("+")[0] == _UNSUBSCRIBE]
    claims = _claims(tokens_in(" ".join([*asked, *texts(message, "Subject")])), known)
    if claims:
        return [_refusal(claim, known) for claim in claims], None
    if not asked:
        return [], "NOT_UNDERSTOOD"
    if not all(text.strip().lower() == "no" for text in texts(message, "Auto-Submitted")):
        return [], "AUTOMATIC"
    senders = [found for found in map(email_of, addresses(message, "From")) if found is not None]
    if len(senders) != 1:
        return [], "NO_ADDRESS"
    data: dict[str, Any] = {
        "subject": [{"type": "email", "value": senders[0]}], "kind": "direct-marketing", "channels": ["email"],
        "received_via": RECEIVED_VIA,
    }  # fmt: skip
    return [("objection-raised", {**data, **reports.naming(controllers)})], None


def _refusal(claim: Claim, known: Known) -> Learnt:
    return unsubscribe.refusal(claim, known.bases.get((claim.controller, claim.purpose)), RECEIVED_VIA)
