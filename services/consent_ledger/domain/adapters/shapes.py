"""What the receipts of other consent tools look like: one table a tool, data and no code.

A path is names joined by dots; a number takes an element of a list, and a name takes, of a list of pairs, the value of
the pair with that key.
"""

from typing import Final

import msgspec


class Named(msgspec.Struct, frozen=True):
    """Where an identifier stands. `kind`: the place of its type, or `=name` where the place itself says it.

    `each`: the list in which it stands, where there are several.
    """

    value: str
    kind: str
    each: str | None = None


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A tool's receipt.

    `choices`: the list of choices, or a map of purpose to state where `purpose` is `*`; for lists in lists, two paths
    joined by `/`. `yes`, `no` and `silent` are values of `state`: a consent, a refusal, neither. Any other value is
    implied, or not known, and gives no consent. `objection`: false there objects to a legitimate interest. `given_by`:
    what must hold for a yes, as path and value. `dated`, `refused_at`: the first that is there is the instant, sought
    in the choice and then in the receipt. `proof` must be there for a consent, and `id` says where it is kept.
    """

    id: str
    identifiers: tuple[Named, ...]
    choices: str
    purpose: str
    state: str
    yes: frozenset[str | bool]
    no: frozenset[str | bool]
    silent: frozenset[str | bool | None]
    dated: tuple[str, ...]
    refused_at: tuple[str, ...] = ()
    objection: str | None = None
    given_by: tuple[tuple[str, str | bool | None], ...] = ()
    proof: str
    text_id: str
    text_version: str
    mechanism: str


SHAPES: Final[dict[str, Shape]] = {
    # Consent receipts as web forms post them.
    "onetrust": Shape(
        id="receiptId",
        identifiers=(
            Named("identifier", "identifierType"),
            Named("identifier", "identifierType", each="additionalIdentifiers"),
        ),
        choices="purposes",
        purpose="Id",
        state="TransactionType",
        yes=frozenset({"CONFIRMED"}),
        no=frozenset({"WITHDRAWN", "OPT_OUT"}),
        # What a form that was sent without a choice says of it.
        silent=frozenset({"NOTGIVEN", "NO_CHOICE", None}),
        dated=("interactionDate", "consentDate"),
        refused_at=("withdrawnDate", "interactionDate"),
        given_by=(("test", False),),
        proof="requestInformation",
        text_id="customPayload.textId",
        text_version="customPayload.textVersion",
        mechanism="customPayload.mechanism",
    ),
    # Consent events; null stands for a person who was not asked.
    "didomi": Shape(
        id="id",
        identifiers=(Named("user.organization_user_id", "=organization_user_id"), Named("user.email", "=email")),
        choices="consents.purposes",
        purpose="id",
        state="enabled",
        yes=frozenset({True}),
        no=frozenset({False}),
        silent=frozenset({None}),
        dated=("created_at",),
        objection="enabled_li",
        given_by=(("status", "confirmed"),),
        proof="proofs.0",
        text_id="metadata.text_id",
        text_version="metadata.text_version",
        mechanism="metadata.mechanism",
    ),
    # Preference records; each purpose may have an instant of its own.
    "transcend": Shape(
        id="metadata.recordId",
        identifiers=(Named("value", "name", each="identifiers"),),
        choices="purposes",
        purpose="purpose",
        state="enabled",
        yes=frozenset({True}),
        no=frozenset({False}),
        silent=frozenset({None}),
        dated=("timestamp",),
        proof="metadata.recordId",
        text_id="metadata.textId",
        text_version="metadata.textVersion",
        mechanism="metadata.mechanism",
    ),
    # Consents with their notices and proofs; preferences are a map.
    "iubenda": Shape(
        id="id",
        identifiers=(Named("subject.email", "=email"), Named("subject.id", "=id")),
        choices="preferences",
        purpose="*",
        state="*",
        yes=frozenset({True}),
        no=frozenset({False}),
        silent=frozenset({None}),
        dated=("timestamp",),
        proof="proofs.0.form",
        text_id="legal_notices.0.identifier",
        text_version="legal_notices.0.version",
        mechanism="proofs.0.mechanism",
    ),
    # Consent facts: groups of boxes, and the version of the organisation's texts.
    "nio": Shape(
        id="_id",
        identifiers=(Named("userId", "=userId"),),
        choices="groups/consents",
        purpose="key",
        state="checked",
        yes=frozenset({True}),
        no=frozenset({False}),
        silent=frozenset({None}),
        dated=("lastUpdate",),
        proof="doneBy.userId",
        text_id="orgKey",
        text_version="version",
        mechanism="metaData.mechanism",
    ),
}
