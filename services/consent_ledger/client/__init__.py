"""What a mail tool uses: its own view of who may be mailed, the gate before each send, links and events."""

from consent_ledger.client.gate import Allowed, Gate
from consent_ledger.client.keys import BadKeyError, HashKey, load_keys
from consent_ledger.client.links import UnsubscribeLinks, load_token_keys
from consent_ledger.client.local import Changes, Decision, LocalView
from consent_ledger.client.publisher import Publisher
from consent_ledger.client.transports import HttpTransport, KafkaTransport, OutOfReachError
from consent_ledger.client.view import SuppressionView
from consent_ledger.domain.signing import SigningKey, SigningKeyError

__all__ = [
    "Allowed",
    "BadKeyError",
    "Changes",
    "Decision",
    "Gate",
    "HashKey",
    "HttpTransport",
    "KafkaTransport",
    "LocalView",
    "OutOfReachError",
    "Publisher",
    "SigningKey",
    "SigningKeyError",
    "SuppressionView",
    "UnsubscribeLinks",
    "load_keys",
    "load_token_keys",
]
