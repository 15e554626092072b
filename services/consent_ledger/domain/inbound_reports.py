"""Reports about mails we sent: failed deliveries (RFC 3464, 3463) and complaints of readers (RFC 5965)."""

import binascii
import quopri
import re
from collections.abc import Callable, Mapping, Sequence
from email import message_from_string, policy
from email.message import EmailMessage, Message
from typing import Final, Literal

from consent_ledger.domain.inbound_parts import Aside, Learnt, Part, addresses, email_of, texts
from consent_ledger.domain.unsubscribe import Claim

_STATUS_TYPES: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
_ORIGINAL_TYPES: Final = frozenset(
    {"message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers", "message/global-headers"}
)
_ENCODED: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "base64": binascii.a2b_base64,
    "quoted-printable": quopri.decodestring,
}
# What is no failure: it goes on, or it has arrived.
_NOT_FAILED: Final = frozenset({"delayed", "delivered", "relayed", "expanded"})
_ENHANCED: Final = re.compile(r"\b([245])\.\d{1,3}\.\d{1,3}\b")
_BASIC: Final = re.compile(r"\b([45])\d\d\b")
# Permanent, but of this mail or of the mailbox's present state, not of the address: full, too long, content refused.
_PASSING: Final = re.compile(r"5\.(?:2\.[23]|3\.4|6\.\d+)")
# Feedback that is no complaint: the reader wants the mail, or a server has a remark on signatures (RFC 6591).
_NO_COMPLAINT: Final = frozenset({"not-spam", "auth-failure"})


def parts(message: EmailMessage) -> "tuple[list[Part] | None, Part | None, Part | None]":
    """Find in a mail the blocks of its delivery report, its feedback report, and the mail that either is about."""
    status, feedback, original = None, None, None
    for part in message.iter_parts() if message.is_multipart() else [message]:
        kind = part.get_content_type()
        if kind in _STATUS_TYPES and status is None:
            status = _blocks(part)
        elif kind == "message/feedback-report" and feedback is None:
            feedback = _inner(part)
        elif kind in _ORIGINAL_TYPES and original is None:
            original = _inner(part)
    return status, feedback, original


def _inner(part: Part) -> Part:
    """Return the mail within a part, or the headers that are all that is left of it."""
    payload = part.get_payload()
    if isinstance(payload, list):
        return next((one for one in payload if isinstance(one, Message)), part)
    decoded = part.get_payload(decode=True)
    return message_from_string(
        decoded.decode("utf-8", "replace") if isinstance(decoded, bytes) else "", policy=policy.default
    )


def _blocks(part: Part) -> list[Part]:
    """Return the blocks of a delivery report: one about the report, and one about each recipient."""
    payload = part.get_payload()
    inner = [one for one in payload if isinstance(one, Message)] if isinstance(payload, list) else []
    encoding = "".join(texts(part, "Content-Transfer-Encoding")).strip().lower()
    if part.get_content_type() == "message/delivery-status" and encoding not in _ENCODED:
        return inner
    # The library does not know the form with addresses beyond ASCII (RFC 6533), nor one that was encoded.
    raw = b"".join(one.as_bytes(policy=policy.compat32) for one in inner)
    text = _ENCODED.get(encoding, bytes)(raw).decode("utf-8", "replace")
    return [message_from_string(block, policy=policy.default) for block in re.split(r"\r?\n[ \t]*\r?\n", text.strip())]


def naming(controllers: Sequence[str]) -> dict[str, list[str]]:
    """Name the controllers of a refusal; without any it counts for everyone it may be meant for (domain.md 6.4)."""
    return {"controllers": list(controllers)} if controllers else {}


# -- failed deliveries


def bounces(blocks: Sequence[Part], claim: Claim | None, controllers: Sequence[str]) -> tuple[list[Learnt], Aside]:
    """Say which addresses failed. `claim`: from a token in the mail, which knows the address better than a forwarder.

    What failed without anybody knowing for which controller is set aside: a fact stays with who learnt it.
    """
    failed = [(block, bounce) for block in blocks if (bounce := _bounce(block)) is not None]
    if not failed:
        return [], None if any(texts(block, "Action") for block in blocks) else "NOT_UNDERSTOOD"
    if not controllers:
        return [], "NO_CONTROLLER"
    learnt: list[Learnt] = []
    for block, bounce in failed:
        address = claim.address if claim is not None and len(failed) == 1 else _recipient(block)
        if address is not None:
            data = {
                "subject": [{"type": "email", "value": address}], "channels": ["email"], "bounce": bounce,
                "reason": _status(block) or "failed", **naming(controllers),
            }  # fmt: skip
            learnt.append(("delivery-failed", data))
    return learnt, None if len(learnt) == len(failed) else "NO_ADDRESS"


def _bounce(block: Part) -> Literal["hard", "soft"] | None:
    """Tell whether a recipient failed for good; None: it did not fail, or the block is about no recipient."""
    action = "".join(texts(block, "Action")[:1]).strip().lower()
    status = _status(block)
    if action in _NOT_FAILED or (not action and status is None):
        return None
    if status is None:
        # It says that it failed, and not how: the cautious reading is that nobody is there.
        return "hard" if texts(block, "Final-Recipient") else None
    if status.startswith("2"):
        return None
    return "soft" if status.startswith("4") or _PASSING.fullmatch(status) else "hard"


def _status(block: Part) -> str | None:
    """Give the enhanced status code (RFC 3463), the more telling one where there are two."""
    diagnostic = " ".join(texts(block, "Diagnostic-Code"))
    found = [match[0] for text in (*texts(block, "Status"), diagnostic) for match in _ENHANCED.finditer(text)]
    telling = [status for status in found if not status.endswith(".0.0")]
    basic = _BASIC.search(diagnostic)
    return next(iter([*telling, *found]), f"{basic[1]}.0.0" if basic else None)


def _recipient(block: Part) -> str | None:
    """Give the address as the sender wrote it where that is told, else the one at which it ended."""
    told = [*texts(block, "Original-Recipient"), *texts(block, "Final-Recipient")]
    return next((address for text in told if (address := email_of(text)) is not None), None)


# -- complaints


def complaint(
    feedback: Part, original: "Part | None", claim: Claim | None, controllers: Sequence[str]
) -> tuple[list[Learnt], Aside]:
    """Say who complained: whom the token names, else whom the report names, else whom the mail was for."""
    kind = "".join(texts(feedback, "Feedback-Type")[:1]).strip().lower()
    if kind in _NO_COMPLAINT:
        return [], None
    named = [*texts(feedback, "Original-Rcpt-To"), *texts(feedback, "Removal-Recipient")]
    found = [claim.address] if claim else _distinct(named) or _distinct(addresses(original, "To"))
    if not found:
        return [], "NO_ADDRESS"
    return [
        (
            "complaint-received",
            {
                "subject": [{"type": "email", "value": address}],
                "channels": ["email"],
                "kind": "feedback-loop",
                **naming(controllers),
            },
        )
        for address in found
    ], None


def _distinct(texts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(address for text in texts if (address := email_of(text)) is not None))
