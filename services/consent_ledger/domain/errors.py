"""What the domain raises, sorted by what the caller can do about it."""

from typing import NamedTuple


class ConsentError(Exception):
    """Anything this package raises of its own accord."""


class IdentifierError(ConsentError, ValueError):
    """The value is no identifier of its type; the message says why and never contains the value."""


class Flaw(NamedTuple):
    """Why a record is no event: a code that stays, and a detail that names places and limits but never a value."""

    reason: str
    detail: str


class MalformedError(ConsentError):
    """The record is no event we know; a retry cannot help."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.flaw = Flaw(reason, detail)
