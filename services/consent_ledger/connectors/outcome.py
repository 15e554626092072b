"""How a call to somebody else's program may fail, sorted by what can be done about it.

No text here holds personal data: it stands in logs, and beside what is parked.
"""

from consent_ledger.domain.errors import ConsentError


class AwayError(ConsentError):
    """The program does not answer, or asks for patience: the same again later, for ever. `after`: seconds, if said."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


class DeniedError(AwayError):
    """The program lets nobody in who comes like this; somebody must mend that, and then it goes on."""


class FailedError(ConsentError):
    """The program answers, but fails: perhaps for ever, so it is asked a few times and no more."""


class RefusedError(ConsentError):
    """The program will never take this."""


class GoneError(RefusedError):
    """The program says that it is there no more (410): nobody should come again until somebody says otherwise."""
