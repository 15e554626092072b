"""What Postfix is told about a recipient: the actions of access(5), with enhanced status codes (RFC 3463)."""

from typing import Final

from prometheus_client import Counter

from consent_ledger.client import Decision, LocalView
from consent_ledger.connectors.postfix.settings import Purpose

ALLOWED: Final = "DUNNO"
"""The gate has nothing against it; the restrictions that follow decide. Never OK, which would skip them."""
FAILED: Final = "DEFER_IF_PERMIT 4.3.0 The consent gate failed; try again later"
NOT_AT_RCPT: Final = "DEFER_IF_PERMIT 4.3.5 The consent gate judges recipients at RCPT TO only"


JUDGED: Final = Counter(
    "consent_postfix_recipients_total", "Recipients judged, by what for and why", ["controller", "purpose", "reason"]
)


def judge(view: LocalView, purpose: Purpose, recipient: str) -> str:
    """Say what Postfix is to do with a recipient, now."""
    decision = view.decide(purpose.controller, recipient, purpose.purpose, "email")
    JUDGED.labels(purpose.controller, purpose.purpose, decision.reason).inc()
    return action(decision)


def action(decision: Decision) -> str:
    """Turn a decision into an action; the text names the reason, and neither person nor address.

    Allowed: the next restriction decides. A no that stands: 5xx, so that the sender drops the recipient. A no for
    want of knowledge: 4xx, so that the sender tries again.
    """
    if decision.allow:
        return ALLOWED
    if not decision.final:
        return f"DEFER_IF_PERMIT 4.7.1 Consent cannot be told at the moment ({decision.reason}); try again later"
    if decision.reason == "NO_ADDRESS":
        return "REJECT 5.1.3 Not an e-mail address (NO_ADDRESS)"
    return f"REJECT 5.7.1 The recipient may not be sent this kind of mail ({decision.reason})"
