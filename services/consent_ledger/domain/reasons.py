"""The rule book: every reason code of a decision with its articles, its rows in specification 6.12, and its meaning.

Suppressing codes stand in precedence (specification 6.11): the first that applies is reported.
"""

from typing import Final, NamedTuple


class Rule(NamedTuple):
    """Why an answer is what it is. `articles`: of the GDPR, unless another law is named."""

    articles: tuple[str, ...]
    rows: tuple[str, ...]
    text: str


def _rule(articles: str, rows: str, text: str) -> Rule:
    return Rule(tuple(articles.split("; ")), tuple(rows.split()), text)


_SUPPRESS: Final = {
    "UNKNOWN_CONTROLLER": _rule(
        "Art. 5(2); Art. 24", "G1", "The controller is not in the register, so nobody answers for the use."
    ),
    "UNKNOWN_PURPOSE": _rule("Art. 5(1)(b)", "G2", "The controller has not registered this purpose."),
    "CHANNEL_NOT_COVERED": _rule(
        "Art. 5(1)(b); Art. 13(1)(c)", "G3", "The purpose is not registered for this channel."
    ),
    "NO_ADDRESS": _rule("Art. 5(1)(d)", "G4", "The question does not name exactly one usable address of the channel."),
    "ERASED": _rule("Art. 17(1)", "E3 E5 E6 E8", "The person's data were erased; nothing may be done with them."),
    "OBJECTION_DM": _rule(
        "Art. 21(2); Art. 21(3)", "K10 W11 O1 O2 O4 O7 O8 O9 O11 O16 O25",
        "The person objected to direct marketing: it stops, with no balancing of interests and without end.",
    ),
    "COMPLAINT": _rule(
        "Art. 21(2); Art. 21(3)", "O24",
        "The person complained of a message: that is an objection to marketing over its channel.",
    ),
    "ERASURE_REQUESTED": _rule(
        "Art. 17(1)(b); Art. 17(1)(c)", "E1 E11", "The person asked to be erased: uses stop before that is decided."
    ),
    "OBJECTION_UPHELD": _rule(
        "Art. 21(1)", "A2 A8", "The person's objection, for reasons of their situation, was found to be right."
    ),
    "OBJECTION_PENDING": _rule(
        "Art. 18(1)(d); Art. 21(1)", "W12 A1 A4 A6",
        "The person objected for reasons of their situation, and no answer with grounds has reached them yet.",
    ),
    "RESTRICTED": _rule("Art. 18(2)", "R1 R3 R5", "Processing is restricted: the data may be stored and no more."),
    "CONSENT_WITHDRAWN": _rule(
        "Art. 7(3)", "K10 W1 W3 W4 W5 W6 W14 O18 A9",
        "The person withdrew consent, or refused what needs it, and has not consented anew since.",
    ),
    "EPRIVACY_NO_BASIS": _rule(
        "ePrivacy Art. 13(1); ePrivacy Art. 13(3)", "S4",
        "Electronic marketing over this channel needs consent, and the purpose does not rest on it.",
    ),
    "MINOR": _rule("Art. 8(1); Rec. 38", "M1 M6 M7 M9 M10", "The person is, or was on the day of consent, too young."),
    "AGE_UNKNOWN": _rule("Art. 8(2)", "M4", "The purpose asks for an age, and the consent does not say one."),
    "CONSENT_ABSENT": _rule(
        "Art. 6(1)(a); Art. 7(1)", "K2 K15 K16 K17 K18 K20 X3",
        "No consent to this purpose, channel and address at this controller is on record.",
    ),
    "CONSENT_INVALID": _rule(
        "Art. 4(11); Art. 7", "K3 K4 K12 K13 K20",
        "The consent does not count: no clear act, not provable, from a source not registered, or dated ahead.",
    ),
    "CONSENT_OUTDATED": _rule(
        "Art. 4(11); Art. 7", "K5", "The consent was to an older text than the purpose asks for today."
    ),
    "CONSENT_PENDING": _rule("Art. 7(1)", "K7", "The consent waits for its confirmation from the address itself."),
    "CONFIRMATION_EXPIRED": _rule(
        "Art. 5(1)(e); Art. 7(1)", "K9", "The consent was not confirmed within seven days, so it lapsed."
    ),
    "CONSENT_EXPIRED": _rule("Art. 5(1)(e)", "K6", "The consent is older than consents to this purpose may become."),
    "SOFT_OPT_IN_MISSING": _rule(
        "ePrivacy Art. 13(2)", "S2 S3",
        "No sale is on record in which this address was collected with an offer to opt out, for similar products.",
    ),
    "RETENTION_UNPROVEN": _rule(
        "Art. 5(1)(e); Art. 5(2)", "I6", "The purpose ends with silence, and nothing on record shows when it began."
    ),
    "INACTIVE_EXPIRED": _rule(
        "Art. 5(1)(e)", "I1 I3 I5", "The person has not been heard of for as long as the purpose may last in silence."
    ),
    "REPERMISSION_NOT_DUE": _rule(
        "Art. 5(1)(b)", "P4", "There is no need to ask for permission anew: the purpose itself is still allowed."
    ),
    "REPERMISSION_ALREADY_SENT": _rule("Art. 5(1)(b)", "P2", "The one question after silence has been asked."),
    "REPERMISSION_WINDOW_CLOSED": _rule(
        "Art. 5(1)(e)", "P5", "The thirty days in which to ask after silence are over; the data are to be erased."
    ),
    "DNC_LISTED": _rule("WER VI.111", "N1 N3", "The number stands in a do-not-call register."),
    "DNC_STALE": _rule("WER VI.112", "N4", "No do-not-call register fresh enough has been consulted."),
    "ADDRESS_RETIRED": _rule(
        "Art. 5(1)(d); Art. 16", "X1", "The address was replaced; it may be somebody else's by now."
    ),
    "HARD_BOUNCE": _rule("Art. 5(1)(d)", "B1", "Messages to the address could not be delivered for good."),
}  # fmt: skip
_ALLOW: Final = {
    "CONSENT": _rule(
        "Art. 6(1)(a); Art. 7", "K1 K8 K19 W2 W7 W19 O7 R4 E5 M2 M5 P6 N2 X5",
        "The person consented to this purpose, channel and address at this controller.",
    ),
    "SOFT_OPT_IN": _rule(
        "Art. 6(1)(f); ePrivacy Art. 13(2)", "S1",
        "The address was collected in a sale, with an offer to opt out, for similar products.",
    ),
    "LEGITIMATE_INTEREST": _rule(
        "Art. 6(1)(f)", "Q1 A7 E12 N7", "The purpose rests on a legitimate interest, and nothing stands against it."
    ),
    "LEGITIMATE_INTEREST_COMPELLING": _rule(
        "Art. 6(1)(f); Art. 21(1)", "A3",
        "The person objected, and was told the compelling grounds that outweigh the objection.",
    ),
    "REPERMISSION_ONCE": _rule(
        "Art. 6(1)(f)", "P1", "Permission ended by silence alone, less than thirty days ago: it may be asked for once."
    ),
    "CONTRACT": _rule("Art. 6(1)(b)", "Q2 E7", "The use is needed for a contract; whoever asks answers for the need."),
    "LEGAL_OBLIGATION": _rule("Art. 6(1)(c)", "Q3", "A law obliges the controller."),
    "PUBLIC_TASK": _rule("Art. 6(1)(e)", "Q4", "The use is part of a public task, and nothing stands against it."),
    "VITAL_INTEREST": _rule("Art. 6(1)(d)", "Q4", "A life depends on it."),
}  # fmt: skip
PRECEDENCE: Final = {code: place for place, code in enumerate(_SUPPRESS)}
"""Suppressing codes → place."""
RULES: Final[dict[str, Rule]] = _SUPPRESS | _ALLOW
"""All codes, the suppressing ones first."""
ARTICLES: Final[dict[str, tuple[str, ...]]] = {code: rule.articles for code, rule in RULES.items()}
