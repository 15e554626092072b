"""What a tool has learnt of somebody's will, or of an address, as an event of the ledger.

The kinds are kept apart, because they mean different things for ever after: a refusal is the person's word (Art. 7(3),
21(2) GDPR), a bounce says that an address is dead, a complaint is an objection over its channel.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

from consent_ledger.domain import unsubscribe
from consent_ledger.domain.unsubscribe import Claim

Kind: TypeAlias = Literal["refused", "bounced", "complained"]

Said: TypeAlias = tuple[str, dict[str, Any]]


def event_of(kind: Kind, claim: Claim, tool: str) -> Said:
    """Return type and data of the event. `tool`: where it was learnt, such as listmonk."""
    return _EVENTS[kind](claim, tool)


def _of_address(claim: Claim) -> dict[str, Any]:
    return {
        "controllers": [claim.controller],
        "controller_scope": "entity",
        "subject": [claim.identifier],
        "channels": [claim.channel],
    }


_EVENTS: Final[Mapping[Kind, Callable[[Claim, str], Said]]] = {
    "refused": lambda claim, tool: unsubscribe.refusal(claim, None, tool),
    "bounced": lambda claim, tool: ("delivery-failed", {**_of_address(claim), "bounce": "hard", "reason": tool}),
    "complained": lambda claim, tool: ("complaint-received", {**_of_address(claim), "kind": tool}),
}
