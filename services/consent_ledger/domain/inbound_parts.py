"""Pieces of mail that are read in the same way whatever the mail is about."""

import re
from email.message import Message
from email.utils import getaddresses
from typing import Any, Final, TypeAlias

from consent_ledger.domain import identifiers
from consent_ledger.domain.errors import IdentifierError

# The type checker has it with parameters, the library at run time without.
Part: TypeAlias = "Message[Any, Any]"
Learnt: TypeAlias = tuple[str, dict[str, Any]]
"""Type and data of an event."""
Aside: TypeAlias = str | None
"""Why somebody must look at a mail; None: nobody need."""

# Shorter words cannot be tokens.
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{36,4096}")
_TOKENS_MAX: Final = 100
# Stands where bytes were no text; an address with it is another one than was meant.
_UNREADABLE: Final = "\N{REPLACEMENT CHARACTER}"


def texts(message: "Part | None", name: str) -> list[str]:
    """Return all headers of a name, unfolded and decoded."""
    return [str(header) for header in (message.get_all(name, []) if message is not None else [])]


def addresses(message: "Part | None", *names: str) -> list[str]:
    """Return the addresses in headers, as they stand there."""
    return [address for name in names for _, address in getaddresses(texts(message, name)) if "@" in address]


def email_of(text: str) -> str | None:
    """Return an address in its one form, None if it is none; `rfc822;` before it and brackets around it may be."""
    if _UNREADABLE in text:
        return None
    bare = text.rpartition(";")[2].strip().removeprefix("<").removesuffix(">")
    try:
        return identifiers.normalise("email", bare)
    except IdentifierError:
        return None


def tokens_in(text: str) -> list[str]:
    """Return the words of a text that may be tokens, at most so many."""
    return _TOKEN.findall(text)[:_TOKENS_MAX]
