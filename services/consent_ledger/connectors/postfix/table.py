"""Postfix's tcp_table(5), for `check_recipient_access`: `get KEY` → a code, and the action as the value found."""

import logging
import re
from typing import Final
from urllib.parse import unquote_to_bytes

from consent_ledger.client import LocalView
from consent_ledger.connectors.postfix.answers import ALLOWED, FAILED, judge
from consent_ledger.connectors.postfix.settings import Purpose

log = logging.getLogger(__name__)

# What tcp_table wants written as %XX: the percent sign itself, white space, and what is not printable ASCII.
_UNSAFE: Final = re.compile(r"[^!-$&-~]")


class TableProtocol:
    """Answers look-ups of recipients of one stream. Whoever may be mailed is not found in it."""

    end = b"\n"
    failed = b"400 too%20long\n"

    def __init__(self, view: LocalView, purpose: Purpose) -> None:
        self._view = view
        self._purpose = purpose

    def answer(self, request: bytes) -> bytes:
        """Answer one look-up, as it came, with its end. Raises nothing."""
        verb, _, key = request.rstrip(b"\r\n").partition(b" ")
        if verb != b"get" or not key:
            return _reply(400, "only get KEY is known here")
        try:
            said = judge(self._view, self._purpose, unquote_to_bytes(key).decode(errors="surrogateescape"))
        except Exception as error:  # noqa: BLE001 - whatever it is, mail must wait
            log.error("a recipient could not be judged", extra={"error": type(error).__name__})  # noqa: TRY400
            said = FAILED
        return _reply(500, "nothing against it") if said == ALLOWED else _reply(200, said)


def _reply(code: int, text: str) -> bytes:
    return f"{code} {_UNSAFE.sub(lambda found: f'%{ord(found[0]):02X}', text)}\n".encode()
