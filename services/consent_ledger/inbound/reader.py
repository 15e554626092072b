"""Reads a mailbox for as long as it runs: each mail is published first and moved then, so none is lost on the way."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from imapclient.exceptions import IMAPClientError, LoginError

from consent_ledger.client.transports import OutOfReachError
from consent_ledger.inbound.intake import Intake
from consent_ledger.inbound.mailbox import Mailbox

log = logging.getLogger(__name__)

_PAUSE_MIN_SECONDS: Final = 1.0
_PAUSE_MAX_SECONDS: Final = 60.0
# Whoever ends us waits for so long at most; and the server is asked anew, where it does not tell by itself.
_IDLE_SECONDS: Final = 1.0
_IDLES_MAX: Final = 30


async def read_once(intake: Intake, mailbox: Mailbox) -> Counter[str]:
    """Read what the inbox holds now; count mails, events and mails set aside.

    Raises `OutOfReachError`, and what mailbox and database raise: mails that were not moved are read again.
    """
    known = await intake.known()
    counts = Counter(mails=0, events=0, aside=0)
    mails = mailbox.mails()
    while (mail := await asyncio.to_thread(next, mails, None)) is not None:
        taken = await intake.take(mail.raw, known, received_at=mail.received_at)
        await asyncio.to_thread(mailbox.put, mail, aside=taken.aside is not None)
        counts.update(mails=1, events=taken.events, aside=int(taken.aside is not None))
        if taken.aside is not None:
            log.warning("a mail was set aside", extra={"uid": mail.uid, "reason": taken.aside})
    return counts


async def read_for_ever(intake: Intake, open_mailbox: Callable[[], Mailbox], away: tuple[type[Exception], ...]) -> None:
    """Read whatever comes in until cancelled; what is `away` comes back, and the reader with it.

    Raises `LoginError` when the server does not let us in.
    """
    pause = 0.0
    while True:
        try:
            with ExitStack() as stack:
                mailbox = await asyncio.to_thread(stack.enter_context, open_mailbox())
                while True:
                    await read_once(intake, mailbox)
                    pause = 0.0
                    await _something_new(mailbox)
        except LoginError:
            raise
        except (IMAPClientError, OutOfReachError, *away) as error:
            log.warning("the mailbox is not read for the moment", extra={"error": type(error).__name__})
            pause = min(_PAUSE_MAX_SECONDS, max(_PAUSE_MIN_SECONDS, pause * 2))
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads readers, protects nothing


async def _something_new(mailbox: Mailbox) -> None:
    for _ in range(_IDLES_MAX):
        if await asyncio.to_thread(mailbox.wait, _IDLE_SECONDS):
            return
