"""Postfix's policy delegation protocol (SMTPD_POLICY_README): `name=value` lines, an empty line, one action."""

import logging
from typing import Final

from consent_ledger.client import LocalView
from consent_ledger.connectors.postfix.answers import FAILED, NOT_AT_RCPT, judge
from consent_ledger.connectors.postfix.settings import Policy
from consent_ledger.connectors.postfix.streams import Streams

log = logging.getLogger(__name__)

_UNMATCHED: Final = {
    "DUNNO": "DUNNO",
    "REJECT": "REJECT 5.7.1 This mail belongs to no stream that the consent gate knows",
    "DEFER_IF_PERMIT": "DEFER_IF_PERMIT 4.7.1 This mail belongs to no stream that the consent gate knows",
}


class PolicyProtocol:
    """Answers requests of smtpd, of all streams."""

    end = b"\n\n"
    failed = f"action={FAILED}\n\n".encode()

    def __init__(self, view: LocalView, policy: Policy) -> None:
        self._view = view
        self._streams = Streams(policy.stream)
        self._unmatched = _UNMATCHED[policy.unmatched]

    def answer(self, request: bytes) -> bytes:
        """Answer one request, as it came, with its end. Raises nothing."""
        try:
            said = self._judge(read(request))
        except Exception as error:  # noqa: BLE001 - whatever it is, mail must wait
            # The text of an error may hold an address.
            log.error("a request could not be judged", extra={"error": type(error).__name__})  # noqa: TRY400
            said = FAILED
        return f"action={said}\n\n".encode()

    def _judge(self, attributes: dict[str, str]) -> str:
        if attributes["request"] != "smtpd_access_policy":
            return FAILED
        stream = self._streams.find(attributes)
        if stream is None:
            return self._unmatched
        if attributes["protocol_state"] != "RCPT":
            return NOT_AT_RCPT
        return judge(self._view, stream, attributes["recipient"])


def read(request: bytes) -> dict[str, str]:
    """Read the attributes of a request. Raises ValueError where a line is none.

    Bytes that are not UTF-8 (RFC 6531) become surrogates, which no address holds.
    """
    pairs = (line.partition("=") for line in request.decode(errors="surrogateescape").split("\n") if line)
    attributes = {}
    for name, equals, value in pairs:
        if not equals:
            raise ValueError("a line without =")
        attributes[name] = value
    return attributes
