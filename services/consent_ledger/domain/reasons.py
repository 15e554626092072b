"""Reason codes of decisions, in precedence, with the articles they rest on."""

from typing import Final

_SUPPRESS: Final = {
    "UNKNOWN_CONTROLLER": ("Art. 5(2)", "Art. 24"),
    "UNKNOWN_PURPOSE": ("Art. 5(1)(b)",),
    "CHANNEL_NOT_COVERED": ("Art. 5(1)(b)", "Art. 13(1)(c)"),
    "NO_ADDRESS": (),
    "ERASED": ("Art. 17(1)",),
    "OBJECTION_DM": ("Art. 21(2)", "Art. 21(3)"),
    "COMPLAINT": ("Art. 21(2)", "Art. 21(3)"),
    "ERASURE_REQUESTED": ("Art. 17(1)(b)", "Art. 17(1)(c)"),
    "OBJECTION_UPHELD": ("Art. 21(1)",),
    "OBJECTION_PENDING": ("Art. 18(1)(d)", "Art. 21(1)"),
    "RESTRICTED": ("Art. 18(2)",),
    "CONSENT_WITHDRAWN": ("Art. 7(3)",),
    "EPRIVACY_NO_BASIS": ("ePrivacy Art. 13(1)", "ePrivacy Art. 13(3)"),
    "MINOR": ("Art. 8(1)", "Rec. 38"),
    "AGE_UNKNOWN": ("Art. 8(2)",),
    "CONSENT_ABSENT": ("Art. 6(1)(a)", "Art. 7(1)"),
    "CONSENT_INVALID": ("Art. 4(11)", "Art. 7"),
    "CONSENT_OUTDATED": ("Art. 4(11)", "Art. 7"),
    "CONSENT_PENDING": ("Art. 7(1)",),
    "CONFIRMATION_EXPIRED": ("Art. 5(1)(e)", "Art. 7(1)"),
    "CONSENT_EXPIRED": ("Art. 5(1)(e)",),
    "SOFT_OPT_IN_MISSING": ("ePrivacy Art. 13(2)",),
    "RETENTION_UNPROVEN": ("Art. 5(1)(e)", "Art. 5(2)"),
    "INACTIVE_EXPIRED": ("Art. 5(1)(e)",),
    "REPERMISSION_NOT_DUE": ("Art. 5(1)(b)",),
    "REPERMISSION_ALREADY_SENT": ("Art. 5(1)(b)",),
    "REPERMISSION_WINDOW_CLOSED": ("Art. 5(1)(e)",),
    "DNC_LISTED": ("WER VI.111",),
    "DNC_STALE": ("WER VI.112",),
    "ADDRESS_RETIRED": ("Art. 5(1)(d)", "Art. 16"),
    "HARD_BOUNCE": ("Art. 5(1)(d)",),
}
_ALLOW: Final = {
    "CONSENT": ("Art. 6(1)(a)", "Art. 7"),
    "SOFT_OPT_IN": ("Art. 6(1)(f)", "ePrivacy Art. 13(2)"),
    "LEGITIMATE_INTEREST": ("Art. 6(1)(f)",),
    "LEGITIMATE_INTEREST_COMPELLING": ("Art. 6(1)(f)", "Art. 21(1)"),
    "REPERMISSION_ONCE": ("Art. 6(1)(f)",),
    "CONTRACT": ("Art. 6(1)(b)",),
    "LEGAL_OBLIGATION": ("Art. 6(1)(c)",),
    "PUBLIC_TASK": ("Art. 6(1)(e)",),
    "VITAL_INTEREST": ("Art. 6(1)(d)",),
}
PRECEDENCE: Final = {code: place for place, code in enumerate(_SUPPRESS)}
"""Suppressing codes: the first that applies is reported."""
ARTICLES: Final[dict[str, tuple[str, ...]]] = _SUPPRESS | _ALLOW
"""GDPR articles, unless another law is named."""
